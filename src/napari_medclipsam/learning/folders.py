"""Where a project keeps what it has learnt, and the lock of the register."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_medclipsam.errors import LearningError, OutputError
from napari_medclipsam.projects.locking import FileLock, Owner

_PATIENCE_S = 5.0
_RETRY_S = 0.05


def models_folder(project: Path) -> Path:
    """Return the folder of versions of a project."""
    return project / "models"


def work_folder(project: Path) -> Path:
    """Return the folder in which a worker does its work, and where it is found."""
    return models_folder(project) / "work"


@contextmanager
def register_lock(project: Path) -> Iterator[None]:
    """Keep other processes from the register of versions until the block ends.

    Raises
    ------
    LearningError
        If another process keeps it for seconds.
    OutputError
        If the folder can't be written.
    """
    path = models_folder(project) / "lock.json"
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            path.parent.mkdir(exist_ok=True)
            lock = FileLock.acquire(path, Owner.here("versions"))
        except OSError as error:
            raise OutputError(
                f"Can't write {path.parent}: {error.strerror or error}. Free some space or check its permissions."
            ) from error
        if isinstance(lock, FileLock):
            break
        if time.monotonic() > deadline:
            raise LearningError(
                "Another program is changing the versions of this project; try again in a moment. If it runs on a "
                f"computer that has crashed, delete {path}."
            )
        time.sleep(_RETRY_S)
    try:
        yield
    finally:
        lock.release()
