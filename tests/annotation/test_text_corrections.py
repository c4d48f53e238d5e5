"""Clicks on what a text found correct its mask; the boxes that the text placed are out of it then."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import Point, Prompts
from napari_medclipsam.annotation.requests import MaskRequest
from napari_medclipsam.annotation.session import Session
from synthetic import Both, picture

MODEL, KEY, AT = Both(), ObjectKey(1), SliceAt((0, None, None))
PIXELS, MASKS = picture("disk")


@pytest.fixture
def session() -> Session:
    session = Session(AnnotatedImage(np.stack([PIXELS] * 2)))
    session.apply(session.plan_text(AT, "disk").run(MODEL, MODEL))
    return session


def prompts(session: Session) -> Prompts:
    return session.state(AT).of(KEY).prompts


def starts_from_the_disk(request: MaskRequest) -> bool:
    # Corners are lost where an edge is softened.
    return np.count_nonzero((request.prior_logits_yx > 0) ^ MASKS["disk"]) < 0.05 * MASKS["disk"].sum()


@pytest.mark.parametrize("positive", [True, False])
def test_the_first_click_takes_over_from_the_text(session, positive):
    given = prompts(session)
    assert given.boxes_xyxy
    session.add_point(AT, 40, 40, positive)
    assert prompts(session) == Prompts((Point(40.0, 40.0, positive),))
    request = session.plan_mask(AT)
    assert not request.prompts.boxes_xyxy
    assert starts_from_the_disk(request)
    session.apply(request.run(MODEL, MODEL))
    assert not session.state(AT).of(KEY).is_outdated
    session.add_point(AT, 20, 18)
    assert prompts(session).points == (Point(40.0, 40.0, positive), Point(20.0, 18.0))
    for _ in range(2):
        session.undo()
    assert prompts(session) == given and session.state(AT).of(KEY).proposal.source == "text"
    session.redo()
    assert not prompts(session).boxes_xyxy


def test_layers_that_still_show_the_box_do_not_bring_it_back(session):
    shown = prompts(session).with_point(40, 40)
    session.set_prompts(AT, shown, KEY)
    assert not session.set_prompts(AT, shown, KEY).slices
    assert prompts(session) == Prompts((Point(40.0, 40.0),))


def test_a_box_of_the_reader_stays(session):
    (box,) = prompts(session).boxes_xyxy
    session.add_box(AT, (40, 40, 50, 50))
    session.add_point(AT, 45, 45)
    assert prompts(session).boxes_xyxy == (box, (40, 40, 50, 50))
    session.undo()
    session.undo()
    moved = Prompts(boxes_xyxy=((box[0] - 2, *box[1:]),))
    session.set_prompts(AT, moved, KEY)
    assert prompts(session) == moved and session.plan_mask(AT).prior_logits_yx is None
    session.add_point(AT, 20, 18)
    assert prompts(session).boxes_xyxy == moved.boxes_xyxy


def test_what_was_accepted_is_corrected_without_the_box_of_the_text(session):
    session.accept(AT)
    assert not prompts(session) and not session.state(AT).of(KEY).is_outdated
    session.add_point(AT, 40, 40)
    request = session.plan_mask(AT)
    assert starts_from_the_disk(request)
    assert request.prompts == Prompts((Point(40.0, 40.0),))
