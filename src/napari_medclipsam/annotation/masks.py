"""The label volume on the image grid: which class and object each voxel has, and which voxels were drawn by hand."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from napari_medclipsam.annotation.places import Box, ObjectKey, SliceAt, bounding_part
from napari_medclipsam.errors import GeometryError
from napari_medclipsam.images.labels import as_labels

MOST_OBJECTS = 128
_HAND = np.uint8(0x80)
_OBJECT = np.uint8(0x7F)


@dataclass(frozen=True, eq=False)
class VoxelChange:
    """What a change did to the voxels of one box, compressed, so that it can be taken back and done again.

    Parameters
    ----------
    box : tuple of slice
        Where, on the image grid.
    before, after : tuple of bytes
        Labels and marks of the box, C order, compressed.
    """

    box: Box
    before: tuple[bytes, bytes]
    after: tuple[bytes, bytes]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(map(len, (*self.before, *self.after)))


class LabelMasks:
    """Accepted and hand-drawn voxels of an image.

    ``labels`` holds the class of each voxel and is what a viewer shows and a writer saves. ``marks`` holds the object's
    number within the class, minus one, in its lower seven bits, and in its highest bit whether the voxel was drawn by
    hand (erasing by hand counts). Memory for marks is taken by the system only where some were made.

    Parameters
    ----------
    shape : tuple of int
        Of the image grid.
    n_frame_axes : int
        Leading axes, such as time, that voxels are counted along separately.
    labels : numpy.ndarray, optional
        A mask to start from, uint8 of this shape; used itself, not copied.

    Raises
    ------
    GeometryError
        If it has another shape.
    """

    def __init__(self, shape: tuple[int, ...], n_frame_axes: int = 0, labels: np.ndarray | None = None) -> None:
        if labels is not None and labels.shape != shape:
            raise GeometryError(
                f"The mask has shape {labels.shape} but the image has {shape}. Make the mask on this very image."
            )
        self.labels = np.zeros(shape, np.uint8) if labels is None else _one_byte(labels)
        self.marks = np.zeros(shape, np.uint8)
        self._n_frame_axes = n_frame_axes
        self._counts = np.zeros((*shape[:n_frame_axes], 256), np.int64)
        if labels is not None:
            self._count(tuple(slice(0, n) for n in shape), +1)

    def object_mask(self, at: SliceAt, key: ObjectKey) -> np.ndarray:
        """Return where an object is in a slice, bool (rows, columns)."""
        drawn = self.labels[at.selector] == key.label
        return drawn & ((self.marks[at.selector] & _OBJECT) == key.number - 1)

    def by_hand(self, at: SliceAt) -> np.ndarray:
        """Return which pixels of a slice were drawn or erased by hand, bool (rows, columns)."""
        return (self.marks[at.selector] & _HAND) != 0

    def object_numbers(self, label: int, box: Box | None = None) -> list[int]:
        """Return the numbers of the objects that a class has anywhere, or in a part of the grid."""
        raise NotImplementedError

    def voxel_counts(self, label: int) -> np.ndarray:
        """Return how many voxels a class has, int64 with one entry per frame (0-dimensional without frames)."""
        return self._counts[..., label]

    def write_object(
        self,
        at: SliceAt,
        key: ObjectKey,
        mask_yx: np.ndarray,
        *,
        keep_yx: np.ndarray | None = None,
        keep_hand: bool = True,
    ) -> VoxelChange | None:
        """Make an object of a slice look like `mask_yx`, whatever it was before.

        Parameters
        ----------
        at, key
            Which slice and object.
        mask_yx : numpy.ndarray
            bool (rows, columns).
        keep_yx : numpy.ndarray, optional
            bool (rows, columns): pixels of other objects that are not taken from them.
        keep_hand : bool
            Leave pixels alone that were drawn or erased by hand.

        Returns
        -------
        VoxelChange or None
            What was changed; None if nothing was.
        """
        raise NotImplementedError

    def paint(self, box: Box, before: np.ndarray, after: np.ndarray, numbers: dict[int, int]) -> VoxelChange | None:
        """Take in a stroke by hand.

        Parameters
        ----------
        box : tuple of slice
            Where, on the image grid.
        before, after : numpy.ndarray
            Labels of the box before and after the stroke; ``labels`` may hold either already.
        numbers : dict
            The object number that painted voxels of a label get; 1 where it is missing.
        """
        raise NotImplementedError

    def restore(self, change: VoxelChange, *, undo: bool) -> Box:
        """Take a change back, or do it again; returns its box."""
        raise NotImplementedError

    def _count(self, box: Box, sign: int) -> None:
        """Add the labels of a box to the counts, or take them off."""
        frames = tuple(slice(s.start, s.stop) for s in box[: self._n_frame_axes])
        for frame in np.ndindex(*(s.stop - s.start for s in frames)):
            place = tuple(s.start + i for s, i in zip(frames, frame, strict=True))
            self._counts[place] += sign * np.bincount(self.labels[(*place, *box[len(place) :])].ravel(), minlength=256)


def _one_byte(labels: np.ndarray) -> np.ndarray:
    """Return a mask as a writable uint8 array."""
    narrow = as_labels(labels)
    if narrow.dtype != np.uint8:
        raise GeometryError(f"The mask has labels up to {labels.max()}; 255 is the most. Renumber its labels first.")
    return narrow if narrow.flags.writeable else narrow.copy()


__all__ = ["MOST_OBJECTS", "LabelMasks", "VoxelChange", "bounding_part", "zlib"]
