"""The label volume: objects, hand edits and counts."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medclipsam.annotation.masks import LabelMasks
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.errors import GeometryError

AT = SliceAt.across(0, 1)
SHAPE = (3, 6, 8)


def rectangle(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(SHAPE[1:], bool)
    mask[rows, columns] = True
    return mask


def stroke(masks: LabelMasks, rows: slice, columns: slice, label: int) -> None:
    box = (slice(1, 2), rows, columns)
    before = masks.labels[box].copy()
    masks.paint(box, before, np.full_like(before, label), {})


def test_objects_of_a_class_are_apart():
    masks = LabelMasks(SHAPE)
    masks.write_object(AT, ObjectKey(1), rectangle(slice(0, 2), slice(0, 8)))
    masks.write_object(AT, ObjectKey(1, 2), rectangle(slice(1, 4), slice(0, 8)))
    assert masks.objects_in(AT) == [ObjectKey(1), ObjectKey(1, 2)] == masks.objects()
    np.testing.assert_array_equal(masks.object_mask(AT, ObjectKey(1)), rectangle(slice(0, 1), slice(0, 8)))
    np.testing.assert_array_equal(masks.labels[1], rectangle(slice(0, 4), slice(0, 8)))
    assert masks.voxel_counts(1) == 32


def test_a_written_object_replaces_what_it_was():
    masks = LabelMasks(SHAPE)
    masks.write_object(AT, ObjectKey(1), rectangle(slice(0, 4), slice(0, 4)))
    change = masks.write_object(AT, ObjectKey(1), rectangle(slice(2, 6), slice(0, 4)))
    np.testing.assert_array_equal(masks.labels[1] == 1, rectangle(slice(2, 6), slice(0, 4)))
    assert change is not None and change.box == (slice(1, 2), slice(0, 6), slice(0, 4))
    assert masks.write_object(AT, ObjectKey(1), rectangle(slice(2, 6), slice(0, 4))) is None


def test_voxels_drawn_or_erased_by_hand_stay():
    masks = LabelMasks(SHAPE)
    masks.write_object(AT, ObjectKey(1), rectangle(slice(0, 6), slice(0, 4)))
    stroke(masks, slice(0, 2), slice(0, 4), 0)
    stroke(masks, slice(0, 2), slice(6, 8), 2)
    everything = rectangle(slice(0, 6), slice(0, 8))
    masks.write_object(AT, ObjectKey(1), everything)
    expected = everything.astype(np.uint8)
    expected[:2, :4], expected[:2, 6:] = 0, 2
    np.testing.assert_array_equal(masks.labels[1], expected)
    masks.write_object(AT, ObjectKey(1), everything, keep_hand=False)
    assert (masks.labels[1] == 1).all() and not masks.by_hand(AT).any()


def test_clear_forgets_hand_edits_of_its_slice_only():
    masks = LabelMasks(SHAPE)
    stroke(masks, slice(0, 2), slice(0, 4), 3)
    masks.write_object(SliceAt.across(0, 2), ObjectKey(3), rectangle(slice(0, 1), slice(0, 1)))
    masks.clear(AT)
    assert not masks.marks.any() and masks.labels.sum() == 3 and masks.clear(AT) is None


def test_slices_across_every_axis_write_into_one_mask():
    masks = LabelMasks(SHAPE)
    for axis, shape in ((0, (6, 8)), (1, (3, 8)), (2, (3, 6))):
        masks.write_object(SliceAt.across(axis, 1), ObjectKey(axis + 1), np.ones(shape, bool))
    assert (masks.labels[:, :, 1] == 3).all()
    assert (masks.labels[:, 1, [0, 2]] == 2).all() and (masks.labels[1, 0, [0, 2]] == 1).all()


def test_frames_are_counted_apart():
    labels = np.zeros((2, *SHAPE), np.uint8)
    labels[0, 0, :2], labels[1, 0, :3] = 4, 4
    masks = LabelMasks(labels.shape, 1, labels)
    np.testing.assert_array_equal(masks.voxel_counts(4), [16, 24])
    masks.clear(SliceAt((1, 0, None, None)))
    np.testing.assert_array_equal(masks.voxel_counts(4), [16, 0])


def test_masks_of_another_shape_or_too_many_labels_are_refused():
    with pytest.raises(GeometryError, match="shape"):
        LabelMasks(SHAPE, 0, np.zeros((3, 6, 7), np.uint8))
    with pytest.raises(GeometryError, match="255"):
        LabelMasks(SHAPE, 0, np.full(SHAPE, 300, np.uint16))
