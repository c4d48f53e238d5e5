"""What a folder means: which studies lie in it and in the folders below."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from napari_medclipsam.errors import ImageError
from napari_medclipsam.images.dicom_series import is_dicom_image, list_series
from napari_medclipsam.images.guard import reading
from napari_medclipsam.images.io import PICTURES, VOLUMES

_READABLE = "Readable are NIfTI, DICOM, PNG, JPEG and TIFF"
_DIRECTORY = "DICOMDIR"
_MOST_NAMED = 3


@dataclass(frozen=True)
class Found:
    """An image that could be read: where it is, and which part of it."""

    path: Path
    series_uid: str | None = None
    volume_index: int | None = None


@dataclass
class Listing:
    """What a file or folder holds.

    Parameters
    ----------
    studies : list of Found
        In the order of their paths; what can't be read is refused when its turn comes.
    left_out : list of pathlib.Path
        Files that are no image.
    """

    studies: list[Found] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)

    @property
    def note(self) -> str:
        """Name what was left out, in a sentence; "" where nothing was."""
        if not self.left_out:
            return ""
        names = _named([path.name for path in self.left_out])
        return f"Left out, for it is no image: {names}. {_READABLE}."


def list_studies(path: Path, but_not: Collection[Path] = ()) -> Listing:
    """Return the studies of a file or folder: a NIfTI file and a picture are one each, and so is a DICOM series.

    A folder is searched with all its folders. Hidden files are passed over.

    Parameters
    ----------
    path : pathlib.Path
        A file, which stands for itself, or a folder.
    but_not : collection of pathlib.Path
        Folders that are passed over too, such as the one that results go to.

    Raises
    ------
    ImageError
        If there is nothing at the path, or no image in it.
    """
    if not path.exists():
        raise ImageError(f"There is no file or folder {path}; check the path.")
    if path.is_file():
        return Listing([Found(path)])
    listing = Listing()
    with reading(path, "folder"):
        _search(path, listing, {folder.resolve() for folder in but_not}, None)
    if not listing.studies:
        raise ImageError(f"There is no image in {path}. {_READABLE}.")
    return listing


def only_study(path: Path) -> Found:
    """Return the study of a file or folder that holds one; several series of one folder are left to the reader.

    Raises
    ------
    ImageError
        As `list_studies`, and if there are several.
    """
    studies = list_studies(path).studies
    if len(studies) == 1:
        return studies[0]
    if len(paths := dict.fromkeys(study.path for study in studies)) == 1:
        # `images.dicom_series` names them, to choose from.
        return Found(studies[0].path)
    names = _named([str(p.relative_to(path)) for p in paths])
    raise ImageError(f"{path} holds {len(studies)} images, and this takes one: name one of them ({names}).")


def _search(folder: Path, listing: Listing, passed: set[Path], known: set[Path] | None) -> None:
    """Add what a folder holds; `known` are the files of the series above, which were looked for here too."""
    # Links may lead around in circles.
    passed.add(folder.resolve())
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    files = [p for p in entries if p.is_file()]
    images = [p for p in files if p.name.lower().endswith(PICTURES + VOLUMES)]
    others = sorted({*files} - {*images})
    if known is None and any(p.name == _DIRECTORY or is_dicom_image(p) for p in others):
        # With the folders below: a series may be spread over several.
        studies, known = _series(folder)
        listing.studies += studies
    listing.studies += [Found(p) for p in images]
    maybe = [p for p in others if p.name != _DIRECTORY and p not in (known or ())]
    listing.left_out += [p for p in maybe if not is_dicom_image(p)]
    for below in entries:
        if below.is_dir() and below.resolve() not in passed:
            _search(below, listing, passed, known)


def _series(folder: Path) -> tuple[list[Found], set[Path]]:
    """Return the series of a folder and their files."""
    try:
        found = list_series(folder)
    except ImageError:
        # It is refused with the reason when it is read.
        return [Found(folder)], set()
    return [Found(folder, s.uid or None) for s in found], {file for s in found for file, _ in s.headers}


def _named(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
