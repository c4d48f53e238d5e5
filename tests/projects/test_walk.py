"""Going through a queue: what comes next, what was passed over, what can't be opened, and the end."""

from __future__ import annotations

import pytest

from napari_medclipsam.annotation.classes import ClassTable
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.projects.queue import ReviewQueue
from napari_medclipsam.projects.review import STATUSES, CaseReview
from napari_medclipsam.projects.walk import Filters, QueueWalk, place_words, why_words


@pytest.fixture
def walk():
    """Two cases of two slices, in the order a0 a1 b0 b1; a1 is flagged, so it comes first."""
    reviews = {case: CaseReview.untouched((2, 9, 9)) for case in ("a", "b")}
    reviews["a"] = CaseReview(0, reviews["a"].statuses, notes={1: {"flag": True, "note": "rim?"}})
    return QueueWalk(ReviewQueue(reviews, ClassTable()))


def at(index: int) -> SliceAt:
    return SliceAt.across(0, index)


def names(walk: QueueWalk, limit: int = 9) -> list[str]:
    return [f"{item.case}{item.at.index}" for item in walk.items(limit)]


def test_passed_slices_come_again_when_nothing_else_is_left(walk):
    seen, here = [], None
    for _ in range(6):
        item = walk.next(here)
        here = (item.case, item.at)
        seen.append(f"{item.case}{item.at.index}")
    assert seen == ["a1", "a0", "b0", "b1", "a1", "a0"]
    assert names(walk) == ["a0", "b0", "a1", "b1"] and names(walk, 1) == ["a0"]


def test_accepted_slices_do_not_come(walk):
    walk.queue.mark("a", at(1), "accepted")
    walk.queue.mark("b", at(0), "accepted")
    assert names(walk) == ["a0", "b1"] and str(walk.queue.progress) == "2 of 4 slices"


def test_a_case_that_can_not_be_opened_is_left_out_and_named_at_the_end(walk):
    walk.refused["a"] = "its image is gone."
    assert walk.next().case == "b"
    for index in (0, 1):
        walk.queue.mark("b", at(index), "accepted")
    assert walk.next() is None
    assert walk.end_words() == "The queue is at its end. a was left out: its image is gone."


def test_every_end_has_its_sentence(walk):
    for case in ("a", "b"):
        for index in (0, 1):
            walk.queue.mark(case, at(index), STATUSES[3])
    assert "none of the 4 slices" in walk.end_words()
    walk.filters = Filters(flagged=True)
    assert walk.next() is None and "filters" in walk.end_words()
    walk.filters = Filters(statuses=("accepted",), flagged=True)
    assert walk.next(("a", at(1))) is None and "last one" in walk.end_words(("a", at(1)))
    assert "no studies" in QueueWalk(ReviewQueue({}, ClassTable())).end_words()


def test_a_slice_in_words(walk):
    item = walk.next()
    assert (place_words(item), why_words(item)) == ("a slice 1", 'flagged; no model has looked at it yet — "rim?"')
    flat = QueueWalk(ReviewQueue({"c": CaseReview.untouched((9, 9))}, ClassTable()))
    assert place_words(flat.next()) == "c"
