"""The review queue in the dock, without a window: going on, filters, what can't be opened, a scan beside the work."""

from __future__ import annotations

import threading

import nibabel
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.reader import remember_reader
from napari_medclipsam.projects.scan import scan
from napari_medclipsam.projects.studies import images_in
from synthetic import Both, IntensityGrounder, RegionGrower, picture

N = 6


def at(index: int) -> SliceAt:
    return SliceAt.across(0, index)


@pytest.fixture
def folder(tmp_path):
    """Three cases of six slices, the disk in slices 1 to 4, scanned; slice 3 of the second is the one to look at."""
    remember_reader("ana")
    (tmp_path / "in").mkdir()
    for number, name in enumerate("abc"):
        planes = [picture("disk" if 1 <= i <= 4 else "bar")[0] for i in range(N)]
        array = np.stack(planes)
        array[0, 0, 2] = number
        nibabel.save(nibabel.Nifti1Image(array.T, np.diag([-1.0, -1.0, 5.0, 1.0])), tmp_path / "in" / f"{name}.nii")
    with Project.create(tmp_path / "project", ["disk"], "ana") as project:
        list(project.add(images_in(tmp_path / "in")))
        assert all(not done.trouble for done in scan(project, "disk", Both(), Both()))
        with project.open_case("c0002") as case:
            case.session.reject(at(3))
    return tmp_path / "project"


@pytest.fixture
def office(open_desk, folder):
    desk = open_desk(ViewerModel())
    desk.idle()
    desk.dock.project.open(folder)
    return desk


def place(desk) -> tuple[str, int]:
    return desk.dock.project.case.study.case, desk.at.index


def settled(desk) -> None:
    """Until the ranking in the background has ended."""
    desk.qtbot.waitUntil(lambda: not desk.dock.queue._is_ranking, timeout=20_000)


def test_one_key_accepts_and_goes_to_the_slice_that_needs_the_reader_most(office) -> None:
    row = office.dock.queue_row
    assert not row.isHidden() and office.dock.progress.text() == "0 of 18 slices"
    office.dock.verbs.next_in_queue()
    assert place(office) == ("c0002", 3) and "the text is found here" in row.why.text()
    office.do("accept_and_next")
    first = place(office)
    assert first != ("c0002", 3) and office.dock.progress.text() == "1 of 18 slices"
    assert office.dock.project.project.summary("c0002").counts["accepted"] == 1
    office.go((first[1] + 1) % N)
    assert row.why.isHidden()


def test_passing_over_goes_through_all_and_accepting_ends_the_queue(office) -> None:
    office.dock.verbs.next_in_queue()
    seen = {place(office)}
    for _ in range(3 * N - 1):
        office.dock.verbs.next_in_queue()
        seen.add(place(office))
    assert len(seen) == 3 * N
    for _ in range(3 * N):
        office.dock.verbs.accept_and_next()
    settled(office)
    assert "none of the 18 slices needs you any more" in office.message
    assert office.dock.progress.text().startswith("18 of 18")
    office.dock.verbs.undo()
    office.qtbot.waitUntil(lambda: office.dock.progress.text().startswith("17 of 18"))


def test_what_can_not_be_opened_is_left_out_with_a_sentence(office, folder) -> None:
    (folder.parent / "in" / "b.nii").rename(folder.parent / "in" / "elsewhere.nii")
    journal = folder / "cases" / "c0003" / "journal.jsonl"
    lines = journal.read_bytes().split(b"\n")
    lines[1] = b"nothing"
    journal.write_bytes(b"\n".join(lines))
    office.dock.project.update_row("c0003")
    office.dock.verbs.next_in_queue()
    assert "c0002 was left out: its image is not where it was" in office.message and place(office)[0] == "c0001"
    for _ in range(N):
        office.dock.verbs.accept_and_next()
    assert "at its end" in office.message and "c0003 was left out: part of its journal is damaged" in office.message
    office.dock.project.open_case("c0003")
    assert "damaged" in office.message
    office.dock.verbs.next_in_queue()
    assert place(office)[0] == "c0003" and "left out" not in office.message


def test_a_read_only_project_is_looked_through_but_not_accepted(office, open_desk, folder) -> None:
    other = open_desk(ViewerModel())
    other.dock.project.open(folder)
    other.dock.verbs.next_in_queue()
    here = place(other)
    other.dock.verbs.accept_and_next()
    assert "has it open" in other.message and place(other) == here
    other.dock.verbs.next_in_queue()
    assert place(other) != here
    other.dock.queue_page.scan.click()
    assert "has it open" in other.message


def test_the_list_and_its_filters(office) -> None:
    page = office.dock.queue_page
    page.isVisible = lambda: True
    page.refresh()
    assert page.table.item(0, 0).text() == "c0002" and page.table.item(0, 1).text() == "3"
    page._go_to(1)
    first = office.dock.project.case.study.case
    office.dock.verbs.toggle_flag()
    page.flagged.click()
    office.qtbot.waitUntil(lambda: page.table.rowCount() == 1)
    assert "flagged" in page.table.item(0, 2).text()
    page.flagged.click()
    page.only_this.click()
    assert page.table.rowCount() == N and {page.table.item(r, 0).text() for r in range(N)} == {first}
    page.only_this.click()
    page.classes.setCurrentText("disk")
    page.classes.activated.emit(1)
    settled(office)
    # Where the text is not found and no mask is, nothing is known of the class but that it was asked for.
    assert office.dock.queue.walk.filters.label == 1
    page.statuses.setCurrentText("Accepted")
    page.statuses.activated.emit(4)
    assert page.table.rowCount() == 0 and "filters" in page.head.text()


def test_a_new_study_and_a_closed_case_come_into_the_queue(office, tmp_path) -> None:
    nibabel.save(
        nibabel.Nifti1Image(np.stack([picture("bar")[0]] * 4).T, np.diag([-1.0, -1.0, 5.0, 1.0])), tmp_path / "d.nii"
    )
    office.dock.project.add([tmp_path / "d.nii"], copy=False)
    settled(office)
    assert office.dock.progress.text() == "0 of 22 slices"
    office.dock.project.open_case("c0004")
    office.dock.project.set_done(True)
    office.qtbot.waitUntil(lambda: office.dock.progress.text() == "4 of 22 slices")
    office.dock.project.leave_case()
    settled(office)
    assert "c0004" not in {item.case for item in office.dock.queue.walk.items(99)}
    office.dock.project.close()
    assert office.dock.progress.isHidden() and office.dock.queue_row.isHidden()


class Gated(RegionGrower):
    """Waits before its third slice until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.n = threading.Event(), 0

    def masks(self, embedding, prompts):
        self.n += 1
        if self.n == 3:
            assert self.gate.wait(20)
        return super().masks(embedding, prompts)


def test_a_scan_goes_on_beside_the_work_and_gives_way_to_a_reader(open_desk, folder, monkeypatch) -> None:
    gated = Gated()
    monkeypatch.setattr(
        "napari_medclipsam.widgets._work.load_beside_opengl", lambda name, device: (IntensityGrounder(), gated)
    )
    with Project.open(folder, "ana") as project:
        project.classes.add("bar")
    desk = open_desk(ViewerModel())
    desk.dock.project.open(folder)
    desk.dock.project.open_case("c0003")
    desk.qtbot.waitUntil(lambda: "loading" not in desk.dock.status.model.text(), timeout=20_000)
    desk.dock.queue_page.scan.click()
    assert "c0003 is open and is left to you" in desk.message and desk.dock.project.scan is not None
    desk.qtbot.waitUntil(lambda: gated.n == 3)
    threading.Timer(0.5, gated.gate.set).start()
    desk.dock.project.open_case("c0001")
    assert place(desk)[0] == "c0001"
    desk.qtbot.waitUntil(lambda: desk.dock.project.scan is None, timeout=20_000)
    settled(desk)
    assert "you had opened it: c0001" in desk.message or "proposals in" in desk.message
    desk.dock.project.leave_case()
    assert "bar" in {c.name for c in desk.dock.project.project.classes}
    assert 2 in desk.dock.project.project.summary("c0002").labels


def test_a_scan_ends_with_its_project(open_desk, folder, quick_models) -> None:
    with Project.open(folder, "ana") as project:
        project.classes.add("square")
    desk = open_desk(ViewerModel())
    desk.dock.project.open(folder)
    desk.dock.queue_page.scan.click()
    desk.dock.queue_page.stop.click()
    desk.idle()
    assert desk.dock.project.scan is None and desk.dock.queue.scanned is None
    desk.dock.queue_page.scan.click()
    desk.dock.project.close()
    assert desk.dock.project.project is None
    desk.idle()
    with Project.open(folder, "ana") as project:
        assert not project.read_only
    assert not desk.dock.queue_page.scan.isEnabled()
    desk.dock.queue.scan()
    assert "No project" in desk.message
