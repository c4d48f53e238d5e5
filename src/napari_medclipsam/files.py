"""Writing that is all or nothing, and hashes of files."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_medclipsam.errors import OutputError

_CHUNK = 1 << 20
# Windows has no quotas of this kind.
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """Say in words that `target` could not be written."""
    try:
        yield
    except OSError as error:
        remedy = "Free some space or choose another folder" if error.errno in _FULL else "Choose another folder"
        raise OutputError(f"Can't write {target}: {error.strerror or error}. {remedy}; nothing was changed.") from error


def _open_to_readers(path: Path, mode: int) -> None:
    """Take back what makes a temporary file private: a result is as readable as any other file of this user."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(mode & ~umask)


def require_writable(target: Path) -> None:
    """Refuse a file that can't be written, before the work on it; nothing is left behind.

    Raises
    ------
    OutputError
        If `target` is a folder, or nothing can be written where it would go.
    """
    if target.is_dir():
        raise OutputError(f"{target} is a folder, so it can't be written as a file. Choose another name.")
    folder = next((f for f in target.absolute().parents if f.exists()), Path())
    with _told(target):
        # Tried, not asked for: rights say nothing of read-only disks.
        handle, name = tempfile.mkstemp(prefix=".partial-", dir=folder)
        os.close(handle)
        Path(name).unlink()


@contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `target` that replaces it when the block ends without an error.

    The data is flushed to the disk before the rename, so a crash leaves the old file or the new one, never half of
    one. The temporary name keeps the suffixes of `target`, for writers that choose the format by them.

    Raises
    ------
    OutputError
        If the folder can't be written or the disk is full; `target` is then as it was.
    """
    target = Path(target)
    suffix = "".join(target.suffixes[-2:]) if target.name.endswith(".gz") else target.suffix
    temporary: Path | None = None
    try:
        with _told(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".partial-", suffix=suffix, dir=target.parent)
            os.close(handle)
            temporary = Path(name)
            yield temporary
            with open(temporary, "rb+") as written:
                os.fsync(written.fileno())
            _open_to_readers(temporary, 0o666)
            temporary.replace(target)
            temporary = None
            sync_folder(target.parent)
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


@contextmanager
def atomic_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that becomes it when the block ends without an error.

    Raises
    ------
    OutputError
        If `target` exists and is not an empty folder, or can't be written; nothing is then left behind.
    """
    target = Path(target)
    temporary: Path | None = None
    try:
        with _told(target):
            if target.exists() and (not target.is_dir() or any(target.iterdir())):
                raise OutputError(f"{target} exists already. Choose another folder, or remove this one first.")
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
            yield temporary
            for folder, _, names in os.walk(temporary):
                for name in names:
                    with open(Path(folder) / name, "rb+") as written:
                        os.fsync(written.fileno())
                sync_folder(Path(folder))
            _open_to_readers(temporary, 0o777)
            if target.exists():
                target.rmdir()  # Windows does not rename over an empty folder.
            temporary.rename(target)
            temporary = None
            sync_folder(target.parent)
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make a rename durable where the system allows opening folders (not on Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256_of(path: str | os.PathLike[str], progress: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a file as hexadecimal text; `progress` is called with the bytes read so far."""
    digest = hashlib.sha256()
    done = 0
    with open(path, "rb") as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress:
                progress(done)
    return digest.hexdigest()
