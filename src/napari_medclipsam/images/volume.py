"""A 3D image with its geometry: what every reader returns and every mask writer needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.images import orientation
from napari_medclipsam.images.intensity import (
    Looks,
    Window,
    apply_window,
    checked_ends,
    looks_like,
    window_limits,
)
from napari_medclipsam.images.slice import Slice


@dataclass(frozen=True, eq=False)
class Volume:
    """A stack of slices and where it lies in the patient. A 2D picture is a volume of one slice.

    Parameters
    ----------
    array_zyx : numpy.ndarray
        Voxels as stored in the file, (slices, rows, columns) or (slices, rows, columns, 3) uint8 for RGB: for NIfTI the
        nibabel array transposed to (k, j, i). Kept as a read-only view, float64 as float32.
    affine : numpy.ndarray, optional
        float64 (4, 4), maps voxel indices (i, j, k) = (x, y, z) to RAS millimetres; None where geometry is unknown
        (pictures). It is never guessed.
    pixel_spacing_yx_mm : tuple of float, optional
        Distance between rows and between columns where only that is known (a film); follows from `affine` otherwise.
    modality : str
        DICOM modality such as "CT" or "MR"; "" where the file does not say.
    nifti_header : object, optional
        The geometry fields of the NIfTI header it came from, so that masks are written with them bit for bit.
    notes : tuple of str
        Sentences that the user should see (files that were skipped, for example).

    Raises
    ------
    ImageError
        If the array has another shape, is not of real numbers, or has NaN or infinite voxels.
    GeometryError
        If the affine or the spacing can't be used.
    """

    array_zyx: np.ndarray
    affine: np.ndarray | None = None
    pixel_spacing_yx_mm: tuple[float, float] | None = None
    modality: str = ""
    nifti_header: Any = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    _limits: dict[Window, tuple[float, float]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        array = _usable_voxels(np.asarray(self.array_zyx))
        object.__setattr__(self, "array_zyx", array)
        if self.affine is not None:
            affine = orientation.checked_affine(self.affine)
            affine.flags.writeable = False
            object.__setattr__(self, "affine", affine)
        if self.pixel_spacing_yx_mm is not None:
            y, x = self.pixel_spacing_yx_mm
            if self.affine is not None or not (np.isfinite([y, x]).all() and y > 0 and x > 0):
                raise GeometryError(
                    f"The pixel spacing ({y}, {x}) mm can't be used: must be positive; only for images without affine."
                )

    @property
    def rgb(self) -> bool:
        """True for colour images."""
        return self.array_zyx.ndim == 4

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """(slices, rows, columns); the shape a mask must have."""
        z, y, x = self.array_zyx.shape[:3]
        return (z, y, x)

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float] | None:
        """Voxel size along (z, y, x) in mm; None where it is unknown."""
        return None if self.affine is None else orientation.spacing_zyx_of(self.affine)

    @property
    def axis_codes(self) -> tuple[str, str, str] | None:
        """Where (i, j, k) = (x, y, z) grow to, such as ("L", "P", "S"); None where geometry is unknown."""
        return None if self.affine is None else orientation.axis_codes(self.affine)

    @cached_property
    def looks_like(self) -> Looks:
        """What it seems to be, see `intensity.looks_like`; found once."""
        return looks_like(self.array_zyx, self.modality)

    def n_slices(self, axis: int = 0) -> int:
        """Return the number of slices across an axis of (z, y, x)."""
        return self.shape_zyx[_checked_axis(axis)]

    def intensity_limits(self, window: Window = "auto") -> tuple[float, float]:
        """Return the intensities shown as black and white, found once for the whole volume.

        Raises
        ------
        ImageError
            As `images.intensity.window_limits`; also for a CT window on a colour image.
        """
        if self.rgb and window != "auto":
            raise ImageError(f"Intensity windows are for gray images and this one is in colour; got window {window}.")
        key = window if isinstance(window, str) else checked_ends(window)
        if key not in self._limits:
            self._limits[key] = window_limits(self.array_zyx, key, self.modality)
        return self._limits[key]

    def slice_pixels(self, index: int, axis: int = 0, window: Window = "auto") -> Slice:
        """Return one slice as it is shown: windowed with the limits of the whole volume.

        Parameters
        ----------
        index : int
            From 0.
        axis : int
            Which of (z, y, x) the slice is across; rows and columns are the other two, in that order.
        window : str or tuple of float
            See `images.intensity`.

        Raises
        ------
        ImageError
            If there is no such slice, or the window can't be used.
        """
        count = self.n_slices(axis)
        if not 0 <= index < count:
            raise ImageError(f"There is no slice {index}: this image has slices 0 to {count - 1} across axis {axis}.")
        plane = self.array_zyx.take(index, axis)
        return Slice(apply_window(plane, *self.intensity_limits(window)), self._slice_spacing_mm(axis))

    def _slice_spacing_mm(self, axis: int) -> tuple[float, float] | None:
        if self.spacing_zyx_mm is None:
            return self.pixel_spacing_yx_mm if axis == 0 else None
        rows, columns = (mm for a, mm in enumerate(self.spacing_zyx_mm) if a != axis)
        return (rows, columns)

    def edge_codes(self, axis: int = 0) -> tuple[str, str, str, str] | None:
        """Return what lies at the (left, right, top, bottom) edge of a slice, such as ("R", "L", "A", "P")."""
        if self.axis_codes is None:
            return None
        codes_zyx = self.axis_codes[::-1]
        down, across = (code for a, code in enumerate(codes_zyx) if a != _checked_axis(axis))
        return (_OPPOSITE[across], across, _OPPOSITE[down], down)

    def reoriented(self, codes_ijk: str = "RAS") -> Volume:
        """Return this volume with axes flipped and swapped to the closest `codes_ijk`; no voxel changes its value.

        Masks drawn on it go back to this volume's grid with `restored_mask`.

        Raises
        ------
        GeometryError
            If geometry is unknown or `codes_ijk` is no orientation.
        """
        array, affine = orientation.reorient(self.array_zyx, self._known_affine(), codes_ijk)
        return Volume(array, affine, modality=self.modality, notes=self.notes)

    def restored_mask(self, mask_zyx: np.ndarray, codes_ijk: str = "RAS") -> np.ndarray:
        """Return a mask drawn on ``reoriented(codes_ijk)`` on the grid of this volume."""
        mask = orientation.restore(mask_zyx, self._known_affine(), codes_ijk)
        self.require_mask_shape(mask)
        return mask

    def _known_affine(self) -> np.ndarray:
        if self.affine is None:
            raise GeometryError("This image has no known geometry, so its axes can't be turned. Use it as it is.")
        return self.affine

    def require_mask_shape(self, mask_zyx: np.ndarray) -> None:
        """Raise `GeometryError` unless a mask has the shape of this volume."""
        if mask_zyx.shape != self.shape_zyx:
            raise GeometryError(
                f"The mask has shape {mask_zyx.shape} (z, y, x) but the image has {self.shape_zyx}. "
                "Make the mask on this very image; it is never resampled in silence."
            )


_OPPOSITE = {"L": "R", "R": "L", "P": "A", "A": "P", "I": "S", "S": "I"}


def _checked_axis(axis: int) -> int:
    if axis not in (0, 1, 2):
        raise ImageError(f"An axis is 0 (z), 1 (y) or 2 (x); got {axis}.")
    return axis


def _usable_voxels(array: np.ndarray) -> np.ndarray:
    if array.dtype == bool:
        array = array.astype(np.uint8)
    gray = array.ndim == 3 and array.dtype.kind in "iuf"
    rgb = array.ndim == 4 and array.shape[3] == 3 and array.dtype == np.uint8
    if not (gray or rgb) or 0 in array.shape:
        raise ImageError(
            f"A volume is (z, y, x) of real numbers or (z, y, x, 3) of uint8, with no empty axis; got {array.dtype} "
            f"{array.shape}. Convert the image to gray or 8-bit RGB."
        )
    wanted = np.dtype(np.float32) if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    if array.dtype != wanted:
        # What float32 can't hold becomes infinite, and is refused below with the rest.
        with np.errstate(over="ignore"):
            array = array.astype(wanted)
    if array.dtype.kind == "f":
        bad = sum(int(plane.size - np.isfinite(plane).sum()) for plane in array)
        if bad:
            raise ImageError(
                f"{bad} of {array.size} voxels are not finite numbers (NaN, infinite or beyond float32). "
                "Replace them first, for example with 0 outside the body, and save the image again."
            )
    view = array.view()
    view.flags.writeable = False
    return view
