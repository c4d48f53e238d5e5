"""The studies of a project: which images there are, where, and whether they are still what was labelled."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.errors import GeometryError, ImageError, OutputError, ProjectError
from napari_medclipsam.files import atomic_path, sha256_of, sync_folder
from napari_medclipsam.images.dicom_series import find_series
from napari_medclipsam.images.folders import Found, list_studies
from napari_medclipsam.images.io import kind_of, read_image
from napari_medclipsam.images.nifti import count_volumes
from napari_medclipsam.images.volume import Volume
from napari_medclipsam.reading_view import ReadingView, reading_view

# Affines that went through a file in float32 differ in their last digits.
_AFFINE_SLACK = 1e-4


class SourceMovedError(ProjectError):
    """The image of a case is not where it was."""


class SourceChangedError(ProjectError):
    """The image of a case is not what it was when it was added."""


@dataclass(frozen=True)
class Grid:
    """What slices, boxes and masks of a case are counted on: the image turned the way it is read.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x), or (y, x) for a flat picture.
    codes : str
        Orientation of the turned image, such as "LPS"; "" for as stored.
    affine : tuple of tuple of float, optional
        4 × 4, of the source: its (i, j, k) to RAS millimetres; None where it has no geometry.
    """

    shape: tuple[int, ...]
    codes: str
    affine: tuple[tuple[float, ...], ...] | None

    @classmethod
    def of(cls, view: ReadingView) -> Grid:
        """Return the grid of an image."""
        affine = view.stored.affine
        rows = None if affine is None else tuple(tuple(float(v) for v in row) for row in affine)
        shape = view.turned.shape_zyx
        return cls(shape[1:] if _is_flat(view.turned) else shape, view.codes, rows)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Grid:
        """Undo `to_json`."""
        affine = value["affine"]
        rows = None if affine is None else tuple(tuple(float(v) for v in row) for row in affine)
        return cls(tuple(int(n) for n in value["shape"]), str(value["codes"]), rows)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        affine = None if self.affine is None else [list(row) for row in self.affine]
        return {"shape": list(self.shape), "codes": self.codes, "affine": affine}

    def view(self, volume: Volume) -> ReadingView:
        """Return an image turned to this grid.

        Raises
        ------
        GeometryError
            If it lies on another one.
        """
        if self.codes and volume.affine is not None:
            view = ReadingView(volume, volume.reoriented(self.codes), self.codes)
        else:
            view = ReadingView(volume, volume, "")
        difference = self.difference(Grid.of(view))
        if difference:
            raise GeometryError(f"The image does not have the geometry that was labelled: {difference}.")
        return view

    def difference(self, other: Grid) -> str:
        """Say how another grid differs; "" where it does not."""
        if self.shape != other.shape:
            return f"{_times(other.shape)} voxels instead of {_times(self.shape)}"
        if (self.affine is None) != (other.affine is None):
            return "its place in the patient is " + ("not known" if other.affine is None else "known, which it was not")
        if self.affine is not None and not np.allclose(self.affine, other.affine or (), atol=_AFFINE_SLACK):
            return f"it lies elsewhere (affine {_rows(other.affine)} instead of {_rows(self.affine)})"
        return ""


@dataclass(frozen=True)
class Study:
    """One image of a project.

    Parameters
    ----------
    case : str
        Its id in the project; says nothing about the patient.
    kind : {"nifti", "dicom", "picture"}
        What is at `path`.
    path : str
        Relative to the project where the image is inside it; else absolute.
    series_uid : str or None
        Which series of a DICOM folder.
    volume_index : int or None
        Which volume of a 4D image.
    sha256 : str
        Of its content; see `content_hash`.
    size_bytes, modified_ns : int
        Of its files together, and of the newest of them.
    added : str
        When it was added; UTC.
    grid : Grid
        Of its masks.
    patient : str
        Whose it is, where a person has said so, as `patients.patient_hash` says it; else "".
    """

    case: str
    kind: str
    path: str
    series_uid: str | None
    volume_index: int | None
    sha256: str
    size_bytes: int
    modified_ns: int
    added: str
    grid: Grid
    patient: str = ""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Study:
        """Undo `to_json`."""
        return cls(**{**value, "grid": Grid.from_json(value["grid"])})

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**self.__dict__, "grid": self.grid.to_json()}

    def source(self, project_folder: Path) -> Path:
        """Return where its image is."""
        return project_folder / self.path

    def read(self, project_folder: Path) -> Volume:
        """Read its image; raises as `images.io.read_image`."""
        return read_image(self.source(project_folder), self.volume_index, self.series_uid)


def images_in(path: Path, told: Callable[[str], None] | None = None) -> list[Found]:
    """Return the images of a file or folder, as `images.folders.list_studies`, and every volume of a 4D NIfTI file.

    What can't be read is left for `Project.add` to refuse.

    Parameters
    ----------
    path : pathlib.Path
        A file or a folder.
    told : callable, optional
        Is told what is no image, in a sentence.

    Raises
    ------
    ImageError
        If there is nothing at the path, or no image in it.
    """
    listing = list_studies(path)
    if told is not None and listing.note:
        told(listing.note)
    return [volume for found in listing.studies for volume in _volumes(found)]


def _volumes(found: Found) -> list[Found]:
    try:
        if kind_of(found.path) == "nifti" and (count := count_volumes(found.path)) > 1:
            return [replace(found, volume_index=i) for i in range(count)]
    except (ImageError, GeometryError):
        pass
    return [found]


def files_of(path: Path, kind: str, series_uid: str | None) -> list[Path]:
    """Return the files that an image is read from.

    Raises
    ------
    ImageError
        If it is not there.
    """
    if kind == "dicom":
        return [file for file, _ in find_series(path, series_uid).headers]
    if not path.is_file():
        raise ImageError(f"There is no file {path}; check the path.")
    return [path]


def content_hash(files: Sequence[Path]) -> str:
    """Return the SHA-256 of a file, or of the sorted hashes of several: their names and order do not matter."""
    hashes = sorted(sha256_of(file) for file in files)
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def size_and_time(files: Sequence[Path]) -> tuple[int, int]:
    """Return the bytes of files together and the nanoseconds of the newest: equal ones need no new hash."""
    stats = [file.stat() for file in files]
    return sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)


def study_of(found: Found, case: str, added: str, project_folder: Path, copy_to: Path | None) -> Study:
    """Read an image and return its study.

    Parameters
    ----------
    found : Found
        The image.
    case : str
        Its id.
    added : str
        The time.
    project_folder : pathlib.Path
        What paths are relative to.
    copy_to : pathlib.Path, optional
        Copy the image to this folder, under names that are made from `case`.

    Raises
    ------
    MedclipsamError
        If it can't be read or copied.
    """
    volume = read_image(found.path, found.volume_index, found.series_uid)
    kind = kind_of(found.path)
    files = files_of(found.path, kind, found.series_uid)
    path = found.path.resolve()
    if copy_to is not None:
        path, files = _copied(files, kind, copy_to, case)
    return Study(
        case,
        kind,
        stored_path(path, project_folder.resolve()),
        found.series_uid,
        found.volume_index,
        content_hash(files),
        *size_and_time(files),
        added,
        Grid.of(reading_view(volume)),
    )


def _copied(files: Sequence[Path], kind: str, folder: Path, case: str) -> tuple[Path, list[Path]]:
    """Copy files under names that say nothing about the patient; returns what to open, and the copies."""
    try:
        if kind == "dicom":
            target = folder.resolve() / case
            copies = [target / f"{number:05d}.dcm" for number in range(1, len(files) + 1)]
        else:
            suffix = ".nii.gz" if files[0].name.lower().endswith(".nii.gz") else files[0].suffix.lower()
            target = folder.resolve() / f"{case}{suffix}"
            copies = [target]
        for file, copy in zip(files, copies, strict=True):
            with atomic_path(copy) as temporary:
                shutil.copyfile(file, temporary)
        sync_folder(folder)
    except OSError as error:
        raise OutputError(f"Can't copy the image to {folder}: {error.strerror or error}. Free some space.") from error
    return target, copies


def require_unchanged(study: Study, project_folder: Path) -> None:
    """Refuse an image that is not where it was, or not what it was.

    Raises
    ------
    SourceMovedError, SourceChangedError
        With what the reader can decide.
    """
    path = study.source(project_folder)
    try:
        files = files_of(path, study.kind, study.series_uid)
        same = size_and_time(files) == (study.size_bytes, study.modified_ns) or content_hash(files) == study.sha256
    except (ImageError, OSError) as error:
        raise SourceMovedError(
            f"The image of {study.case} is not at {path} any more. Put it back, or say where it is now: open it in the "
            f"window, or medclipsam project relocate PROJECT {study.case} PATH."
        ) from error
    if not same:
        raise SourceChangedError(
            f"The image of {study.case} at {path} has changed since it was added. Restore it; or, if its masks still "
            "hold, accept it: open it in the window, or "
            f"medclipsam project relocate PROJECT {study.case} PATH --accept-changed."
        )


def annotated(view: ReadingView) -> AnnotatedImage:
    """Return a turned image for a session, on its `Grid`."""
    turned = view.turned
    if _is_flat(turned):
        return AnnotatedImage(turned.array_zyx[0], turned.pixel_spacing_yx_mm, None, turned.rgb, turned.modality)
    return AnnotatedImage.from_volume(turned)


def stored_mask(labels: np.ndarray, view: ReadingView) -> np.ndarray:
    """Return a mask on the grid of a case on the grid of its source, (z, y, x)."""
    return view.to_stored(labels[None] if _is_flat(view.turned) else labels)


def _is_flat(turned: Volume) -> bool:
    return turned.affine is None and turned.shape_zyx[0] == 1


def _times(shape: Sequence[int]) -> str:
    return "×".join(str(n) for n in shape)


def _rows(affine: Sequence[Sequence[float]] | None) -> str:
    return str([[round(float(v), 3) for v in row] for row in (affine or ())[:3]])


def stored_path(path: Path, folder: Path) -> str:
    """Return a path as the list of studies keeps it: relative to the project where it lies inside."""
    path = path.resolve()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
