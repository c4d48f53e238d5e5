"""Ranking slices for review: every reason is found where it was put, and said in words."""

from __future__ import annotations

import threading

import nibabel
import numpy as np
import pytest

from napari_medclipsam.annotation.bringing_in import bring_in
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.errors import ProjectError
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.queue import ReviewQueue
from napari_medclipsam.projects.review import CaseReview
from napari_medclipsam.projects.scan import scan, unscanned
from napari_medclipsam.projects.scan_request import ScanRequest
from napari_medclipsam.projects.studies import images_in
from napari_medclipsam.projects.summary import Summary
from synthetic import Both, WithoutCt, picture

MODEL = Both()
DISK = ObjectKey(1)
N = 10


@pytest.fixture
def project(tmp_path):
    """Two cases of ten slices, the disk in slices 2 to 7 of the first and nowhere in the second."""
    empty, full = picture()[0], picture("disk")[0]
    planes = {"a": [full if 2 <= i <= 7 else empty for i in range(N)], "b": [empty] * N}
    (tmp_path / "in").mkdir()
    for name, stack in planes.items():
        nibabel.save(
            nibabel.Nifti1Image(np.stack(stack).T, np.diag([-1.0, -1.0, 5.0, 1.0])), tmp_path / "in" / f"{name}.nii"
        )
    with Project.create(tmp_path / "project", ["disk"], "ana") as project:
        list(project.add(images_in(tmp_path / "in")))
        yield project


def at(index: int) -> SliceAt:
    return SliceAt.across(0, index)


def scanned(project: Project) -> None:
    assert all(not done.trouble for done in scan(project, "disk", MODEL, MODEL))


def index_of(queue: ReviewQueue, index: int, case: str = "c0001", **filters) -> tuple[int, str]:
    """Where a slice is in the queue, and why."""
    items = queue.items(statuses=("untouched", "prompted", "proposed", "accepted"), **filters)
    place = next(n for n, item in enumerate(items) if (item.case, item.at.index) == (case, index))
    return place, "; ".join(items[place].reasons)


def test_before_a_scan_nothing_is_known(project):
    queue = ReviewQueue.of(project)
    assert str(queue.progress) == "0 of 20 slices"
    assert {item.reasons for item in queue.items()} == {("no model has looked at it yet",)}


def test_a_scan_makes_proposals_and_scores_under_no_readers_name(project):
    scanned(project)
    summary = project.summary("c0001")
    assert summary.counts["proposed"] == 6 and summary.history.counts[""]["volume"] == 1
    assert not any(summary.history.active_s.values())
    assert unscanned(project, "disk") == {}
    assert unscanned(project, "square") == {"c0001": list(range(N)), "c0002": list(range(N))}


def test_a_scan_passes_over_what_a_file_or_a_reader_has_begun(project):
    imported = np.zeros((N, 64, 64), bool)
    imported[2:4, 5:9, 5:9] = True
    with project.open_case("c0001") as case:
        bring_in(case.session, {DISK: imported}, accept=False)
        case.session.paint((slice(4, 5), slice(5, 9), slice(5, 9)), np.ones((1, 4, 4), np.uint8))
        case.session.add_point(at(5), 20, 20, key=DISK)
    looked = []
    first, second = scan(project, "disk", MODEL, MODEL, progress=looked.append)
    assert (first.n_slices, first.n_found, first.n_kept, second.n_kept) == (N - 4, 2, 4, 0) and sum(looked) == 2 * N
    with project.open_case("c0001") as case:
        for index in (2, 3):
            proposal = case.session.state(at(index)).of(DISK).proposal
            assert proposal.source == "import" and np.array_equal(proposal.mask.unpacked(), imported[index])
        assert case.session.state(at(4)).status == "untouched" and case.session.state(at(5)).status == "prompted"
    # Another scan finds only these, and passes them over again.
    request = ScanRequest(project, "disk", unscanned(project, "disk"))
    assert "in 0 slices: proposals in 0. 4 slices keep what was imported" in request.run(MODEL, MODEL).message


def test_a_rejected_find_comes_first_and_says_why(project):
    scanned(project)
    with project.open_case("c0001") as case:
        case.session.reject(at(4))
    queue = ReviewQueue.of(project)
    first, *_ = queue.items()
    assert (first.case, first.at) == ("c0001", at(4))
    assert "the text is found here (1.00), but no mask was made" in first.reasons
    assert "no mask here, but in the slices on both sides" in first.reasons
    assert queue.cases()[0].case == "c0001" and queue.cases()[0].n_open == N


def test_a_mask_where_the_text_is_not_found(project):
    scanned(project)
    with project.open_case("c0002") as case:
        case.session.current = DISK
        case.session.paint((slice(5, 6), slice(10, 20), slice(10, 20)), np.ones((1, 10, 10), np.uint8))
        case.session.accept(at(5))
    place, words = index_of(ReviewQueue.of(project), 5, "c0002")
    assert place == 0 and "a mask is accepted, but the text is not found here (0.00)" in words
    assert "the mask is in this slice alone" in words


def test_a_mask_that_jumps(project):
    scanned(project)
    with project.open_case("c0001") as case:
        case.session.accept_proposals(at(0))
        case.session.paint((slice(5, 6), slice(0, 64), slice(0, 64)), np.zeros((1, 64, 64), np.uint8))
        case.session.paint((slice(5, 6), slice(20, 40), slice(15, 35)), np.ones((1, 20, 20), np.uint8))
    place, words = index_of(ReviewQueue.of(project), 5)
    assert place == 0 and "mask jumps from the slice before: Dice 0.2" in words and "(usually 1.00)" in words


def test_what_looks_unlike_the_labelled_slices_comes_before_what_does_not(project):
    scanned(project)
    with project.open_case("c0002") as case:
        case.session.current = DISK
        case.session.accept(at(0))
    queue = ReviewQueue.of(project)
    # All slices of the second case look like the one that is labelled.
    assert index_of(queue, 3)[0] < index_of(queue, 3, "c0002")[0]
    assert "looks unlike the slices that are labelled so far" in index_of(queue, 3)[1]
    assert index_of(queue, 3, "c0002")[1] == "nothing stands out"


def test_flags_come_first_and_filters_filter(project):
    scanned(project)
    with project.open_case("c0002") as case:
        case.note({"flag": True, "note": "artefact?"}, at(9))
        case.note({"note": "an artefact"}, at(9))
    queue = ReviewQueue.of(project)
    (flagged,) = queue.items(flagged=True)
    assert flagged == queue.items(1)[0] and flagged.note == "an artefact" and flagged.case == "c0002"
    assert {item.at.index for item in queue.items(statuses=["proposed"])} == set(range(2, 8))
    assert len(queue.items(case="c0002")) == N and len(queue.items(label=2)) == 0
    assert {item.at.index for item in queue.items(label=1)} == set(range(2, 8))
    with project.open_case("c0002") as case:
        case.note({"flag": False}, at(9))
    assert ReviewQueue.of(project).items(flagged=True) == []
    with pytest.raises(ProjectError, match="no case c0009"):
        queue.items(case="c0009")


def test_a_decision_is_marked_without_ranking_anew(project):
    scanned(project)
    queue = ReviewQueue.of(project)
    first = queue.items(1)[0]
    queue.mark(first.case, first.at, "accepted")
    assert first not in queue.items() and queue.progress.n_done == 1
    with project.open_case(first.case) as case:
        case.session.accept(first.at)
    queue = queue.renewed(project, {first.case: project.summary(first.case)})
    assert queue.progress.n_done == 1 and len(queue.items()) == 2 * N - 1


def test_scores_and_notes_outlive_compaction_and_rebuilding(project, monkeypatch):
    scanned(project)
    with project.open_case("c0001") as case:
        case.note({"flag": True}, at(3))
        for _ in range(6):
            case.session.accept(at(2))
    before = project.summary("c0001").review.to_json()
    (project.case_folder("c0001") / "summary.json").unlink()
    assert project.summary("c0001").review.to_json() == before
    monkeypatch.setattr("napari_medclipsam.projects.compaction.MOST_RECORDS", 5)
    monkeypatch.setattr("napari_medclipsam.projects.compaction.KEPT_RECORDS", 2)
    project.open_case("c0001").close()
    assert (project.case_folder("c0001") / "history" / "0001.jsonl.gz").exists()
    (project.case_folder("c0001") / "summary.json").unlink()
    assert project.summary("c0001").review.to_json() == before


def test_a_scan_goes_on_where_it_was_stopped(project, monkeypatch):
    monkeypatch.setattr("napari_medclipsam.projects.scan._BLOCK", 4)
    looked = []
    for _ in scan(project, "disk", MODEL, MODEL, progress=looked.append, cancelled=lambda: sum(looked) >= 8):
        pass
    assert sum(looked) == 8 and unscanned(project, "disk")["c0001"] == [8, 9]
    done = list(scan(project, "disk", MODEL, MODEL))
    assert [d.n_slices for d in done] == [2, 10] and unscanned(project, "disk") == {}


def test_a_word_that_the_model_does_not_know_is_asked_once(project):
    list(scan(project, "gizmo", MODEL, MODEL))
    assert unscanned(project, "gizmo") == {}


def test_one_case_that_is_gone_does_not_stop_a_scan(project):
    (project.folder.parent / "in" / "a.nii").unlink()
    done = list(scan(project, "disk", MODEL, MODEL))
    assert "relocate" in done[0].trouble and done[1].n_slices == N


def test_the_time_that_is_left_comes_from_the_pace(project):
    project.open_case("c0001").close()
    review = CaseReview.untouched((120, 64, 64))
    review.statuses[:37] = 3
    assert str(ReviewQueue({"c": review}, project.classes, active_s={"c": 37 * 18.0}).progress) == (
        "37 of 120 slices, about 25 min left"
    )


def test_summaries_without_scores_are_made_again(project):
    scanned(project)
    path = project.case_folder("c0001") / "summary.json"
    path.write_text(path.read_text().replace('"review"', '"other"'))
    assert project.summary("c0001").review is not None
    assert Summary().review is None


def test_an_open_case_is_followed_without_ranking_anew(project):
    queue = ReviewQueue.of(project)
    with project.open_case("c0001") as case:
        case.session.accept(at(3))
        case.note({"flag": True}, at(6))
        queue.follow(case)
        assert queue.progress.n_done == 1 and [i.at for i in queue.items(flagged=True)] == [at(6)]
        case.session.undo()
        case.note({"flag": False}, at(6))
        queue.follow(case)
        assert queue.progress.n_done == 0 and queue.items(flagged=True) == []


def test_a_case_that_is_done_comes_only_when_asked_for(project):
    queue = ReviewQueue.of(project)
    with project.open_case("c0001") as case:
        case.note({"done": True})
        queue.follow(case)
        assert {item.case for item in queue.items()} == {"c0002"} and queue.progress.n_done == N
        assert len(queue.items(case="c0001")) == N
    assert {item.case for item in ReviewQueue.of(project).items()} == {"c0002"}
    with project.open_case("c0001") as case:
        case.note({"done": False})
    queue = queue.renewed(project, {"c0001": project.summary("c0001")})
    assert queue.progress.n_done == 0 and len(queue.items()) == 2 * N


def test_a_reader_comes_before_a_scan(project):
    """The second case is taken in the middle of the scan of the first, the first in the middle of its own."""
    todo = unscanned(project, "disk")
    followed: list[str] = []
    taken: list[str] = []

    def progress(done: int, total: int) -> None:
        assert total == 2 * N
        if done == 4:
            waiting.start()
            request._with_reader |= {"c0001", "c0002"}

    def take() -> None:
        request.leave_to_reader("c0001")
        with project.open_case("c0001") as case:
            taken.append(case.study.case)

    waiting = threading.Thread(target=take)
    request = ScanRequest(project, "disk", todo, followed.append)
    outcome = request.run(MODEL, MODEL, progress)
    waiting.join()
    assert taken == ["c0001"] and followed == ["c0001"]
    assert "in 4 slices" in outcome.message or "in 5 slices" in outcome.message
    assert "you had opened it: c0002" in outcome.message and outcome.is_complete
    assert unscanned(project, "disk", ["c0002"]) == {"c0002": list(range(N))}


def test_a_scan_that_is_stopped_goes_on_where_it_was(project):
    request = ScanRequest(project, "disk", unscanned(project, "disk"))
    outcome = request.run(MODEL, MODEL, lambda done, total: request.stop() if done == N + 3 else None)
    assert not outcome.is_complete and outcome.message.startswith("Cancelled")
    left = unscanned(project, "disk")
    assert list(left) == ["c0002"] and 0 < len(left["c0002"]) <= N - 3
    request = ScanRequest(project, "disk", left)
    request.stop()
    assert request.run(MODEL, MODEL).cases == ()
    assert ScanRequest(project, "disk", left).run(MODEL, MODEL).is_complete and unscanned(project, "disk") == {}


def test_a_scan_of_ct_says_what_its_proposals_are_worth(tmp_path):
    (tmp_path / "in").mkdir()
    # What the abdomen window turns back into the picture.
    hounsfield = np.stack([np.rint(picture("disk")[0] * (400 / 255) - 160).astype(np.int16)] * 2)
    hounsfield[:, 0, 0] = -1000
    nibabel.save(nibabel.Nifti1Image(hounsfield.T, np.diag([-1.0, -1.0, 5.0, 1.0])), tmp_path / "in" / "ct.nii")
    with Project.create(tmp_path / "project", ["disk"], "ana") as project:
        list(project.add(images_in(tmp_path / "in")))
        request = ScanRequest(project, "disk", unscanned(project, "disk"))
        told = request.run(WithoutCt(), WithoutCt())
    assert told.cases[0].n_found and "looks like CT" in told.cases[0].caution
    assert "Of c0001: This looks like CT" in told.message
