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
_LABELS = 256
_COUNTED_AT_ONCE = 1 << 22


@dataclass(frozen=True, eq=False)
class VoxelChange:
    """What a change did to the voxels of one box, compressed, so that it can be taken back and done again.

    Parameters
    ----------
    box : tuple of slice
        Where, on the image grid.
    before, after : bytes
        Labels and marks of the box, C order, compressed.
    """

    box: Box
    before: bytes
    after: bytes

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return len(self.before) + len(self.after)


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
        If it has another shape or labels above 255.
    """

    def __init__(self, shape: tuple[int, ...], n_frame_axes: int = 0, labels: np.ndarray | None = None) -> None:
        if labels is not None and labels.shape != shape:
            raise GeometryError(
                f"The mask has shape {labels.shape} but the image has {shape}. Make the mask on this very image."
            )
        self.labels = np.zeros(shape, np.uint8) if labels is None else _one_byte(labels)
        self.marks = np.zeros(shape, np.uint8)
        self._n_frame_axes = n_frame_axes
        self._label_counts = np.zeros((*shape[:n_frame_axes], _LABELS), np.int64)
        self._object_counts = np.zeros((_LABELS, MOST_OBJECTS), np.int64)
        if labels is not None:
            self._count(tuple(slice(0, n) for n in shape), +1)

    def object_mask(self, at: SliceAt, key: ObjectKey) -> np.ndarray:
        """Return where an object is in a slice, bool (rows, columns)."""
        drawn = self.labels[at.selector] == key.label
        return drawn & ((self.marks[at.selector] & _OBJECT) == key.number - 1)

    def by_hand(self, at: SliceAt) -> np.ndarray:
        """Return which pixels of a slice were drawn or erased by hand, bool (rows, columns)."""
        return (self.marks[at.selector] & _HAND) != 0

    def objects_in(self, at: SliceAt) -> list[ObjectKey]:
        """Return the objects that have pixels in a slice."""
        counts = _code_counts(self.labels[at.selector], self.marks[at.selector])
        return _keys(counts)

    def objects(self) -> list[ObjectKey]:
        """Return the objects that have voxels anywhere."""
        return _keys(self._object_counts)

    def voxel_counts(self, label: int) -> np.ndarray:
        """Return how many voxels a class has, int64 with one entry per frame (0-dimensional without frames)."""
        return self._label_counts[..., label]

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
            bool (rows, columns): pixels that are not taken from the objects that have them.
        keep_hand : bool
            Leave pixels alone that were drawn or erased by hand.

        Returns
        -------
        VoxelChange or None
            What was changed; None if nothing was.
        """
        own = self.object_mask(at, key)
        gained, lost = mask_yx & ~own, own & ~mask_yx
        if keep_yx is not None:
            gained &= ~keep_yx
        if keep_hand:
            free = ~self.by_hand(at)
            gained, lost = gained & free, lost & free
        labels, marks = self.labels[at.selector].copy(), self.marks[at.selector].copy()
        labels[gained], marks[gained] = key.label, key.number - 1
        labels[lost], marks[lost] = 0, 0
        return self._replace_part(at, gained | lost, labels, marks)

    def clear(self, at: SliceAt, key: ObjectKey | None = None) -> VoxelChange | None:
        """Empty a slice, or take one object out of it; what was drawn or erased by hand is forgotten too."""
        labels, marks = self.labels[at.selector].copy(), self.marks[at.selector].copy()
        gone = np.ones(labels.shape, bool) if key is None else self.object_mask(at, key) | (labels == 0)
        gone &= (labels != 0) | (marks != 0)
        labels[gone], marks[gone] = 0, 0
        return self._replace_part(at, gone, labels, marks)

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
        # Counts and undo are about the mask before the stroke, which a viewer may have painted into already.
        self.labels[box] = before
        painted = before != after
        marks = self.marks[box].copy()
        number_of = np.zeros(_LABELS, np.uint8)
        for label, number in numbers.items():
            number_of[label] = number - 1
        marks[painted] = number_of[after[painted]] | _HAND
        return self._replace(box, after, marks)

    def restore(self, change: VoxelChange) -> Box:
        """Make the voxels of a change what they are after it; returns its box."""
        packed = zlib.decompress(change.after)
        shape = (2, *(s.stop - s.start for s in change.box))
        labels, marks = np.frombuffer(packed, np.uint8).reshape(shape)
        self._put(change.box, labels, marks)
        return change.box

    def _replace_part(
        self, at: SliceAt, changed_yx: np.ndarray, labels: np.ndarray, marks: np.ndarray
    ) -> VoxelChange | None:
        """Put a slice's new labels and marks where they are different."""
        part = bounding_part(changed_yx)
        if part is None:
            return None
        box = at.box(part)
        shape = self.labels[box].shape
        return self._replace(box, labels[part].reshape(shape), marks[part].reshape(shape))

    def _replace(self, box: Box, labels: np.ndarray, marks: np.ndarray) -> VoxelChange | None:
        if np.array_equal(self.labels[box], labels) and np.array_equal(self.marks[box], marks):
            return None
        before = self._packed(box)
        self._put(box, labels, marks)
        return VoxelChange(box, before, self._packed(box))

    def _put(self, box: Box, labels: np.ndarray, marks: np.ndarray) -> None:
        self._count(box, -1)
        self.labels[box], self.marks[box] = labels, marks
        self._count(box, +1)

    def _packed(self, box: Box) -> bytes:
        # Level 1: masks are long runs, which it packs as well as slower levels do.
        return zlib.compress(np.stack([self.labels[box], self.marks[box]]).tobytes(), 1)

    def _count(self, box: Box, sign: int) -> None:
        """Add the voxels of a box to the counts, or take them off."""
        n = self._n_frame_axes
        for offset in np.ndindex(*(s.stop - s.start for s in box[:n])):
            frame = tuple(s.start + i for s, i in zip(box[:n], offset, strict=True))
            labels, marks = self.labels[(*frame, *box[n:])], self.marks[(*frame, *box[n:])]
            # A few planes at a time: counting needs eight bytes per voxel for a moment.
            step = max(1, _COUNTED_AT_ONCE // max(1, labels[0].size))
            for start in range(0, len(labels), step):
                counts = sign * _code_counts(labels[start : start + step], marks[start : start + step])
                self._object_counts += counts
                self._label_counts[frame] += counts.sum(axis=1)


def _code_counts(labels: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Return how many voxels each object has, int64 (label, number - 1)."""
    codes = labels.astype(np.uint16) * MOST_OBJECTS + (marks & _OBJECT)
    return np.bincount(codes.ravel(), minlength=_LABELS * MOST_OBJECTS).reshape(_LABELS, MOST_OBJECTS)


def _keys(counts: np.ndarray) -> list[ObjectKey]:
    """Return the objects that are counted; label 0 is nothing."""
    return [ObjectKey(int(label), int(i) + 1) for label, i in zip(*np.nonzero(counts), strict=True) if label > 0]


def _one_byte(labels: np.ndarray) -> np.ndarray:
    """Return a mask as a writable uint8 array."""
    narrow = as_labels(labels) if labels.dtype != np.uint8 else labels
    if narrow.dtype != np.uint8:
        raise GeometryError(f"The mask has labels up to {labels.max()}; 255 is the most. Renumber its labels first.")
    return narrow if narrow.flags.writeable else narrow.copy()
