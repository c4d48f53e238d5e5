"""Whatever is done to a session, its records rebuild it: masks, prompts, proposals, and undo."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acts import AT, actions, do, new_image, new_session, snapshot
from napari_medclipsam.annotation.actions import Action, Deed
from napari_medclipsam.annotation.places import ObjectKey
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.projects.codec import UNUSABLE, action_of, fields_of
from napari_medclipsam.projects.journal import Contents, Damage, parse
from napari_medclipsam.projects.records import encode
from napari_medclipsam.projects.replay import Replay


class Lines:
    """A journal in memory."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.prev = ""

    def record(self, action: Action) -> str:
        fields = {"n": len(self.lines) + 1, "time": "2026-01-01T00:00:00.000Z", "reader": "ana", **fields_of(action)}
        line, self.prev = encode(fields, self.prev)
        self.lines.append(line)
        return ""

    def contents(self) -> Contents:
        return parse(b"".join(self.lines))


def recorded(todo) -> tuple[Session, Lines]:
    session, lines = new_session(), Lines()
    session.book.recorder = lines
    for action in todo:
        do(session, action)
    return session, lines


def rebuilt(contents: Contents) -> Session:
    session = Session(new_image())
    replay = Replay(session.book).run(contents)
    assert not replay.damages
    return session


@settings(max_examples=40, deadline=None)
@given(st.lists(actions, max_size=14))
def test_records_rebuild_the_session_and_its_undo(todo):
    session, lines = recorded(todo)
    again = rebuilt(lines.contents())
    assert snapshot(again) == snapshot(session)
    assert (again.undo_name, again.redo_name) == (session.undo_name, session.redo_name)
    assert again.book.undo_stack.nbytes == session.book.undo_stack.nbytes
    for each in (session, again):
        while each.redo_name:
            each.redo()
    assert snapshot(again) == snapshot(session)
    while session.undo_name:
        session.undo(), again.undo()
        assert snapshot(again) == snapshot(session)
    assert not again.undo_name


@settings(max_examples=15, deadline=None)
@given(st.lists(actions, max_size=8), st.lists(actions, max_size=8))
def test_a_session_goes_on_after_it_was_rebuilt(first, second):
    session, lines = recorded(first)
    again = rebuilt(lines.contents())
    again.classes = session.classes
    again.current = session.current
    again.book.recorder = lines
    for action in second:
        do(again, action)
    assert snapshot(rebuilt(lines.contents())) == snapshot(again)


@settings(max_examples=20, deadline=None)
@given(st.lists(actions, max_size=14), st.integers(0, 13))
def test_a_snapshot_stands_for_the_records_before_it(todo, cut):
    session, lines = recorded(todo)
    whole = lines.contents()
    replay = Replay(Session(new_image()).book).run(Contents(records=whole.records[:cut]))
    head = {"n": cut, "time": "", "reader": "", **json.loads(json.dumps(replay.snapshot()))}
    head["parameters"]["history"] = {"counts": replay.history.counts, "first": "", "last": ""}
    head |= {"prev": "", "check": ""}
    again = Replay(Session(new_image()).book).run(Contents(records=[head, *whole.records[cut:]]))
    assert not again.damages
    other = Session(new_image())
    other.book = again.book
    assert snapshot(other) == snapshot(session)
    assert again.history.counts == Replay(Session(new_image()).book).run(whole).history.counts


def test_a_damaged_record_is_left_out_and_undo_stops_there():
    session, lines = recorded([("text", AT[0], "disk"), ("accept", AT[0]), ("text", AT[1], "square")])
    lines.lines[1] = lines.lines[1].replace(b'"accept"', b'"accapt"')
    for action in [("accept", AT[1]), ("paint", 5, 5, 3, 2)]:
        do(session, action)
    contents = lines.contents()
    replay = Replay(Session(new_image()).book).run(contents)
    assert [d.line for d in replay.damages] == [2]
    np.testing.assert_array_equal(replay.book.masks.labels[1], session.labels[1])
    assert not replay.book.masks.labels[0].any()
    names = []
    while replay.book.undo_stack.undo_name:
        names.append(replay.book.undo_stack.undo_name)
        replay.book.undo()
    assert names == ["paint", "accept, slice 1", 'find "square", slice 1']


@pytest.mark.parametrize(
    "change",
    [
        {"slices": [{"at": [9, None, None], "objects": []}]},
        {"slices": [{"at": [0, None], "objects": []}]},
        {"slices": "x"},
        {"voxels": [{"box": [[0, 1], [0, 2], [0, 65]], "before": "", "after": ""}]},
        {"voxels": [{"box": [[0, 1], [0, 2], [0, 2]], "before": "", "after": "eJw="}]},
        {"voxels": [{"box": [[0, 1], [0, 2], [0, 2]], "before": "", "after": "no base64"}]},
    ],
)
def test_what_another_program_wrote_wrong_is_a_damage_and_no_crash(change):
    record = {"n": 1, "time": "", "reader": "", "verb": "paint", "step": 1, "prev": "", "check": "", **change}
    with pytest.raises(UNUSABLE):
        action_of(record, (4, 64, 64))
    replay = Replay(Session(new_image()).book).run(Contents(records=[record]))
    assert replay.damages == [Damage(1, 0, "says what can't be of this image")]


def test_the_model_and_what_it_said_are_recorded():
    _, lines = recorded([("text", AT[0], "disk"), ("point", AT[1], ObjectKey(1), 20, 18, True)])
    found, given_point = lines.contents().records
    assert found["model"] and found["parameters"]["answers"][0]["verdict"] == "found"
    assert found["at"] == [0, None, None] and given_point["parameters"] == {"label": 1, "number": 1}


def test_odd_figures_do_not_keep_a_record_from_the_disk():
    parameters = {"presence": float("nan"), "label": np.int64(3), "window": (np.float32(1), float("inf")), 5: [True]}
    fields = fields_of(Action(Deed("text", "", None, parameters), 0, {}))
    assert fields["parameters"] == {"presence": None, "label": 3, "window": [1.0, None], "5": [True]}
    encode({"n": 1, **fields}, "")
