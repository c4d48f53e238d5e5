"""Any actions in any order: undoing all gives the start, redoing all gives the end."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.annotation.states import SliceState
from napari_medclipsam.annotation.undo import MOST_LEVELS, UndoEntry, UndoStack
from synthetic import Both, picture

MODEL = Both()
SLICES = 4
AT = [SliceAt.across(0, index) for index in range(SLICES)]
KEYS = [ObjectKey(1), ObjectKey(1, 2), ObjectKey(2)]

slices = st.sampled_from(AT)
keys = st.sampled_from(KEYS)
pixel = st.integers(2, 61)
actions = st.one_of(
    st.tuples(st.just("text"), slices, st.sampled_from(["disk", "square; disk", "bar", "gizmo"])),
    st.tuples(st.just("point"), slices, keys, pixel, pixel, st.booleans()),
    st.tuples(st.just("mask"), slices, keys),
    st.tuples(st.just("paint"), pixel, pixel, st.integers(1, 9), st.integers(0, 3)),
    st.tuples(st.just("accept"), slices),
    st.tuples(st.just("reject"), slices),
    st.tuples(st.just("clear"), slices, st.none() | keys),
    st.tuples(st.just("propagate"), slices, keys),
    st.tuples(st.just("accept all"), slices),
    st.tuples(st.just("volume"), slices),
    st.tuples(st.just("undo")),
    st.tuples(st.just("redo")),
)


def new_session() -> Session:
    planes = [picture("disk", "square", "bar")[0], picture("disk", "square")[0], picture("disk")[0], picture("bar")[0]]
    session = Session(AnnotatedImage(np.stack(planes)))
    session.classes.add("disk")
    session.classes.add("square")
    return session


def do(session: Session, action: tuple) -> None:
    match action:
        case ("text", at, text):
            session.apply(session.plan_text(at, text).run(MODEL, MODEL))
        case ("point", at, key, x, y, positive):
            session.add_point(at, x, y, positive, key)
        case ("mask", at, key):
            if key in session.outdated(at):
                session.apply(session.plan_mask(at, key).run(MODEL, MODEL))
        case ("paint", y, x, size, label):
            box = (slice(1, 3), slice(y, min(64, y + size)), slice(x, min(64, x + size)))
            session.paint(box, np.full(session.labels[box].shape, label, np.uint8))
        case ("accept", at):
            session.accept(at)
        case ("reject", at):
            session.reject(at)
        case ("clear", at, key):
            session.clear(at, key)
        case ("propagate", at, key):
            anchors = session.accepted_slices(at, key)
            if at.index in anchors and len(anchors) == 1 and session.object_mask(at, key).any():
                session.apply(session.plan_propagation(at, key).run(MODEL, MODEL))
        case ("accept all", at):
            session.accept_proposals(at)
        case ("volume", at):
            session.apply(session.plan_volume(at, "disk; bar").run(MODEL, MODEL))
        case ("undo",):
            session.undo()
        case ("redo",):
            session.redo()


def snapshot(session: Session) -> tuple:
    states = {
        at: {
            key: (s.prompts, s.accepted, None if s.proposal is None else s.proposal.mask.unpacked().tobytes())
            for key, s in state.objects.items()
        }
        for at, state in session.book.states.items()
    }
    masks = session.book.masks
    return masks.labels.tobytes(), masks.marks.tobytes(), session.proposed.tobytes(), states


@settings(max_examples=30, deadline=None)
@given(st.lists(actions, max_size=14))
def test_undo_all_gives_the_start_and_redo_all_the_end(todo):
    session = new_session()
    start = snapshot(session)
    for action in todo:
        do(session, action)
    while session.redo_name:
        session.redo()
    end = snapshot(session)
    while session.undo_name:
        session.undo()
    assert snapshot(session) == start
    while session.redo_name:
        session.redo()
    assert snapshot(session) == end
    stack = session.book.undo_stack
    assert stack.nbytes == sum(entry.nbytes for entry in stack._done)


@settings(max_examples=20, deadline=None)
@given(st.lists(actions, max_size=10))
def test_counts_are_those_of_the_mask(todo):
    session = new_session()
    for action in todo:
        do(session, action)
        for row in session.class_rows():
            assert row.voxels == np.count_nonzero(session.labels == row.structure.label)


def test_a_hundred_strokes_can_be_taken_back():
    session = new_session()
    for i in range(120):
        box = (slice(0, 1), slice(i // 2, i // 2 + 2), slice(0, 64))
        session.paint(box, np.full((1, 2, 64), 1 + i % 2, np.uint8))
    steps = 0
    while session.undo_name:
        session.undo()
        steps += 1
    assert steps >= 100 and not session.labels.any()


def test_the_oldest_entries_go_when_memory_is_short():
    session = Session(new_session().image, undo_bytes=20_000)
    noise = np.random.default_rng(0).integers(0, 3, (30, 1, 64, 64), dtype=np.uint8)
    for stroke in noise:
        session.paint((slice(0, 1), slice(0, 64), slice(0, 64)), stroke)
    stack = session.book.undo_stack
    assert 1 <= len(stack) < 30 and stack.nbytes <= 20_000
    session.undo()
    np.testing.assert_array_equal(session.labels[0], noise[-2, 0])


def test_too_many_entries_and_one_that_is_too_large():
    stack = UndoStack(max_bytes=100)
    stack.push(UndoEntry("big", states={AT[0]: (SliceState(), SliceState())}))
    assert len(stack) == 1 and stack.nbytes > 100
    many = UndoStack()
    for i in range(MOST_LEVELS + 5):
        many.push(UndoEntry(str(i)))
    assert len(many) == MOST_LEVELS and many.undo_name == str(MOST_LEVELS + 4)


def test_a_new_action_ends_redo():
    session = new_session()
    session.add_point(AT[0], 5, 5, key=ObjectKey(1))
    session.undo()
    assert session.redo_name == "add point, slice 0"
    session.add_point(AT[1], 5, 5)
    assert session.redo_name == ""


def test_a_drag_is_one_step():
    session = new_session()
    session.add_box(AT[0], (5, 5, 20, 20), ObjectKey(1))
    prompts = session.state(AT[0]).of(ObjectKey(1)).prompts
    for x in range(6, 12):
        session.set_prompts(AT[0], type(prompts)(boxes_xyxy=((x, 5, 20, 20),)), drag=x < 11)
    session.add_point(AT[0], 9, 9)
    assert [session.undo_name, session.undo() and session.undo_name] == ["add point, slice 0", "move prompt, slice 0"]
    session.undo()
    assert session.state(AT[0]).of(ObjectKey(1)).prompts == prompts
    assert session.undo_name == "add box, slice 0"
