"""Two readers of one case: blind, compared, settled."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import ProjectError
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.scan import scan
from napari_medclipsam.projects.second import agreements, kappa
from napari_medclipsam.projects.settling import Adjudication, project_disputes
from napari_medclipsam.projects.summary import Summary
from napari_medclipsam.projects.verify import verify
from synthetic import Both, picture

MODEL = Both()
DISK = picture("disk")[1]["disk"]


def at(index: int) -> SliceAt:
    return SliceAt.across(0, index)


def draw(session, index: int, mask_yx: np.ndarray) -> None:
    """Draw a mask of the first class in a slice, and accept it."""
    session.paint((slice(index, index + 1), slice(0, 64), slice(0, 64)), mask_yx[None].astype(np.uint8))
    session.accept(at(index))


@pytest.fixture
def read_twice(folder):
    """Slices 0 to 2 read by both: equal, moved by two pixels, and there against absent; slice 3 by the first alone."""
    with Project.open(folder, "ana") as project, project.open_case("c0001") as case:
        for index in range(4):
            draw(case.session, index, DISK)
    with Project.open(folder, "ben") as project, project.open_case("c0001", second=True) as case:
        assert not case.session.labels.any() and not case.session.book.states and case.at is None
        draw(case.session, 0, DISK)
        draw(case.session, 1, np.roll(DISK, 2, axis=1))
        draw(case.session, 2, np.zeros_like(DISK))
    return folder


def test_a_second_reading_is_blind_and_leaves_the_first_alone(read_twice):
    with Project.open(read_twice, "ben") as project:
        with project.open_case("c0001") as case:
            assert all(np.array_equal(plane == 1, DISK) for plane in case.session.labels)
        with pytest.raises(ProjectError, match="ana has worked on this case already"):
            project.reader = "ana"
            project.open_case("c0001", second=True)
        with pytest.raises(ProjectError, match="belongs to ben"):
            project.reader = "eve"
            project.open_case("c0001", second=True)
        project.reader = "ben"
        with project.open_case("c0001", second=True) as case:
            assert not case.session.labels[2].any() and case.session.labels[0].any() and case.at == at(2)
        assert all(not problems for _, problems in verify(project))


def test_what_nobody_has_done_bars_nobody(folder):
    with Project.open(folder, "ana") as project:
        project.open_case("c0001").close()
        assert not list(project.case_folder("c0001").glob("mask*")) and project.summary("c0001") == Summary()
        list(scan(project, "disk", MODEL, MODEL))
        scanned = project.summary("c0001").history
        assert scanned.counts[""]["volume"] == 1 and not scanned.readers and not scanned.last_worked
        # As versions before wrote it: opened under a name, and nothing done.
        scanned.add({"reader": "ana", "verb": "begin", "time": scanned.last})
        assert not scanned.readers
        with project.open_case("c0001", second=True) as case:
            draw(case.session, 0, DISK)
        assert project.summary("c0001", second=True).history.readers == ["ana"]
        project.reader = "eve"
        with pytest.raises(ProjectError, match="belongs to ana"):
            project.open_case("c0001", second=True)


def test_agreement_of_what_both_accepted(read_twice):
    with Project.open(read_twice, "ben") as project:
        (found,) = agreements(project)
    assert (found.n_both, found.n_first, found.n_second, found.n_neither) == (2, 1, 0, 0)
    moved = np.roll(DISK, 2, axis=1)
    shared = DISK.sum() + (DISK & moved).sum()
    assert found.dice == pytest.approx(2 * shared / (5 * DISK.sum()))
    assert found.nsd == pytest.approx((1 + 1 + 0) / 3, abs=0.05)
    assert found.kappa == pytest.approx(0)


def test_kappa_is_cohens():
    # Two readers of 50 slices, an example from the literature: 20 and 15 agreed, 5 and 10 not.
    assert kappa(20, 5, 10, 15) == pytest.approx(0.4)
    assert kappa(5, 0, 0, 5) == 1 and kappa(0, 5, 5, 0) == -1
    assert kappa(5, 0, 0, 0) is None and kappa(0, 0, 0, 0) is None


def test_disputes_are_settled_and_journaled(read_twice):
    with Project.open(read_twice, "eve") as project, project.open_case("c0001") as case:
        settling = Adjudication(project, case)
        assert [one.at.index for one in settling.disputes()] == [2, 1]
        assert settling.disputes()[0].dice == {1: 0.0}
        settling.choose(at(2), "second")
        assert not case.session.labels[2].any() and [one.at.index for one in settling.disputes()] == [1]
        case.session.paint((slice(1, 2), slice(0, 64), slice(30, 64)), np.zeros((1, 64, 34), np.uint8))
        settling.choose(at(1), "edit")
        assert settling.disputes() == []
    with Project.open(read_twice, "eve") as project:
        with project.open_case("c0001") as case:
            assert case.session.state(at(2)).status == "accepted"
            assert Adjudication(project, case).disputes() == []
        lines = (project.case_folder("c0001") / "journal.jsonl").read_text().splitlines()
        settled = [r for r in map(json.loads, lines) if "adjudication" in r.get("parameters", {})]
        assert [(r["reader"], r["parameters"]["adjudication"]) for r in settled] == [("eve", "second"), ("eve", "edit")]
        assert all(not problems for _, problems in verify(project))


def test_keeping_the_first_settles_too(read_twice):
    with Project.open(read_twice, "eve") as project, project.open_case("c0001") as case:
        settling = Adjudication(project, case)
        before = case.session.labels.copy()
        for dispute in settling.disputes():
            settling.choose(dispute.at, "first")
        assert settling.disputes() == [] and np.array_equal(case.session.labels, before)


def test_keeping_the_first_takes_edits_back(read_twice):
    with Project.open(read_twice, "eve") as project, project.open_case("c0001") as case:
        settling = Adjudication(project, case)
        case.session.paint((slice(1, 2), slice(0, 64), slice(0, 64)), np.zeros((1, 64, 64), np.uint8))
        settling.choose(at(1), "first")
        assert np.array_equal(case.session.labels[1] == 1, DISK)
        assert [one.at.index for one in settling.disputes()] == [2]


def test_a_choice_that_is_undone_is_open_again(read_twice):
    with Project.open(read_twice, "eve") as project, project.open_case("c0001") as case:
        settling = Adjudication(project, case)
        settling.choose(at(1), "second")
        assert np.array_equal(case.session.labels[1] == 1, np.roll(DISK, 2, axis=1))
        case.session.undo()
        assert np.array_equal(case.session.labels[1] == 1, DISK)
        assert [one.at.index for one in settling.disputes()] == [2, 1]
    with Project.open(read_twice, "eve") as project:
        assert [(case, [d.at.index for d in found]) for case, found in project_disputes(project)] == [("c0001", [2, 1])]


def test_settling_does_not_flatter_the_agreement(read_twice):
    with Project.open(read_twice, "eve") as project:
        before = list(agreements(project))
        with project.open_case("c0001") as case:
            settling = Adjudication(project, case)
            for dispute in settling.disputes():
                settling.choose(dispute.at, "second")
    with Project.open(read_twice, "eve") as project:
        assert list(agreements(project)) == before and before[0].dice < 1
        assert all(not found for _, found in project_disputes(project))


def test_a_second_reading_is_not_settled_from_itself(read_twice):
    with Project.open(read_twice, "ben") as project, project.open_case("c0001", second=True) as case:
        assert case.is_second
        with pytest.raises(ProjectError, match="from the first one"):
            Adjudication(project, case)


def test_a_class_of_a_second_reading_is_in_use(read_twice):
    with Project.open(read_twice, "ben") as project:
        added = project.classes.add("cyst")
        with project.open_case("c0001", second=True) as case:
            case.session.accept_drawn(at(3), np.uint8(added.label) * DISK)
        with pytest.raises(ProjectError, match=r"prompts in 1 second reading \(c0001\)"):
            project.remove_class(added.label)
        with pytest.raises(ProjectError, match=r"in 1 case \(c0001\) and 1 second reading \(c0001\)"):
            project.remove_class(1)


def test_without_a_second_reading_there_is_nothing_to_settle(folder):
    with Project.open(folder, "eve") as project, project.open_case("c0001") as case:
        assert list(agreements(project)) == []
        with pytest.raises(ProjectError, match="no second reading"):
            Adjudication(project, case)
