"""Who may write: locks between processes that end with the process that holds them."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from napari_medclipsam.projects.records import utc_now

# Windows locks bytes and lets nobody read them: one far behind the text is locked.
_LOCKED_BYTE = 1 << 30

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int, *, wait: bool) -> None:
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)

    def _unlock(handle: int) -> None:
        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(handle: int, *, wait: bool) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


@dataclass(frozen=True)
class Owner:
    """Who has a project open for writing.

    Parameters
    ----------
    host : str
        Name of the computer.
    pid : int
        Of the process there.
    reader : str
        Who works with it.
    since : str
        UTC, ISO 8601.
    """

    host: str
    pid: int
    reader: str
    since: str

    @classmethod
    def here(cls, reader: str) -> Owner:
        """Return this process."""
        return cls(socket.gethostname(), os.getpid(), reader, utc_now())


@contextmanager
def locked(handle: int) -> Iterator[None]:
    """Keep other processes from the file of a handle until the block ends."""
    _lock(handle, wait=True)
    try:
        yield
    finally:
        _unlock(handle)


class FileLock:
    """A lock that one process holds, with its owner written into the locked file.

    The system lets go of it when the process ends, however it ends. So a lock that can be had is free, and what an
    owner on the same host left in it is stale. A lock that was left by another host is not taken: whether locks reach
    from one host to another depends on the network drive.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self._path, self._handle = path, handle

    @classmethod
    def acquire(cls, path: Path, owner: Owner) -> FileLock | Owner | None:
        """Return the lock; who has it instead; or None where somebody has it and does not say who.

        Raises
        ------
        OSError
            If the file can't be written or this disk knows no locks.
        """
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(handle, wait=False)
        except BlockingIOError:
            os.close(handle)
            return read_owner(path)
        except BaseException:
            os.close(handle)
            raise
        left = read_owner(path)
        if left is not None and left.host != owner.host:
            os.close(handle)
            return left
        lock = cls(path, handle)
        # The lock is what counts: a full disk only keeps others from learning who has it.
        with suppress(OSError):
            lock._write(json.dumps(asdict(owner)) + "\n")
        return lock

    def release(self) -> None:
        """Let others have it."""
        with suppress(OSError):
            self._write("")
        os.close(self._handle)

    def _write(self, text: str) -> None:
        os.ftruncate(self._handle, 0)
        os.lseek(self._handle, 0, os.SEEK_SET)
        os.write(self._handle, text.encode())


def read_owner(path: Path) -> Owner | None:
    """Return who wrote a lock file last and has not let go of it; None where nobody did."""
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def lock_or_reason(path: Path, reader: str) -> tuple[FileLock | None, str]:
    """Return the lock of a project, or why there is none."""
    try:
        lock = FileLock.acquire(path, Owner.here(reader))
    except OSError as error:
        return None, (
            f"The project is open for reading only: its folder can't be written or locked ({error.strerror or error})."
        )
    if isinstance(lock, FileLock):
        return lock, ""
    if lock is None:
        return None, "The project is open for reading only: another program has it open."
    return None, (
        f"The project is open for reading only: {lock.reader} has it open on {lock.host} (process {lock.pid}) since "
        f"{lock.since}. Close it there; if that computer has crashed, delete {path.name} in the project."
    )
