"""DICOM series on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def write_series(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes slices to a folder and returns it."""

    def write(slices: list[Any], folder: str = "series") -> Path:
        target = tmp_path / folder
        target.mkdir(exist_ok=True)
        for place, ds in enumerate(slices):
            ds.save_as(target / f"IM{place:04d}.dcm", enforce_file_format=True)
        return target

    return write
