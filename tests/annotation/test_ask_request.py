"""Questions through a session: what is marked, and evidence on the axes of the stored slice."""

import numpy as np
import pytest

from asking_models import GrayModel
from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.asking.sentences import parse_question
from napari_medclipsam.errors import ImageError, PromptError
from synthetic import picture

PIXELS, MASKS = picture("disk", "square")
AT = SliceAt.across(0, 1)
MODEL = GrayModel()


@pytest.fixture
def session() -> Session:
    """Three slices that are read upside down and on their side."""
    stored = PIXELS[:, :50]
    return Session(AnnotatedImage(np.stack([stored] * 3), (5.0, 1.0, 1.0), ("S", "L", "A")))


def test_region_and_evidence_stay_on_the_stored_axes(session: Session) -> None:
    disk = MASKS["disk"][:, :50]
    request = session.plan_question(AT, parse_question("is there a disk here?"), disk)
    assert request.turn.swap and request.image.shape_yx == (50, 64)
    answer = request.run(MODEL, MODEL).answer
    assert answer.verdict == "yes" and np.array_equal(answer.region_yx, disk)
    assert answer.saliency.values_yx.shape == disk.shape and answer.saliency.values_yx[disk].mean() > 0.8
    named = session.plan_question(AT, ["bar", "disk", "Disk"], disk).run(MODEL, MODEL).answer
    assert named.verdict == "disk" and "twice" in named.notes[0]


def test_what_is_marked_is_the_mask_of_the_class_then_its_newest_box(session: Session) -> None:
    assert session.marked_region(AT) is None
    first = session.object_of(session.classes.add("disk").label)
    session.current = first
    session.add_box(AT, (2, 2, 6, 6))
    session.add_box(AT, (10, 10, 13, 12))
    marked = session.marked_region(AT)
    assert marked is not None and marked.mask_yx.sum() == 12 and 'box of "disk"' in marked.name
    drawn = np.zeros((64, 50), np.uint8)
    drawn[30:34, 20:25] = first.label
    session.paint((slice(1, 2), slice(0, 64), slice(0, 50)), drawn[None])
    marked = session.marked_region(AT)
    assert marked is not None and marked.mask_yx.sum() == 20 and 'mask of "disk"' in marked.name
    assert session.marked_region(AT.moved(0)) is None
    session.current = session.object_of(session.classes.add("other").label)
    assert session.marked_region(AT) is None


def test_what_cant_be_planned_is_refused(session: Session) -> None:
    with pytest.raises(PromptError):
        session.plan_question(AT, [""])
    with pytest.raises(ImageError):
        session.plan_question(SliceAt.across(0, 9), parse_question("is there a disk?"))


def test_a_box_that_is_just_being_begun_marks_nothing_yet(session: Session) -> None:
    session.current = session.object_of(session.classes.add("disk").label)
    session.add_box(AT, (10.2, 3.0, 10.4, 9.0))
    assert session.marked_region(AT) is None
