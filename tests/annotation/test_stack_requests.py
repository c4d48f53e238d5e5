"""Propagation and the whole volume through a session: anchors, spans, ranges, and what the user does meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medclipsam.annotation.bringing_in import bring_in
from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.errors import PromptError
from napari_medclipsam.models.contracts import Embedding, MaskResult, PromptSet
from synthetic import LEVELS, Both, picture

MODEL = Both()
N = 10
FIRST, LAST = 2, 7
AT = [SliceAt.across(0, index) for index in range(N)]
DISK = ObjectKey(1)


def ball() -> tuple[np.ndarray, np.ndarray]:
    """A volume where a disk grows and shrinks between two slices, and its mask."""
    rows, columns = np.mgrid[:64, :64]
    volume, truth = np.stack([picture("square")[0]] * N), np.zeros((N, 64, 64), bool)
    for index in range(FIRST, LAST + 1):
        truth[index] = np.hypot(rows - 18, columns - 20) <= 10 - 1.5 * abs(index - 4.5)
        volume[index][truth[index]] = LEVELS["disk"]
    return volume, truth


@pytest.fixture
def session() -> Session:
    made = Session(AnnotatedImage(ball()[0], (5.0, 1.0, 1.0)))
    made.apply(made.plan_text(AT[4], "disk").run(MODEL, MODEL))
    made.accept(AT[4])
    return made


def proposed(session: Session) -> list[int]:
    return [int(i) for i in np.flatnonzero(session.proposed.any(axis=(1, 2)))]


def test_an_accepted_slice_is_carried_to_both_ends(session):
    change = session.apply(session.plan_propagation(AT[4]).run(MODEL, MODEL))
    assert proposed(session) == [2, 3, 5, 6, 7]
    assert [at.index for at in change.slices] == [2, 3, 5, 6, 7] and session.undo_name == "propagate, slices 2–7"
    assert not session.labels[5].any()
    session.accept_proposals(AT[4])
    np.testing.assert_array_equal(session.labels.astype(bool), ball()[1])
    assert session.undo_name == "accept slices 2–7"


@pytest.mark.parametrize("axis", [1, 2])
def test_any_axis_and_orientation(axis):
    volume, truth = ball()
    moved = np.moveaxis(volume, 0, axis)
    session = Session(AnnotatedImage(moved, (1.0, 2.0, 3.0), ("A", "I", "R")))
    at = SliceAt.across(axis, 4)
    session.apply(session.plan_text(at, "disk").run(MODEL, MODEL))
    session.accept(at)
    session.apply(session.plan_propagation(at).run(MODEL, MODEL))
    session.accept_proposals(at)
    np.testing.assert_array_equal(session.labels.astype(bool), np.moveaxis(truth, 0, axis))


def test_a_propagated_mask_is_corrected_by_a_click(session):
    session.apply(session.plan_propagation(AT[4]).run(MODEL, MODEL))
    ((x0, y0, x1, y1),) = session.state(AT[5]).of(DISK).prompts.boxes_xyxy
    assert x0 < 20 < x1 and y0 < 18 < y1 and not session.outdated(AT[5])
    session.add_point(AT[5], 20, 12, positive=False)
    request = session.plan_mask(AT[5])
    assert request.prior_logits_yx[18, 20] > 0 and request.prompts.boxes_xyxy == ((x0, y0, x1, y1),)
    session.apply(request.run(MODEL, MODEL))
    corrected = session.state(AT[5]).proposals[DISK]
    session.apply(session.plan_propagation(AT[4]).run(MODEL, MODEL))
    assert session.state(AT[5]).proposals[DISK] is corrected and corrected.source == "prompts"


def test_only_the_frame_of_a_4d_image():
    volume, truth = ball()
    session = Session(AnnotatedImage(np.stack([volume, volume])))
    at = SliceAt((1, 4, None, None))
    session.apply(session.plan_text(at, "disk").run(MODEL, MODEL))
    session.accept(at)
    session.apply(session.plan_propagation(at).run(MODEL, MODEL))
    session.accept_proposals(at)
    assert not session.labels[0].any()
    np.testing.assert_array_equal(session.labels[1].astype(bool), truth)


def test_a_range_is_kept_to(session):
    session.apply(session.plan_propagation(AT[4], first=3, last=5).run(MODEL, MODEL))
    assert proposed(session) == [3, 5]
    with pytest.raises(PromptError, match="range"):
        session.plan_propagation(AT[4], first=8, last=5)
    with pytest.raises(PromptError, match="no slice"):
        session.plan_propagation(AT[4], first=4, last=4)


def test_a_correction_fills_only_the_spans_beside_it(session):
    session.apply(session.plan_propagation(AT[4]).run(MODEL, MODEL))
    session.paint((slice(7, 8), slice(16, 20), slice(18, 22)), np.ones((1, 4, 4)))
    session.accept(AT[7])
    request = session.plan_propagation(AT[7])
    assert request.spans == ((5, 6), (8, 9)) and set(request.anchors) == {4, 7}
    before = session.state(AT[3])
    change = session.apply(request.run(MODEL, MODEL))
    assert {at.index for at in change.slices} <= {5, 6, 8, 9} and session.state(AT[3]) is before
    assert proposed(session) == [2, 3, 5, 6]


def test_accepting_a_range_makes_no_anchors(session):
    session.apply(session.plan_propagation(AT[4]).run(MODEL, MODEL))
    session.accept_proposals(AT[4], 5, 7)
    assert session.accepted_slices(AT[0], DISK) == [4] and proposed(session) == [2, 3]
    assert session.plan_propagation(AT[4]).spans == ((0, 3), (5, 9))
    session.reject_proposals(AT[4])
    assert proposed(session) == [] and session.labels[6].any()
    assert "no proposal" in session.accept_proposals(AT[4]).message


def test_a_correction_may_take_back_what_was_accepted_with_a_range(session):
    session.apply(session.plan_propagation(AT[4]).run(MODEL, MODEL))
    session.accept_proposals(AT[4])
    session.clear(AT[6])
    session.accept(AT[6])
    session.apply(session.plan_propagation(AT[6]).run(MODEL, MODEL))
    assert session.state(AT[7]).status == "proposed" and session.state(AT[7]).proposals[DISK].mask.is_empty
    session.accept_proposals(AT[4])
    assert not session.labels[6:].any() and session.labels[5].any() and session.labels[3].any()


def test_a_structure_accepted_as_absent_ends_the_span(session):
    session.current = DISK
    session.accept(AT[6])
    session.apply(session.plan_propagation(AT[4]).run(MODEL, MODEL))
    assert proposed(session) == [2, 3, 5]
    with pytest.raises(PromptError, match="absent"):
        session.plan_propagation(AT[6], first=7)


def test_slices_that_the_user_worked_on_meanwhile_are_left_alone(session):
    request = session.plan_propagation(AT[4])
    session.add_point(AT[3], 46, 44)
    session.accept(AT[6])
    change = session.apply(request.run(MODEL, MODEL))
    assert proposed(session) == [2, 5, 7] and "2 slices" in change.message
    assert len(session.state(AT[3]).of(DISK).prompts.points) == 1


class Blind(Both):
    """Sees nothing any more."""

    def masks(self, embedding: Embedding, prompts: PromptSet) -> MaskResult:
        return MaskResult(np.full(embedding.shape_yx, -6, np.float32), 0.1)


def test_running_again_takes_back_what_is_no_longer_found(session):
    session.apply(session.plan_propagation(AT[4]).run(MODEL, MODEL))
    session.accept(AT[6])
    session.apply(session.plan_propagation(AT[6]).run(MODEL, Blind()))
    assert proposed(session) == [2, 3]


def test_cancelled_in_the_middle_what_was_done_stays(session):
    asked = iter([False, False, True])
    progress = []
    outcome = session.plan_propagation(AT[4]).run(
        MODEL, MODEL, lambda done, total: progress.append((done, total)), lambda: next(asked, True)
    )
    change = session.apply(outcome)
    assert proposed(session) == [2, 3] or proposed(session) == [3]
    assert "cancelled" in change.message and all(total == 9 for _, total in progress)


def test_progress_reaches_the_total(session):
    progress = []
    session.plan_propagation(AT[4]).run(MODEL, MODEL, lambda done, total: progress.append((done, total)))
    assert progress[-1] == (9, 9) and progress == sorted(progress)


def test_the_whole_volume_by_text(session):
    request = session.plan_volume(AT[0], "disk")
    assert 4 not in request.indices
    change = session.apply(request.run(MODEL, MODEL))
    assert proposed(session) == [2, 3, 5, 6, 7] and '"disk" in 5 of 9' in change.message
    session.accept_proposals(AT[0])
    np.testing.assert_array_equal(session.labels.astype(bool), ball()[1])
    session.accept(AT[0])
    assert session.plan_volume(AT[0], "disk; square").indices == tuple(range(N))


@pytest.mark.parametrize("plan", ["plan_propagation", "plan_volume"])
def test_what_a_file_has_brought_is_not_replaced(session, plan):
    imported = np.zeros(session.image.shape, bool)
    imported[5, 40:44, 40:44] = True
    bring_in(session, {DISK: imported}, accept=False)
    text = ["disk"] if plan == "plan_volume" else []
    change = session.apply(getattr(session, plan)(AT[4], *text).run(MODEL, MODEL))
    assert "1 slice keeps what was imported." in change.message
    assert proposed(session) == [2, 3, 5, 6, 7]
    np.testing.assert_array_equal(session.proposed[5] > 0, imported[5])


def test_a_volume_of_unknown_words_and_without_slices_left(session):
    change = session.apply(session.plan_volume(AT[0], "gizmo").run(MODEL, MODEL))
    assert "not know" in change.message and not proposed(session)
    with pytest.raises(PromptError, match="accepted"):
        session.plan_volume(AT[0], "disk", first=4, last=4)


def test_a_cancelled_volume(session):
    asked = iter([False, False, False, True])
    outcome = session.plan_volume(AT[0], "square").run(MODEL, MODEL, None, lambda: next(asked, True))
    change = session.apply(outcome)
    assert proposed(session) == [0, 1, 2] and change.message.startswith("Cancelled")
