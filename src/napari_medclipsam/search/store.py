"""The index of a project on disk: a file of vectors per case, in the folder ``search``.

A file is replaced as a whole (temporary file, fsync, rename), so that a crash leaves the old one or the new one.
Programs that write at once wait for each other and keep each other's slices. Everything here can be made again from
images and journals: the folder may be deleted at any time.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import OutputError
from napari_medclipsam.files import atomic_path
from napari_medclipsam.projects.locking import locked
from napari_medclipsam.search.rows import TENSORS, CaseRows, Row

FOLDER = "search"
_SUFFIX = ".safetensors"
_YES = "yes"
_FORMAT = "medclipsam-search-3"

#: (modification time in ns, size in bytes): a file with another stamp is another file.
Stamp = tuple[int, int]


class Store:
    """The files of one project.

    Parameters
    ----------
    project : pathlib.Path
        Its folder.
    """

    def __init__(self, project: Path) -> None:
        self.folder = project / FOLDER

    def stamps(self) -> dict[str, Stamp]:
        """Return which cases there are, with what changes when their file does."""
        found: dict[str, Stamp] = {}
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(_SUFFIX) and not entry.name.startswith("."):
                    status = entry.stat()
                    found[entry.name.removesuffix(_SUFFIX)] = (status.st_mtime_ns, status.st_size)
        return found

    def read(self, case: str) -> CaseRows | None:
        """Return the rows of a case; None where there are none, or the file is damaged: they are made again.

        Of a file that another version of the program has written there are no rows, of no version.
        """
        try:
            with safe_open(self._path(case), "numpy") as file:
                told = file.metadata() or {}
                if told["format"] != _FORMAT:
                    return CaseRows.of("", "", -1, ())
                columns = {name: file.get_tensor(name) for name in TENSORS}
            about = (told["encoder"], told["image"], int(told["journal_bytes"]))
            return CaseRows(*about, **columns, is_ct=told["is_ct"] == _YES)
        except (OSError, SafetensorError, KeyError, ValueError, IndexError):
            return None

    def put(
        self,
        case: str,
        version: str,
        image: str,
        slices: Collection[SliceAt],
        rows: Iterable[Row],
        *,
        journal_bytes: int | None = None,
        only: Collection[SliceAt] | None = None,
        is_ct: bool | None = None,
    ) -> None:
        """Put `rows` in the place of all rows of `slices`.

        Rows of another encoder or another image go. Those of other slices stay as they are on the disk now, whoever
        wrote them.

        Parameters
        ----------
        case : str
            Which.
        version : str
            See `building.index_version`.
        image : str
            Content hash of the image.
        slices, rows
            Which slices, and what is now known of them.
        journal_bytes : int, optional
            See `CaseRows`; what it was where it is left out.
        only : collection of SliceAt, optional
            Slices beside these go.
        is_ct : bool, optional
            Whether the image looks like CT; what was known of that where it is left out.

        Raises
        ------
        OutputError
            If it can't be written; the file is then as it was.
        """
        with self._locked():
            before = self.read(case)
            if before is not None and (before.version, before.image) != (version, image):
                before = None
            size = journal_bytes if journal_bytes is not None else -1 if before is None else before.journal_bytes
            looks_so = is_ct if is_ct is not None else before is not None and before.is_ct
            new = CaseRows.of(version, image, size, rows, looks_so)
            self._write(case, new if before is None else before.replaced(slices, only, new))

    def remove(self, case: str) -> None:
        """Forget a case; raises `OutputError` where that is not possible."""
        with self._locked(), suppress(FileNotFoundError):
            try:
                self._path(case).unlink()
            except PermissionError as error:
                raise OutputError(f"Can't delete {self._path(case)}: {error.strerror}.") from error

    def _write(self, case: str, rows: CaseRows) -> None:
        columns = {name: getattr(rows, name) for name in TENSORS}
        told = {
            "format": _FORMAT,
            "encoder": rows.version,
            "image": rows.image,
            "journal_bytes": str(rows.journal_bytes),
            "is_ct": _YES if rows.is_ct else "no",
        }
        with atomic_path(self._path(case)) as temporary:
            try:
                save_file(columns, temporary, told)
            except SafetensorError as error:  # how this library calls a full disk
                raise OutputError(f"Can't write {self._path(case)}: {error}. Free some space.") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other programs from writing until the block ends."""
        try:
            # Vectors can be turned back into something like the image, and are as private as it is.
            self.folder.mkdir(exist_ok=True)
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(
                f"Can't write {self.folder}: {error.strerror or error}. Free some space or check its permissions."
            ) from error
        try:
            with locked(handle):
                yield
        finally:
            os.close(handle)

    def _path(self, case: str) -> Path:
        return self.folder / f"{case}{_SUFFIX}"
