"""The image that is being labelled: its array on its own axes, and its slices as the models see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.images.intensity import (
    Looks,
    Window,
    apply_window,
    checked_ends,
    looks_like,
    window_limits,
)
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.images.volume import Volume
from napari_medclipsam.reading_view import Turn, slice_turn


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """An image of two or more axes. The voxels are shared, never copied and never written.

    Parameters
    ----------
    array : numpy.ndarray
        Real numbers (..., y, x), or uint8 (..., y, x, 3 or 4) for colour; the fourth channel is not used.
    spacing_mm : tuple of float, optional
        Voxel size along the last three axes (the last two of a 2D image); None where it is unknown.
    axis_codes : tuple of str, optional
        Where the last three axes grow to in the patient, from L R, P A, I S, such as ("S", "P", "L"). With it the
        models are shown slices turned the way they are read; without it as they are stored.
    rgb : bool
        True when the last axis of `array` is colour.
    modality : str
        DICOM modality; decides what the window "auto" does.

    Raises
    ------
    ImageError
        If the array has too few axes, is not of numbers, or has voxels that are not finite.
    GeometryError
        If spacing or axis codes do not fit.
    """

    array: np.ndarray
    spacing_mm: tuple[float, ...] | None = None
    axis_codes: tuple[str, str, str] | None = None
    rgb: bool = False
    modality: str = ""
    _limits: dict[Window, tuple[float, float]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        array = _usable(np.asarray(self.array), self.rgb)
        object.__setattr__(self, "array", array)
        n_spatial = min(3, self.n_axes)
        if self.spacing_mm is not None:
            spacing = tuple(float(mm) for mm in self.spacing_mm)
            if len(spacing) != n_spatial or not np.isfinite(spacing).all() or min(spacing) <= 0:
                raise GeometryError(
                    f"The voxel size {spacing} mm can't be used; expected {n_spatial} positive numbers. "
                    "Leave it out if it is not known."
                )
            object.__setattr__(self, "spacing_mm", spacing)
        if self.axis_codes is not None and (
            n_spatial < 3 or any(sum(c in pair for c in self.axis_codes) != 1 for pair in ("LR", "PA", "IS"))
        ):
            raise GeometryError(
                f"The axis directions {self.axis_codes} can't be used; expected one of L R, one of P A and one of I S "
                "for the last three axes. Leave them out if they are not known."
            )

    @classmethod
    def from_volume(cls, volume: Volume) -> AnnotatedImage:
        """Return the image of a `Volume`, on its stored axes."""
        spacing: tuple[float, ...] | None = volume.spacing_zyx_mm
        codes = volume.axis_codes
        codes_zyx = None if codes is None else (codes[2], codes[1], codes[0])
        return cls(volume.array_zyx, spacing, codes_zyx, volume.rgb, volume.modality)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image grid: without the colour channel. Masks have this shape."""
        return tuple(self.array.shape[:-1] if self.rgb else self.array.shape)

    @property
    def n_axes(self) -> int:
        """Number of axes of the image grid."""
        return self.array.ndim - int(self.rgb)

    @cached_property
    def looks_like(self) -> Looks:
        """What it seems to be, see `intensity.looks_like`; found once."""
        return looks_like(self.array, self.modality)

    @property
    def voxel_ml(self) -> float | None:
        """Volume of a voxel in millilitres; None for 2D images and where the spacing is unknown."""
        if self.spacing_mm is None or self.n_axes < 3:
            return None
        return float(np.prod(self.spacing_mm)) / 1000

    def require_slice(self, at: SliceAt) -> None:
        """Raise `ImageError` unless the image has this slice."""
        fits = len(at.position) == self.n_axes and all(
            index is None or 0 <= index < n for index, n in zip(at.position, self.shape, strict=True)
        )
        if not fits:
            raise ImageError(f"There is no slice {at.position} in an image of shape {self.shape}.")

    def n_slices(self, at: SliceAt) -> int:
        """Return the number of slices in the stack that `at` is in."""
        return 1 if at.axis is None else self.shape[at.axis]

    def shape_yx(self, at: SliceAt) -> tuple[int, int]:
        """Return (rows, columns) of a slice as it is stored."""
        rows, columns = at.axes_yx
        return (self.shape[rows], self.shape[columns])

    def turn(self, at: SliceAt) -> Turn:
        """Return how a slice is turned before a model sees it; not at all where that is not known."""
        first = self.n_axes - 3
        if self.axis_codes is None or at.axis is None or any(axis < first for axis in at.axes_yx):
            return Turn()
        across = ({first, first + 1, first + 2} - set(at.axes_yx)).pop()
        return slice_turn(self.axis_codes, across - first)

    def limits(self, window: Window = "auto") -> tuple[float, float]:
        """Return the intensities shown as black and white, found once for the whole image; 0 and 255 for colour.

        Raises
        ------
        ImageError
            As `images.intensity.window_limits`.
        """
        if self.rgb:
            return (0.0, 255.0)
        key = window if isinstance(window, str) else checked_ends(window)
        if key not in self._limits:
            self._limits[key] = window_limits(self.array, key, self.modality)
        return self._limits[key]

    def slice_pixels(self, at: SliceAt, window: Window = "auto") -> Slice:
        """Return a slice as the models see it: windowed with the limits of the whole image, and turned.

        Reads only; may be called from any thread.

        Raises
        ------
        ImageError
            If there is no such slice, or the window can't be used.
        """
        self.require_slice(at)
        plane = self.array[at.selector]
        pixels = plane[..., :3] if self.rgb else apply_window(plane, *self.limits(window))
        return Slice(np.ascontiguousarray(self.turn(at).to_turned(pixels)), self._spacing_yx_mm(at))

    def _spacing_yx_mm(self, at: SliceAt) -> tuple[float, float] | None:
        """Return (row, column) spacing of the turned slice."""
        first = self.n_axes - len(self.spacing_mm or ())
        if self.spacing_mm is None or any(axis < first for axis in at.axes_yx):
            return None
        rows, columns = (self.spacing_mm[axis - first] for axis in at.axes_yx)
        return (columns, rows) if self.turn(at).swap else (rows, columns)


def _usable(array: np.ndarray, rgb: bool) -> np.ndarray:
    """Return a read-only view of an array that can be labelled, or refuse it."""
    if array.dtype == bool:
        array = array.view(np.uint8)
    gray = not rgb and array.ndim >= 2 and array.dtype.kind in "iuf"
    colour = rgb and array.ndim >= 3 and array.shape[-1] in (3, 4) and array.dtype == np.uint8
    if not (gray or colour) or 0 in array.shape:
        raise ImageError(
            f"An image to label has two or more axes of real numbers, or 8-bit colours; got {array.dtype} "
            f"{array.shape}. Convert it to gray or 8-bit RGB."
        )
    if array.dtype.kind == "f":
        planes = array if array.ndim > 2 else array[None]
        bad = sum(int(plane.size - np.isfinite(plane).sum()) for plane in planes)
        if bad:
            raise ImageError(
                f"{bad} of {array.size} voxels are not finite numbers (NaN or infinite). "
                "Replace them first, for example with 0 outside the body."
            )
    view = array.view()
    view.flags.writeable = False
    return view
