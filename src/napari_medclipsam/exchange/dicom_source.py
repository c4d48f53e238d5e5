"""The DICOM series that an image was read from, plane by plane: what a DICOM-SEG refers to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.exchange.grids import affine_of
from napari_medclipsam.images.dicom_frames import Frame, frames_of
from napari_medclipsam.images.dicom_grid import grid_affine_ras, sorted_stack
from napari_medclipsam.images.dicom_series import find_series
from napari_medclipsam.images.guard import reading
from napari_medclipsam.images.orientation import grids_agree
from napari_medclipsam.images.volume import Volume

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")


@dataclass(frozen=True, eq=False)
class DicomSource:
    """A series on disk, in the order of the slices of its volume.

    Parameters
    ----------
    path : pathlib.Path
        What was opened.
    stack : tuple of Frame
        The plane of each slice.
    affine : numpy.ndarray
        (i, j, k) to RAS mm.
    volume_index : int, optional
        Which image at each place, where there are several.
    """

    path: Path
    stack: tuple[Frame, ...]
    affine: np.ndarray
    volume_index: int | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Each file once, in the order of the slices."""
        return tuple(dict.fromkeys(frame.path for frame in self.stack))

    def headers(self) -> list[Any]:
        """Read the headers without pixels, one per file of `files`; they hold patient data.

        Raises
        ------
        ImageError
            If a file can't be read, or lacks the identifiers by which a segmentation refers to it.
        """
        import pydicom

        with reading(self.path, "DICOM series", keep_cause=False):
            headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in self.files]
            missing = [name for name in _NEEDED if any(not header.get(name) for header in headers)]
        if missing:
            raise ImageError(
                f"{self.path} lacks {', '.join(missing)}, by which a DICOM object refers to its image (removed by an "
                "anonymiser?). Use the original series, or export NIfTI."
            )
        return headers

    def require_same_grid(self, source: Volume) -> None:
        """Raise `GeometryError` unless an image has the grid of this series."""
        shape_zyx = (len(self.stack), *self.stack[0].shape_yx)
        if shape_zyx != source.shape_zyx or not grids_agree(affine_of(source), self.affine, shape_zyx):
            raise GeometryError(
                f"The image does not have the grid of the series {self.path} "
                f"({' x '.join(map(str, shape_zyx))} and {' x '.join(map(str, source.shape_zyx))} voxels). "
                "Give the series that the image was read from."
            )


def open_source(
    path: str | os.PathLike[str], series_uid: str | None = None, volume_index: int | None = None
) -> DicomSource:
    """Find the series at a path; parameters and errors as `images.dicom.read_dicom`.

    Raises
    ------
    GeometryError
        Also if the series has no place in the patient (a film or a cine loop).
    """
    path = Path(path)
    series = find_series(path, series_uid)
    with reading(path, "DICOM series", keep_cause=False):
        frames = frames_of(series)
        stack = tuple(sorted_stack(path, frames, volume_index))
        affine = grid_affine_ras(path, list(stack))
    if affine is None:
        raise GeometryError(f"{path} does not say how thick its slice is, so that it has no grid. Export PNG instead.")
    return DicomSource(path, stack, affine, volume_index)
