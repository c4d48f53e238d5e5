"""Any actions in any order: undoing all gives the start, redoing all gives the end."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from acts import AT, actions, do, new_session, snapshot
from napari_medclipsam.annotation.places import ObjectKey
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.annotation.states import SliceState
from napari_medclipsam.annotation.undo import MOST_LEVELS, UndoEntry, UndoStack


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
