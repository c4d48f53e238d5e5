"""Anything that can be done to a session, in any order, and how it is afterwards."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.session import Session
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


def new_image() -> AnnotatedImage:
    planes = [picture("disk", "square", "bar")[0], picture("disk", "square")[0], picture("disk")[0], picture("bar")[0]]
    return AnnotatedImage(np.stack(planes))


def new_session() -> Session:
    session = Session(new_image())
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
