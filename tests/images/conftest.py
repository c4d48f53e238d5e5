"""Real data where it is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The shared data folder; tests that need it are skipped where it is missing."""
    default = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
    folder = Path(os.environ.get("MEDCLIPSAM_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no test data in {folder}; set MEDCLIPSAM_DATA to the folder that holds it")
    return folder


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
