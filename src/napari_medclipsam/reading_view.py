"""Volumes turned the way radiologists read them: models know upright slices, whatever order the file has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_medclipsam.errors import ImageError
from napari_medclipsam.images.orientation import reorient
from napari_medclipsam.images.volume import Volume

PLANES = ("axial", "coronal", "sagittal")

# (i, j, k) of the turned volume grow towards these: patient's left on the right of the picture; anterior or head up.
_CODES = {"axial": "LPS", "coronal": "LIA", "sagittal": "PIL"}
_THROUGH = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal", "R": "sagittal", "L": "sagittal"}
_OPPOSITE = {"L": "R", "R": "L", "P": "A", "A": "P", "I": "S", "S": "I"}
_THICK = 1.5


@dataclass(frozen=True)
class Turn:
    """How one stored slice is turned to be read: swapped about its diagonal first, then flipped.

    Parameters
    ----------
    swap : bool
        Rows become columns.
    flip_y, flip_x : bool
        The turned picture is upside down, or left is right.
    """

    swap: bool = False
    flip_y: bool = False
    flip_x: bool = False

    def to_turned(self, array_yx: np.ndarray) -> np.ndarray:
        """Return a stored slice (rows, columns, ...) as it is read; a view."""
        turned = array_yx.swapaxes(0, 1) if self.swap else array_yx
        return turned[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]

    def to_stored(self, array_yx: np.ndarray) -> np.ndarray:
        """Undo `to_turned`; a view."""
        plain = array_yx[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return plain.swapaxes(0, 1) if self.swap else plain

    def points_to_turned(self, points_xy: np.ndarray, shape_yx: tuple[int, int]) -> np.ndarray:
        """Return points (n, 2) of a stored slice of `shape_yx` where they are in the turned one."""
        points = np.array(points_xy, np.float32).reshape(-1, 2)
        height, width = shape_yx
        if self.swap:
            points, height, width = points[:, ::-1].copy(), width, height
        if self.flip_x:
            points[:, 0] = width - 1 - points[:, 0]
        if self.flip_y:
            points[:, 1] = height - 1 - points[:, 1]
        return points

    def points_to_stored(self, points_xy: np.ndarray, shape_yx: tuple[int, int]) -> np.ndarray:
        """Undo `points_to_turned`; `shape_yx` is that of the stored slice."""
        points = np.array(points_xy, np.float32).reshape(-1, 2)
        height, width = shape_yx[::-1] if self.swap else shape_yx
        if self.flip_x:
            points[:, 0] = width - 1 - points[:, 0]
        if self.flip_y:
            points[:, 1] = height - 1 - points[:, 1]
        return points[:, ::-1].copy() if self.swap else points


def slice_turn(codes_zyx: tuple[str, str, str], axis: int) -> Turn:
    """Return how a slice is turned to be read.

    Parameters
    ----------
    codes_zyx : tuple of str
        Where (z, y, x) of the stored array grow to: L or R, P or A, I or S, each direction once.
    axis : int
        Which of (z, y, x) the slice is across.
    """
    codes = _CODES[_THROUGH[codes_zyx[axis]]]
    wanted_x, wanted_y = codes[0], codes[1]
    rows, columns = (code for a, code in enumerate(codes_zyx) if a != axis)
    swap = columns not in (wanted_x, _OPPOSITE[wanted_x])
    if swap:
        rows, columns = columns, rows
    return Turn(swap, rows != wanted_y, columns != wanted_x)


@dataclass(frozen=True, eq=False)
class ReadingView:
    """A volume as it is read, slice by slice along its first axis, and the way back to the stored grid.

    Parameters
    ----------
    stored : Volume
        As it is in the file.
    turned : Volume
        The same voxels with axes swapped and flipped; `stored` itself where the geometry is not known.
    codes : str
        Orientation of `turned`; "" where nothing was turned.
    """

    stored: Volume
    turned: Volume
    codes: str

    @property
    def sides(self) -> tuple[str, str]:
        """What of the patient lies at the left and the right edge of a slice, of L R P A I S; "" where not known."""
        right = self.codes[:1]
        return (_OPPOSITE[right], right) if right else ("", "")

    def to_turned(self, array_zyx: np.ndarray) -> np.ndarray:
        """Return an array on the grid of `stored` on the grid of `turned`."""
        if self.stored.affine is None or not self.codes:
            return array_zyx
        return reorient(array_zyx, self.stored.affine, self.codes)[0]

    def to_stored(self, array_zyx: np.ndarray) -> np.ndarray:
        """Return an array on the grid of `turned` on the grid of `stored`."""
        return self.stored.restored_mask(array_zyx, self.codes) if self.codes else array_zyx

    def box_to_stored(
        self, index: int, box_xyxy: tuple[float, float, float, float]
    ) -> tuple[int, tuple[float, float, float, float]]:
        """Return slice index and box in indices of the stored array.

        The slice index counts along the stored axis that the plane is across; x and y of the box run along the other
        two (of z, y, x: y is the earlier one, x the later one).
        """
        x0, y0, x1, y1 = box_xyxy
        if self.stored.affine is None:
            return index, box_xyxy
        corners_xyz = (self._to_stored_xyz @ np.array([[x0, y0, index, 1], [x1, y1, index, 1]]).T)[:3].T
        corners_zyx = np.sort(corners_xyz, axis=0)[:, ::-1]
        rows, columns = (a for a in range(3) if a != self.across)
        low, high = corners_zyx.tolist()
        return round(low[self.across]), (low[columns], low[rows], high[columns], high[rows])

    @property
    def across(self) -> int:
        """Which axis of the stored array, of (z, y, x), the slices are across."""
        return int(np.argmax(np.abs(self._to_stored_xyz[:3, 2])[::-1]))

    def stored_index(self, index: int) -> int:
        """Return where a slice of `turned` lies along the stored axis `across`: the number that readers are told."""
        step, first = self._to_stored_xyz[2 - self.across, 2:]
        return round(first + step * index)

    def index_of_stored(self, stored_index: int) -> int:
        """Return where the slice lies in `turned` that is counted so along the stored axis `across`."""
        step, first = self._to_stored_xyz[2 - self.across, 2:]
        return round((stored_index - first) / step)

    @property
    def _to_stored_xyz(self) -> np.ndarray:
        """Takes indices (x, y, z, 1) of `turned` to those of `stored`."""
        if self.stored.affine is None or self.turned.affine is None:
            return np.eye(4)
        return np.asarray(np.linalg.inv(self.stored.affine) @ self.turned.affine)


def reading_view(volume: Volume, plane: str | None = None) -> ReadingView:
    """Return how a volume is read.

    Parameters
    ----------
    volume : Volume
        A picture, a stack or a volume with geometry.
    plane : {"axial", "coronal", "sagittal"}, optional
        By default the plane in which it was acquired: across the axis with thick or single slices, axial where voxels
        are about cubes.

    Raises
    ------
    ImageError
        If a plane is asked for and the image has no geometry that would say which it is.
    """
    if volume.affine is None:
        if plane is not None:
            raise ImageError(
                f"This image does not say how it lies in the patient, so it has no {plane} plane; leave --axis out."
            )
        return ReadingView(volume, volume, "")
    codes = _CODES[plane or _acquired_plane(volume)]
    return ReadingView(volume, volume.reoriented(codes), codes)


def _acquired_plane(volume: Volume) -> str:
    spacing, codes = volume.spacing_zyx_mm, volume.axis_codes
    assert spacing is not None and codes is not None  # the caller has checked the affine
    codes_zyx = codes[::-1]
    single = [axis for axis, n in enumerate(volume.shape_zyx) if n == 1]
    if single:
        return _THROUGH[codes_zyx[single[0]]]
    thickest = int(np.argmax(spacing))
    if spacing[thickest] > _THICK * sorted(spacing)[1]:
        return _THROUGH[codes_zyx[thickest]]
    return "axial"
