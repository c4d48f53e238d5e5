"""For all tests. That it is here makes pytest put this folder on the path, so that tests can import `synthetic`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
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


@pytest.fixture(scope="session", autouse=True)
def run_cache(tmp_path_factory) -> Iterator[Path]:
    """The cache of all processes of this run, in the place of the user's."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDCLIPSAM_CACHE", str(folder))
        yield folder


@pytest.fixture
def own_cache(run_cache: Path, tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """A cache of this test. The networks that another test has converted are in it: each takes seconds to convert."""
    own = tmp_path / "cache"
    monkeypatch.setenv("MEDCLIPSAM_CACHE", str(own))
    _link_networks(run_cache, own)
    yield own
    _link_networks(own, run_cache)


def _link_networks(source: Path, target: Path) -> None:
    for path in source.glob("*.ov"):
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.link(path, target / path.name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the windows, whose tests take longest.

    Each process begins with a half of all tests (``--dist worksteal``): windows rarely share a screen with those of
    another, which would take the focus from them, and what a file sets up is set up once.
    """
    items.sort(key=lambda item: "widgets" not in item.path.parts)
