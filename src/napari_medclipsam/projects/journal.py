"""A journal on disk: reading with what is damaged told apart, and appending that leaves no half records behind."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_medclipsam.errors import OutputError, ProjectError
from napari_medclipsam.files import sync_folder
from napari_medclipsam.projects.locking import locked
from napari_medclipsam.projects.records import Record, decode, encode

JOURNAL_FORMAT = "medclipsam-journal"
JOURNAL_VERSION = 1

# Where a file says so by itself: the first record of a case, and what stands for it after compaction.
_HEADS = ("begin", "snapshot")


@dataclass(frozen=True)
class Damage:
    """A place of a journal that can't be trusted.

    Parameters
    ----------
    line : int
        From 1.
    after : int
        Number of the last good record before it; 0 for none.
    reason : str
        In words.
    """

    line: int
    after: int
    reason: str


@dataclass
class Contents:
    """What a journal holds.

    Parameters
    ----------
    records : list of dict
        The good ones, in order.
    damages : list of Damage
        What is between them; `Damage.after` says where.
    size_bytes : int
        Up to the end of the last whole line.
    torn : bytes
        What follows it: the beginning of a record that was never finished.
    n_lines : int
        Whole lines, good and bad.
    """

    records: list[Record] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    size_bytes: int = 0
    torn: bytes = b""
    n_lines: int = 0

    @property
    def last_n(self) -> int:
        """Number of the last good record; 0 for none."""
        return int(self.records[-1]["n"]) if self.records else 0

    @property
    def last_check(self) -> str:
        """Check of the last good record; "" for none. That of a snapshot is of the record it stands for."""
        if not self.records:
            return ""
        last = self.records[-1]
        return str(last["prev"] if last["verb"] == "snapshot" else last["check"])


def parse(data: bytes) -> Contents:
    """Return what the bytes of a journal hold.

    Raises
    ------
    ProjectError
        If they are from a newer version.
    """
    contents = Contents()
    *lines, torn = data.split(b"\n")
    if torn and decode(torn) is not None:
        # Only the line break is missing: the record is whole.
        lines, torn = [*lines, torn], b""
    follows = True
    for number, line in enumerate(lines, start=1):
        record = decode(line)
        if record is None:
            contents.damages.append(Damage(number, contents.last_n, "does not match its checksum"))
            follows = False
            continue
        if record["verb"] in _HEADS:
            _require_known_version(record)
        if follows and record["prev"] != contents.last_check and record["verb"] != "snapshot":
            contents.damages.append(Damage(number, contents.last_n, "does not follow the record before it"))
        contents.records.append(record)
        follows = True
    contents.size_bytes, contents.torn, contents.n_lines = len(data) - len(torn), torn, len(lines)
    return contents


def _require_known_version(record: Record) -> None:
    version = record.get("parameters", {}).get("version", JOURNAL_VERSION)
    if version > JOURNAL_VERSION:
        raise ProjectError(
            f"This journal is of version {version}, and this program knows versions up to {JOURNAL_VERSION}; "
            "update the program to open it. Nothing was changed."
        )


def read_journal(path: Path) -> Contents:
    """Read a journal without changing it; an absent one is empty.

    Raises
    ------
    ProjectError
        If it can't be read, or is from a newer version.
    """
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        return Contents()
    except OSError as error:
        raise ProjectError(
            f"Can't read {path}: {error.strerror or error}. Check the disk and its permissions."
        ) from error


class Journal:
    """A journal that is open for appending. Use from one thread at a time.

    Opening cuts off a torn tail, after copying it to a file beside the journal.

    Parameters
    ----------
    path : pathlib.Path
        Made, with its folder, if it is not there.

    Attributes
    ----------
    opened : Contents
        What it held when it was opened.
    n : int
        Number of its last record.

    Raises
    ------
    OutputError
        If it can't be opened for writing.
    ProjectError
        If it is from a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            # Also where it was there: who made it may have been stopped before its name was on the disk.
            for folder in (path.parent, path.parent.parent):
                sync_folder(folder)
        except OSError as error:
            raise _cant_write(path, error) from error
        try:
            self.opened = self._begin()
        except BaseException:
            os.close(self._handle)
            raise

    def _begin(self) -> Contents:
        """Read what is there and repair its end."""
        try:
            with locked(self._handle):
                contents = parse(self._read_from(0))
                if contents.torn:
                    self._keep(contents.torn)
                self._size, self.n, self._check = contents.size_bytes, contents.last_n, contents.last_check
                os.ftruncate(self._handle, self._size)
                if self._size and self._read_from(self._size - 1) != b"\n":
                    self._put(b"\n", self._size)
                    self._size += 1
                self._unsynced: deque[tuple[int, bytes]] = deque()
        except OSError as error:
            raise _cant_write(self.path, error) from error
        return contents

    def _keep(self, torn: bytes) -> None:
        """Copy what is cut off; it was never confirmed, so that on a full disk it goes without a copy."""
        with suppress(OSError), open(self.path.with_name(self.path.name + ".torn"), "ab") as kept:
            kept.write(torn + b"\n")

    @property
    def size_bytes(self) -> int:
        """Length of the file."""
        return self._size

    @property
    def check(self) -> str:
        """Check of its last record."""
        return self._check

    def append(self, fields: Mapping[str, Any]) -> int:
        """Write one record, all or nothing, and return its number.

        It then survives the end of this process; a power cut only after `sync`.

        Parameters
        ----------
        fields : dict
            All of the record but ``n``, ``prev`` and ``check``.

        Raises
        ------
        OutputError
            If it can't be written; the journal is then as it was.
        """
        try:
            with locked(self._handle):
                self._catch_up()
                line, check = encode({"n": self.n + 1, **fields}, self._check)
                try:
                    self._put(line, self._size)
                except OSError:
                    os.ftruncate(self._handle, self._size)
                    raise
        except OSError as error:
            raise _cant_write(self.path, error) from error
        self.n, self._check = self.n + 1, check
        self._unsynced.append((self._size, line))
        self._size += len(line)
        return self.n

    def _catch_up(self) -> None:
        """Take in what another process has appended, or cut off what an append that failed has left."""
        size = os.fstat(self._handle).st_size
        if size == self._size:
            return
        if size < self._size:
            raise OSError(errno.EIO, "another program has made it shorter; restore it from a backup")
        news = self._read_from(self._size)
        whole = news[: news.rfind(b"\n") + 1]
        if whole:
            found = parse(whole)
            self._size += len(whole)
            if found.records:
                self.n, self._check = found.last_n, found.last_check
        os.ftruncate(self._handle, self._size)

    def sync(self) -> None:
        """Make all records survive a power cut. May be called from another thread than `append`.

        Raises
        ------
        OutputError
            If the disk fails; call `rewrite` before trying again.
        """
        size = self._size
        try:
            os.fsync(self._handle)
        except OSError as error:
            raise _cant_write(self.path, error) from error
        while self._unsynced and self._unsynced[0][0] < size:
            self._unsynced.popleft()

    def rewrite(self) -> None:
        """Write again what was not synced: after a sync that failed, the system may have forgotten it.

        Raises
        ------
        OutputError
            If that fails too.
        """
        try:
            with locked(self._handle):
                for offset, line in self._unsynced:
                    self._put(line, offset)
        except OSError as error:
            raise _cant_write(self.path, error) from error

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._handle)

    def _read_from(self, offset: int) -> bytes:
        os.lseek(self._handle, offset, os.SEEK_SET)
        parts = []
        while part := os.read(self._handle, 1 << 24):
            parts.append(part)
        return b"".join(parts)

    def _put(self, data: bytes, offset: int) -> None:
        os.lseek(self._handle, offset, os.SEEK_SET)
        while data:
            data = data[os.write(self._handle, data) :]


def _cant_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"Can't write {path}: {error.strerror or error}. Free some space or check the disk.")
