"""The verbs of a session, with models that really find shapes by intensity."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import Prompts
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.errors import ImageError, PromptError
from synthetic import Both, WithoutCt, picture

MODEL = Both()
PIXELS, MASKS = picture("disk", "square")


def session_of(array: np.ndarray, **more) -> Session:
    return Session(AnnotatedImage(array, **more))


def find(session: Session, at: SliceAt, text: str):
    return session.apply(session.plan_text(at, text).run(MODEL, MODEL))


def outline(session: Session, at: SliceAt, key: ObjectKey | None = None):
    return session.apply(session.plan_mask(at, key).run(MODEL, MODEL))


CASES = [
    (PIXELS, {}, (None, None)),
    (np.stack([PIXELS] * 3), {}, (1, None, None)),
    (np.stack([PIXELS] * 3, axis=1), {}, (None, 2, None)),
    (np.stack([PIXELS] * 3, axis=2), {}, (None, None, 0)),
    (np.stack([np.stack([PIXELS] * 2)] * 2), {}, (1, 0, None, None)),
    (np.stack([PIXELS] * 3, axis=-1), {"rgb": True}, (None, None)),
    (np.stack([np.stack([PIXELS] * 3, axis=-1)] * 2), {"rgb": True}, (1, None, None)),
    (np.stack([PIXELS] * 3), {"axis_codes": ("I", "R", "P"), "spacing_mm": (4.0, 1.0, 0.5)}, (1, None, None)),
]


@pytest.mark.parametrize(("array", "more", "position"), CASES)
def test_text_to_accepted_mask_on_any_axes(array, more, position):
    session, at = session_of(array, **more), SliceAt(position)
    change = find(session, at, "disk; square")
    disk, square = (session.classes.named(name).label for name in ("disk", "square"))
    assert change.classes and change.slices == (at,) and session.state(at).status == "proposed"
    expected = disk * MASKS["disk"] + square * MASKS["square"]
    np.testing.assert_array_equal(session.proposed[at.selector], expected)
    x0, y0, x1, y1 = session.state(at).of(ObjectKey(disk)).prompts.boxes_xyxy[0]
    assert x0 < 20 < x1 and y0 < 18 < y1
    change = session.accept(at)
    np.testing.assert_array_equal(session.labels[at.selector], expected)
    assert not session.proposed.any() and session.state(at).status == "accepted"
    assert session.labels.astype(bool).sum() == expected.astype(bool).sum()
    outside = session.labels.copy()
    for box in change.label_boxes:
        outside[box] = 0
    assert not outside.any()


def test_volume_in_ml_of_thick_slices():
    session = session_of(np.stack([PIXELS] * 3), spacing_mm=(5.0, 0.5, 0.5))
    find(session, SliceAt.across(0, 1), "disk")
    session.accept(SliceAt.across(0, 1))
    (row,) = session.class_rows()
    assert row.voxels == MASKS["disk"].sum() and row.ml == pytest.approx(row.voxels * 1.25e-3)


def test_frames_of_a_4d_image_are_counted_apart():
    session = session_of(np.stack([np.stack([PIXELS] * 2)] * 2))
    for position in ((0, 0, None, None), (1, 0, None, None), (1, 1, None, None)):
        find(session, SliceAt(position), "square")
        session.accept(SliceAt(position))
    counts = [
        session.class_rows(at)[0].voxels for at in (None, SliceAt((1, 0, None, None)), SliceAt((0, None, None, 3)))
    ]
    assert counts == [3 * 225, 2 * 225, 225]


def test_clicks_make_masks_and_new_objects():
    session, at = session_of(PIXELS), SliceAt((None, None))
    session.classes.add("shape")
    session.add_point(at, 20, 18)
    assert session.outdated(at) == [ObjectKey(1)]
    outline(session, at)
    assert session.outdated(at) == []
    session.new_object(1)
    session.add_box(at, (37, 35, 55, 53))
    outline(session, at)
    session.accept(at)
    assert session.objects() == [ObjectKey(1), ObjectKey(1, 2)]
    np.testing.assert_array_equal(session.object_mask(at, ObjectKey(1, 2)), MASKS["square"])
    np.testing.assert_array_equal(session.labels, MASKS["disk"] | MASKS["square"])
    assert session.next_object() == ObjectKey(1) and session.next_object() == ObjectKey(1, 2)


def test_an_accepted_object_can_be_corrected():
    session, at = session_of(PIXELS), SliceAt((None, None))
    find(session, at, "disk")
    session.accept(at)
    session.set_prompts(at, Prompts().with_box((37, 35, 55, 53)))
    outline(session, at)
    np.testing.assert_array_equal(session.labels, MASKS["disk"])
    session.accept(at)
    np.testing.assert_array_equal(session.labels, MASKS["square"])


@pytest.mark.parametrize(("policy", "winner"), [("new", 2), ("old", 1), ("score", 1)])
def test_overlap_policies(policy, winner):
    session, at = session_of(PIXELS), SliceAt((None, None))
    session.overlap = policy
    find(session, at, "disk")
    session.accept(at)
    other = session.classes.add("other")
    session.add_point(at, 20, 18, key=ObjectKey(other.label))
    outline(session, at)
    session.accept(at)
    assert set(np.unique(session.labels)) == {0, winner}


def test_under_the_score_policy_a_surer_mask_takes_the_voxel():
    session, at = session_of(PIXELS), SliceAt((None, None))
    session.overlap = "score"
    unsure = Both()
    masks = unsure.masks
    unsure.masks = lambda e, p: type(masks(e, p))(masks(e, p).logits_yx, 0.4)
    session.apply(session.plan_text(at, "disk").run(unsure, unsure))
    session.accept(at)
    session.add_point(at, 20, 18, key=ObjectKey(session.classes.add("other").label))
    outline(session, at)
    session.accept(at)
    assert set(np.unique(session.labels)) == {0, 2}


def test_hand_edits_win_until_told_otherwise():
    session, at = session_of(PIXELS), SliceAt((None, None))
    session.classes.add("disk")
    session.paint((slice(10, 14), slice(0, 64)), np.full((4, 64), 1))
    session.paint((slice(20, 22), slice(15, 25)), np.full((2, 10), 1))
    session.paint((slice(20, 22), slice(15, 25)), np.zeros((2, 10)))
    find(session, at, "disk")
    session.accept(at)
    assert session.labels[10:14].all() and not session.labels[20:22, 15:25].any() and session.labels[18, 20]
    session.keep_hand_edits = False
    find(session, at, "disk")
    session.accept(at)
    np.testing.assert_array_equal(session.labels, MASKS["disk"])


def test_strokes_of_a_viewer_that_paints_in_place():
    session = session_of(np.stack([PIXELS] * 3))
    labels = session.labels
    indices = (np.array([1, 1, 1]), np.array([5, 6, 5]), np.array([7, 7, 7]))
    labels[1, 5:7, 7] = 4
    change = session.painted(indices, np.array([0, 0, 4]), 4)
    assert change.label_boxes == ((slice(1, 2), slice(5, 7), slice(7, 8)),) and change.classes
    assert session.class_rows()[0].voxels == 2 and session.classes[4].name == "structure 4"
    assert session.undo_name == "paint"
    session.undo()
    assert not labels.any() and session.labels is labels
    session.redo()
    assert labels.sum() == 8


def test_a_preview_follows_a_drag_and_the_newest_wins():
    session, at = session_of(PIXELS), SliceAt((None, None))
    session.classes.add("shape")
    session.set_prompts(at, Prompts().with_box((9, 7, 31, 29)), drag=True)
    first = session.plan_mask(at)
    session.set_prompts(at, Prompts().with_box((37, 35, 55, 53)), drag=True)
    second = session.plan_mask(at)
    assert session.apply(first.run(MODEL, MODEL)).proposed_boxes
    assert session.outdated(at)
    session.apply(second.run(MODEL, MODEL))
    assert not session.apply(first.run(MODEL, MODEL))
    np.testing.assert_array_equal(session.proposed, MASKS["square"])


@pytest.mark.parametrize("verb", ["accept", "reject", "clear", "undo"])
def test_what_comes_after_a_decision_is_dropped(verb):
    session, at = session_of(PIXELS), SliceAt((None, None))
    session.classes.add("shape")
    session.add_point(at, 20, 18)
    text, mask = session.plan_text(at, "square"), session.plan_mask(at)
    session.undo() if verb == "undo" else getattr(session, verb)(at)
    before = session.labels.copy(), dict(session.book.states)
    for request in (text, mask):
        change = session.apply(request.run(MODEL, MODEL))
        assert not change and "too late" in change.message
    np.testing.assert_array_equal(session.labels, before[0])
    assert session.book.states == before[1] and not session.proposed.any()


def test_a_text_does_not_replace_clicks_that_came_after_it():
    session, at = session_of(PIXELS), SliceAt((None, None))
    session.classes.add("disk")
    request = session.plan_text(at, "disk")
    session.add_point(at, 46, 44)
    assert not session.apply(request.run(MODEL, MODEL))
    assert len(session.state(at).of(ObjectKey(1)).prompts.points) == 1


def test_what_is_unknown_or_absent_is_said_and_draws_nothing():
    session, at = session_of(PIXELS), SliceAt((None, None))
    change = find(session, at, "gizmo; bar")
    assert not session.proposed.any() and not len(session.classes)
    assert '"gizmo" is not known' in change.message and '"bar": not in this image' in change.message
    assert [a.verdict for a in session.answers(at)] == ["not known", "not in this image"]


def test_the_coarse_mask_follows_the_threshold():
    session, at = session_of(PIXELS), SliceAt((None, None))
    find(session, at, "disk; square")
    areas = [(session.coarse(at, level) == 1).sum() for level in (0.1, 0.5, 0.9)]
    assert areas[0] > areas[1] > areas[2] > 0 and (session.coarse(at, 0.5) == 2).any()
    assert not session.coarse(at, 1.0).any()


def test_asking_again_is_one_step_of_undo():
    session, at = session_of(PIXELS), SliceAt((None, None))
    for _ in range(3):
        find(session, at, "disk")
    session.undo()
    assert session.undo_name == "" and not session.proposed.any()


def test_reject_brings_back_what_was_accepted():
    session, at = session_of(PIXELS), SliceAt((None, None))
    find(session, at, "disk")
    session.accept(at)
    accepted = session.state(at).of(ObjectKey(1)).prompts
    session.add_point(at, 46, 44)
    outline(session, at)
    session.reject(at)
    assert session.state(at).status == "accepted" and session.state(at).of(ObjectKey(1)).prompts == accepted
    np.testing.assert_array_equal(session.labels, MASKS["disk"])


def test_the_next_slice_is_the_nearest_that_waits():
    session = session_of(np.stack([PIXELS] * 6))
    at = [SliceAt.across(0, i) for i in range(6)]
    session.classes.add("disk")
    session.accept(at[1])
    assert session.next_slice(at[0]) == at[2] and session.next_slice(at[0], -1) is None
    session.add_point(at[4], 20, 18)
    assert session.next_slice(at[0]) == at[4] and session.next_slice(at[4]) == at[5]
    assert session.next_slice(at[2], -1) == at[0] and session.next_slice(SliceAt((None, None))) is None


def test_a_mask_to_go_on_with():
    labels = np.zeros((2, 64, 64), np.uint8)
    labels[0] = 3 * MASKS["disk"]
    session = Session(AnnotatedImage(np.stack([PIXELS] * 2)), labels)
    assert [c.label for c in session.classes] == [3] and session.current == ObjectKey(3)
    session.accept(SliceAt.across(0, 0))
    assert session.accepted_slices(SliceAt.across(0, 1), ObjectKey(3)) == [0]
    with pytest.raises(PromptError, match="still has"):
        session.remove_class(3)
    session.clear(SliceAt.across(0, 0), ObjectKey(3))
    assert session.remove_class(3).classes and not len(session.classes)


def test_refusals():
    session, at = session_of(np.stack([PIXELS] * 2)), SliceAt.across(0, 0)
    for call in (
        lambda: session.add_point(at, 1, 1),
        lambda: session.accept(at),
        lambda: session.plan_text(at, " ; "),
        lambda: session.plan_text(at),
        lambda: session.plan_mask(at),
        lambda: session.plan_propagation(at),
        lambda: session.new_object(1),
    ):
        with pytest.raises(PromptError):
            call()
    session.classes.add("disk")
    session.add_point(at, 5, 5, positive=False)
    with pytest.raises(PromptError, match="box"):
        session.plan_mask(at)
    for call in (lambda: session.plan_text(SliceAt.across(0, 9), "disk"), lambda: session.accept(SliceAt.across(0, 2))):
        with pytest.raises(ImageError):
            call()


def test_slices_are_encoded_ahead_where_there_is_something_to_see():
    session = session_of(np.stack([PIXELS, np.zeros_like(PIXELS)]))
    model = Both()
    for index in (0, 1):
        assert not session.apply(session.plan_embedding(SliceAt.across(0, index)).run(model, model))
    assert model.n_embedded == 1
    assert session.plan_embedding(SliceAt.across(0, 2)) is None


def test_what_a_model_that_never_saw_ct_finds_there_is_no_answer() -> None:
    model, at = WithoutCt(), SliceAt((None, None))
    for image, is_ct in ((PIXELS, False), (PIXELS.astype(np.int16) - 600, True)):
        session = session_of(image)
        session.window = (float(image.min()), float(image.max()))
        assert session.caution(at) == ""
        session.apply(session.plan_text(at, "gizmo").run(model, model))
        assert session.caution(at) == "", "nothing is drawn"
        session.apply(session.plan_text(at, "disk").run(model, model))
        assert ("looks like CT" in session.caution(at)) == is_ct
    assert AnnotatedImage(image, modality="MR").looks_like == ""


def test_a_whole_ct_is_told_with_what_was_found_in_it() -> None:
    stack = np.stack([PIXELS] * 2)
    session = Session(AnnotatedImage(stack, modality="CT"))
    request = session.plan_volume(SliceAt((0, None, None)), "disk")
    assert "looks like CT" in request.run(WithoutCt(), WithoutCt()).message
    assert "CT" not in request.run(MODEL, MODEL).message
