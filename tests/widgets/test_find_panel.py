"""Searching in the dock, without a window: by text, by region, going there, and the index that follows the work."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from napari.components import ViewerModel
from PIL import Image

from napari_medclipsam.annotation.text_history import TextHistory
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.reader import remember_reader
from napari_medclipsam.projects.studies import images_in
from napari_medclipsam.widgets import _work
from napari_medclipsam.widgets._find_desk import FindDesk
from napari_medclipsam.widgets._find_panel import FindPanel
from synthetic import IntensityGrounder, PooledGrays, RegionGrower, picture

N = 4


class Looks(PooledGrays, IntensityGrounder):
    """Finds shapes in a slice, and slices in a project."""

    name = "looks"


@pytest.fixture
def office(open_desk, tmp_path, monkeypatch):
    """The dock with a panel, on a project of two cases: the disk is in slices 1 and 2 of each."""
    grounders = [Looks()]
    monkeypatch.setattr(_work, "load_beside_opengl", lambda name, device: (grounders[-1], RegionGrower()))
    remember_reader("ana")
    (tmp_path / "in").mkdir()
    for number, name in enumerate("ab"):
        array = np.stack([picture("disk" if 1 <= i <= 2 else "bar")[0] for i in range(N)])
        array[0, 0, 2] = number
        nibabel.save(nibabel.Nifti1Image(array.T, np.diag([-1.0, -1.0, 5.0, 1.0])), tmp_path / "in" / f"{name}.nii")
    with Project.create(tmp_path / "project", ["disk"], "ana") as project:
        list(project.add(images_in(tmp_path / "in")))
    desk = open_desk(ViewerModel())
    desk.grounders = grounders
    desk.finder = FindDesk(desk.dock.workspace, desk.dock.project)
    desk.panel = FindPanel(desk.dock.project, desk.finder, TextHistory())
    desk.qtbot.addWidget(desk.panel)
    assert desk.panel.parts.isHidden() and not desk.panel.closed.isHidden()
    desk.idle()
    desk.dock.project.open(tmp_path / "project")
    desk.idle()
    return desk


def until(desk, text: str) -> None:
    desk.qtbot.waitUntil(lambda: desk.panel.state.text() == text, timeout=20_000)


def ask(desk, text: str) -> list[tuple[str, str]]:
    desk.panel.row.field.setText(text)
    desk.panel.row.button.click()
    desk.qtbot.waitUntil(lambda: not desk.finder.is_finding, timeout=20_000)
    return rows(desk)


def rows(desk) -> list[tuple[str, str]]:
    table = desk.panel.table
    return [(table.item(row, 0).text(), table.item(row, 1).text()) for row in range(table.rowCount())]


def test_index_find_and_go_there(office) -> None:
    panel = office.panel
    assert panel.state.text() == "0 of 8 slices are indexed."
    assert panel.closed.isHidden()
    assert (
        ask(office, "disk") == []
        and panel.message.text()
        == "There is nothing to search there: nothing that is indexed fits what you have narrowed it to."
    )
    panel.build.click()
    until(office, "All 8 slices are indexed.")
    office.idle()
    assert panel.bar.isHidden() and panel.build.isEnabled()
    assert set(ask(office, "disk")) == {("c0001", "1"), ("c0001", "2"), ("c0002", "1"), ("c0002", "2")}
    panel.table.selectRow(rows(office).index(("c0002", "2")))
    panel.go.click()
    office.idle()
    assert (office.dock.project.case.study.case, office.at.index) == ("c0002", 2)
    # Where it was found is outlined until the next step.
    (answer,) = [a for a in office.finder.found.answers if (a.case, a.at.index) == ("c0002", 2)]
    outline = office.finder.outline.layer
    assert outline in office.viewer.layers and outline not in office.viewer.layers.selection
    x0, y0, x1, y1 = answer.box_xyxy
    np.testing.assert_allclose(outline.data[0].min(axis=0), [2, y0 - 0.5, x0 - 0.5])
    np.testing.assert_allclose(outline.data[0].max(axis=0), [2, y1 + 0.5, x1 + 0.5])
    office.go(1)
    assert outline not in office.viewer.layers and office.finder.outline.layer is None
    panel.where.setCurrentText("This case")
    assert {case for case, _ in ask(office, "disk")} == {"c0002"}
    assert ask(office, "gizmo") == [] and "Can't tell" in panel.message.text()
    panel.row.field.clear()
    panel.row.button.click()
    assert "Type what to look for" in panel.message.text()


def test_what_is_accepted_can_be_found_at_once_and_is_forgotten_when_it_is_taken_back(office) -> None:
    office.dock.project.open_case("c0001")
    office.idle()
    office.go(1)
    office.ask("disk")
    office.do("accept")
    until(office, "1 of 8 slices are indexed.")
    office.panel.accepted.setChecked(True)
    assert ask(office, "disk") == [("c0001", "1")]
    assert office.panel.table.item(0, 3).text() == "accepted disk"
    office.dock.verbs.undo()
    office.qtbot.waitUntil(lambda: ask(office, "disk") == [], timeout=20_000)


def test_slices_like_a_region_and_the_case_that_is_open_is_indexed_too(office) -> None:
    office.dock.project.open_case("c0001")
    office.panel.build.click()
    assert not office.panel.bar.isHidden() and not office.panel.build.isEnabled()
    until(office, "All 8 slices are indexed.")
    office.qtbot.waitUntil(office.panel.build.isEnabled, timeout=20_000)
    office.panel.like.click()
    assert "outline something first" in office.panel.message.text()
    office.go(1)
    office.ask("disk")
    office.panel.where.setCurrentText("Other cases")
    office.panel.like.click()
    office.qtbot.waitUntil(lambda: bool(rows(office)), timeout=20_000)
    assert set(rows(office)) == {("c0002", "1"), ("c0002", "2")}
    office.panel.where.setCurrentText("Everywhere")
    office.panel.like.click()
    office.qtbot.waitUntil(lambda: len(rows(office)) == 3, timeout=20_000)
    assert ("c0001", "1") not in rows(office)


def test_a_second_reading_is_not_helped_and_a_model_without_vectors_says_so(office) -> None:
    desk = office.dock.project
    desk.project.reader = "ben"
    desk.open_case("c0001", second=True)
    office.panel.row.field.setText("disk")
    office.panel.row.button.click()
    assert "blind" in office.panel.message.text() and not office.finder.is_finding
    desk.leave_case()
    office.grounders.append(IntensityGrounder())
    office.dock.workspace.use_model(office.dock.workspace.model)
    office.idle()
    office.qtbot.waitUntil(lambda: "can't search" in office.panel.message.text(), timeout=20_000)
    office.dock.project.close()
    assert office.panel.parts.isHidden()


def test_the_case_that_is_open_has_progress_and_can_be_stopped(office) -> None:
    office.dock.project.open_case("c0001")
    office.idle()
    finder, panel = office.finder, office.panel
    panel.build.click()
    assert finder.indexed == (0, N) and panel.bar.maximum() == N and not panel.stop.isHidden()
    panel.stop.click()
    office.qtbot.waitUntil(panel.build.isEnabled, timeout=20_000)
    assert panel.bar.isHidden() and "Stopped" in panel.message.text()
    office.idle()
    panel.build.click()
    assert panel.message.text() == ""
    until(office, "All 8 slices are indexed.")


def test_what_is_added_to_a_new_project_is_counted(office, tmp_path) -> None:
    desk = office.dock.project
    desk.close()
    Project.create(tmp_path / "new", ["disk"], "ana").close()
    desk.open(tmp_path / "new")
    until(office, "The project has no slices yet.")
    list(desk.project.add(images_in(tmp_path / "in")))
    desk.update_row("c0001")
    until(office, "0 of 8 slices are indexed.")


def test_a_picture_has_no_slice_number(office) -> None:
    desk = office.dock.project
    Image.fromarray(picture("disk")[0]).save(desk.project.folder / "flat.png")
    list(desk.project.add(images_in(desk.project.folder / "flat.png")))
    desk.update_row("c0003")
    office.panel.build.click()
    until(office, "All 9 slices are indexed.")
    assert ("c0003", "–") in ask(office, "disk")
