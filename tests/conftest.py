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


# First, for xdist reads the groups in a hook of the same name.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Divide the tests among processes: file by file, and all windows together.

    On one screen, windows of two processes would take the focus from each other. They come first, being the most.
    """
    items.sort(key=lambda item: "widgets" not in item.path.parts)
    for item in items:
        item.add_marker(pytest.mark.xdist_group("windows" if "widgets" in item.path.parts else str(item.path)))
