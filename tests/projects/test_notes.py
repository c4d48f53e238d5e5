"""Flags, notes and "done": kept over restarts and compaction, and shown in the list of studies."""

from __future__ import annotations

import pytest

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.projects import compaction
from napari_medclipsam.projects.progress import study_row
from napari_medclipsam.projects.project import Project

AT = SliceAt.across(0, 2)


def test_remarks_outlast_the_program(folder):
    with Project.open(folder, "ana") as project, project.open_case("c0001") as case:
        case.note({"flag": True}, AT)
        case.note({"note": "blurred"}, AT)
        assert case.notes[AT] == {"flag": True, "note": "blurred"}
    with Project.open(folder, "ben") as project:
        assert project.summary("c0001").n_flags == 1
        with project.open_case("c0001") as case:
            assert case.notes[AT]["note"] == "blurred"
            case.note({"flag": False}, AT)
            assert project.summary("c0001").n_flags == 0


def test_remarks_outlast_compaction(folder, monkeypatch):
    monkeypatch.setattr(compaction, "MOST_RECORDS", 5)
    monkeypatch.setattr(compaction, "KEPT_RECORDS", 2)
    for _ in range(2):
        with Project.open(folder) as project, project.open_case("c0001") as case:
            case.note({"flag": True, "note": "odd"}, AT)
            case.note({"done": True})
            for index in range(6):
                case.looked_at(SliceAt.across(0, index % 4))
    with Project.open(folder) as project, project.open_case("c0001") as case:
        assert case.notes == {AT: {"flag": True, "note": "odd"}, None: {"done": True}}
    assert list((folder / "cases" / "c0001" / "history").iterdir())


@pytest.mark.parametrize("state", ["new", "in work", "done", "flagged", "damaged", "source moved"])
def test_every_study_has_a_word(folder, scan, state):
    with Project.open(folder) as project:
        with project.open_case("c0001") as case:
            if state != "new":
                case.session.add_point(AT, 20, 18)
            if state in ("done", "flagged"):
                case.note({"done": True})
            if state == "flagged":
                case.note({"flag": True}, AT)
        if state == "damaged":
            path = project.case_folder("c0001") / "journal.jsonl"
            lines = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join([lines[0], b"{}\n", *lines[1:]]))
        if state == "source moved":
            scan.rename(scan.with_name("elsewhere.nii.gz"))
        row = study_row(project, "c0001")
        assert (row.state, row.name, row.n_slices) == (state, "MUELLER_Hans", 4)
