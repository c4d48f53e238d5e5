"""Which slice of an image, which object, and which part of a grid: the names that the other files speak in.

Indices count voxels of the image's array, along its own axes and without the colour channel. In a slice, y runs along
the earlier and x along the later of the two array axes that it shows, whatever order a viewer draws them in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from napari_medclipsam.errors import ImageError

Box = tuple[slice, ...]
"""A part of the image grid: one slice with start and stop per array axis, so that ``array[box]`` is a view."""


class ObjectKey(NamedTuple):
    """One object: the label of its class and its number within the class, both from 1."""

    label: int
    number: int = 1


@dataclass(frozen=True)
class SliceAt:
    """One 2D slice of an image.

    Parameters
    ----------
    position : tuple of (int or None)
        One entry per array axis: the index on the axes that are fixed, None on the two that are shown. Slice 12 of a
        3D image across its first axis is ``(12, None, None)``; a 2D image has the one slice ``(None, None)``.

    Raises
    ------
    ImageError
        If not exactly two entries are None.
    """

    position: tuple[int | None, ...]

    def __post_init__(self) -> None:
        if self.position.count(None) != 2:
            raise ImageError(
                f"A slice shows two axes of the image; got {self.position}. Leave exactly two indices open."
            )

    @classmethod
    def across(cls, axis: int, index: int, n_axes: int = 3) -> SliceAt:
        """Return slice `index` across `axis` of a 3D image; with more axes the leading ones are fixed at 0."""
        position: list[int | None] = [None] * n_axes
        for other in [a for a in range(n_axes) if a != axis][:-2]:
            position[other] = 0
        position[axis] = index
        return cls(tuple(position))

    @property
    def axes_yx(self) -> tuple[int, int]:
        """The two array axes that are shown: (rows, columns)."""
        rows, columns = (axis for axis, index in enumerate(self.position) if index is None)
        return (rows, columns)

    @property
    def axis(self) -> int | None:
        """The axis that the reader scrolls along: the last fixed one; None for a 2D image."""
        fixed = [axis for axis, index in enumerate(self.position) if index is not None]
        return fixed[-1] if fixed else None

    @property
    def index(self) -> int:
        """Index on `axis`; 0 for a 2D image."""
        return 0 if self.axis is None else int(self.position[self.axis] or 0)

    def moved(self, index: int) -> SliceAt:
        """Return the parallel slice at another index on `axis`; the slice itself for a 2D image."""
        if self.axis is None:
            return self
        position = list(self.position)
        position[self.axis] = index
        return SliceAt(tuple(position))

    def is_parallel_to(self, other: SliceAt) -> bool:
        """Tell whether `other` is in the same stack: equal but for the index on `axis`."""
        return self.moved(0) == other.moved(0) and self.axis == other.axis

    @property
    def selector(self) -> tuple[int | slice, ...]:
        """What indexes an array to a 2D view of this slice, (rows, columns)."""
        return tuple(slice(None) if index is None else index for index in self.position)

    def box(self, part_yx: tuple[slice, slice]) -> Box:
        """Return where a part of the slice lies on the image grid."""
        rows, columns = self.axes_yx
        box = [slice(None) if index is None else slice(index, index + 1) for index in self.position]
        box[rows], box[columns] = part_yx
        return tuple(box)


def bounding_part(mask_yx: np.ndarray) -> tuple[slice, slice] | None:
    """Return the tight (rows, columns) around a 2D bool mask; None where it is empty."""
    rows, columns = np.flatnonzero(mask_yx.any(axis=1)), np.flatnonzero(mask_yx.any(axis=0))
    if not len(rows):
        return None
    return (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))


def slice_of_box(box: Box) -> SliceAt | None:
    """Return the one slice that a box lies in; None where it reaches over several, or could lie in either of two."""
    position = tuple(part.start if part.stop - part.start == 1 else None for part in box)
    return SliceAt(position) if position.count(None) == 2 else None
