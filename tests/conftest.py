"""For all tests. That it is here makes pytest put this folder on the path, so that tests can import `synthetic`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The shared data folder; tests that need it are skipped where it is missing."""
    default = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("MEDCLIPSAM_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no test data in {folder}; set MEDCLIPSAM_DATA to the folder that holds it")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the windows, whose tests take longest.

    Each process begins with a half of all tests (``--dist worksteal``): windows rarely share a screen with those of
    another, which would take the focus from them, and what a file sets up is set up once.
    """
    items.sort(key=lambda item: "widgets" not in item.path.parts)
