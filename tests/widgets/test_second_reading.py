"""Second readings in the dock: blind, marked as such, settled slice by slice."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.reader import remember_reader, remembered_reader
from napari_medclipsam.projects.studies import images_in
from napari_medclipsam.widgets import _questions as questions
from synthetic import picture, save

DISK = picture("disk")[1]["disk"].astype(np.uint8)


def at(index: int) -> SliceAt:
    return SliceAt.across(0, index)


@pytest.fixture
def folder(tmp_path, disk_stack):
    """A project of a stack, which ana has read (slices 2 to 4), and of a film."""
    scan = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(disk_stack[0].T, np.diag([-1.0, -1.0, 4.0, 1.0])), scan)
    film = save(tmp_path / "film.png", picture("disk")[0])
    with Project.create(tmp_path / "project", ["disk"], "ana") as project:
        for path in (scan, film):
            list(project.add(images_in(path)))
        with project.open_case("c0001") as case:
            for index in (2, 3, 4):
                case.session.accept_drawn(at(index), DISK)
    return tmp_path / "project"


@pytest.fixture
def read_twice(folder):
    """Ben agrees on slice 2, has moved slice 3, and has nothing in slice 4."""
    with Project.open(folder, "ben") as project, project.open_case("c0001", second=True) as case:
        for index, labels in ((2, DISK), (3, np.roll(DISK, 4, axis=1)), (4, np.zeros_like(DISK))):
            case.session.accept_drawn(at(index), labels)
    return folder


@pytest.fixture
def opened(open_desk):
    """Return a function that opens a project in a dock, under a name."""

    def open_as(reader, folder):
        remember_reader(reader)
        desk = open_desk(ViewerModel())
        desk.idle()
        desk.dock.project.open(folder)
        return desk

    return open_as


def press(desk, name: str, row: int = 0) -> None:
    desk.dock.project_page.table.selectRow(row)
    getattr(desk.dock.project_page.second, name).click()


def test_a_second_reading_is_blind_and_marked(opened, folder):
    desk = opened("ben", folder)
    assert desk.dock.banner.isHidden()
    desk.dock.project.open_case("c0001")
    assert desk.session.labels.any()
    press(desk, "blind")
    assert "SECOND READING of c0001 by ben" in desk.dock.banner.text() and not desk.dock.banner.isHidden()
    assert not desk.session.labels.any() and [layer.name for layer in desk.viewer.layers] == ["c0001, second reading"]
    desk.go(3)
    desk.ask("disk")
    desk.do("accept")
    desk.dock.project._on_poll()
    assert desk.dock.project_page.table.item(0, 3).text() == "3 + 1 / 8"
    desk.dock.project.open_case("c0001")
    assert desk.dock.banner.isHidden() and desk.session.labels[2].any()
    press(desk, "blind")
    assert desk.session.labels[3].any() and not desk.session.labels[2].any()


def test_who_has_read_it_first_needs_another_name(opened, folder, monkeypatch):
    desk = opened("ana", folder)
    press(desk, "blind")
    assert "another reader" in desk.message and desk.dock.project.case is None
    monkeypatch.setattr(questions, "reader_name", lambda *_: "ben")
    desk.dock.project_page.second.reader.click()
    assert desk.dock.project.project.reader == remembered_reader() == "ben"
    press(desk, "blind")
    assert desk.dock.project.case.is_second


def test_differences_are_settled_one_after_the_other(opened, read_twice):
    desk = opened("eve", read_twice)
    press(desk, "settle")
    second, panel = desk.dock.second, desk.dock.settling
    keep, take, edited = panel.buttons
    assert [one.at.index for one in second.disputes] == [4, 3] and desk.at == at(4)
    assert not panel.isHidden() and panel.table.item(0, 1).text() == "disk 0.00"
    outline = desk.layer("second reading")
    assert outline.contour > 0 and not outline.editable and not outline.data[4].any()
    take.click()
    assert not desk.session.labels[4].any() and desk.at == at(3)
    desk.do("undo")
    assert desk.session.labels[4].any() and [one.at.index for one in second.disputes] == [4, 3]
    desk.go(2)
    assert not any(button.isEnabled() for button in panel.buttons)
    panel.table.cellClicked.emit(0, 0)
    assert desk.at == at(4) and keep.isEnabled()
    keep.click()
    assert desk.at == at(3)
    desk.session.paint((slice(3, 4), slice(0, 64), slice(0, 32)), np.zeros((1, 64, 32), np.uint8))
    edited.click()
    assert "Nothing is left" in desk.message and second.disputes == []
    assert desk.session.labels[4].any() and not desk.session.labels[3][:, :32].any()
    press(desk, "settle")
    assert second.settling is None and panel.isHidden() and "second reading" not in desk.viewer.layers


def test_settling_ends_with_the_case(opened, read_twice):
    desk = opened("eve", read_twice)
    press(desk, "settle")
    assert desk.dock.range_row.isHidden()
    desk.dock.project.open_case("c0002")
    assert desk.dock.second.settling is None and desk.dock.settling.isHidden() and not desk.dock.range_row.isHidden()
    assert [layer.name for layer in desk.viewer.layers] == ["c0002"]
    press(desk, "settle", row=1)
    assert "no second reading" in desk.message and desk.dock.second.settling is None


def test_the_3d_view_has_no_outline(opened, read_twice):
    desk = opened("eve", read_twice)
    press(desk, "settle")
    desk.viewer.dims.ndisplay = 3
    assert desk.layer("second reading").contour == 0
    desk.viewer.dims.ndisplay = 2
    assert desk.layer("second reading").contour > 0
