"""The effort dashboard, without a window: what it shows, what is missing in words, and its files."""

from __future__ import annotations

import sys

import nibabel
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.reader import remember_reader
from napari_medclipsam.projects.report import efforts, report_of, write_tables
from napari_medclipsam.projects.studies import images_in
from napari_medclipsam.widgets import EffortDock
from napari_medclipsam.widgets import _questions as questions
from synthetic import Both, picture

N = 24


@pytest.fixture
def folder(tmp_path):
    """A case of which every slice is accepted as proposed but the first five, which are painted on."""
    remember_reader("ana")
    planes = np.stack([picture("disk")[0]] * N)
    nibabel.save(nibabel.Nifti1Image(planes.T, np.diag([-1.0, -1.0, 5.0, 1.0])), tmp_path / "a.nii")
    with Project.create(tmp_path / "project", ["disk"], "ana") as project:
        list(project.add(images_in(tmp_path / "a.nii")))
    return tmp_path / "project"


def work(project: Project) -> None:
    with project.open_case("c0001") as case:
        for index in range(N):
            at = SliceAt.across(0, index)
            case.session.apply(case.session.plan_text(at, "disk").run(Both(), Both()))
            case.session.accept(at)
            if index < 5:
                box = (slice(index, index + 1), slice(12, 24), slice(28, 40))
                case.session.paint(box, np.ones((1, 12, 12), np.uint8))
                case.session.accept(at)


@pytest.fixture
def effort(open_desk, qtbot):
    desk = open_desk(ViewerModel())
    dock = EffortDock(desk.viewer, desk.dock.project)
    qtbot.addWidget(dock)
    dock.project = desk.dock.project
    yield dock
    dock.close()


def ready(effort, qtbot) -> None:
    effort.refresh()
    qtbot.waitUntil(lambda: effort.board is not None and effort._worker is None, timeout=30_000)


def test_what_is_missing_is_said(effort, tmp_path, folder, qtbot) -> None:
    effort.refresh()
    assert "No project is open" in effort.message.text() and not effort.save_tables.isEnabled()
    effort.project.create(tmp_path / "empty")
    effort.refresh()
    assert "no studies" in effort.message.text()
    effort.project.open(folder)
    ready(effort, qtbot)
    assert "No slice is accepted yet" in effort.message.text() and effort.panels.boxes == []
    assert not effort.save_pictures.isEnabled() and effort.cards.isHidden()


def test_pictures_and_words(effort, folder, qtbot) -> None:
    with Project.open(folder, "ana") as project:
        work(project)
    effort.project.open(folder)
    effort.resize(1000, 700)
    effort.show()
    ready(effort, qtbot)
    titles = {box.panel.title: box for box in effort.panels.boxes}
    drawn = [box for box in titles.values() if box.panel.draw is not None]
    assert len(titles) == 6 and len(drawn) == 5
    assert "two readers yet" in titles["Agreement of two readers"].words.text()
    assert "79% of 24 proposals" in titles["What became of the proposals"].words.text()
    assert "(95 %:" in titles["When can I stop?"].words.text()
    assert effort.board.cards[0] == ("24", "slices accepted")
    qtbot.waitUntil(lambda: all(not box.picture.pixmap().isNull() for box in drawn), timeout=30_000)
    dark = drawn[0].picture.pixmap().toImage().pixelColor(1, 1)
    effort.viewer.theme = "light"
    effort.panels._draw()
    qtbot.waitUntil(lambda: drawn[0].picture.pixmap().toImage().pixelColor(1, 1) != dark, timeout=30_000)
    # Below the image on a screen of 800 pixels, too.
    assert effort.minimumSizeHint().height() <= 220
    columns = effort.panels._columns
    effort.resize(360, 600)
    qtbot.waitUntil(lambda: effort.panels._columns == 1 < columns)


def test_a_refresh_takes_in_what_was_done_since(effort, folder, qtbot) -> None:
    effort.project.open(folder)
    ready(effort, qtbot)
    effort.project.open_case("c0001")
    session = effort.project.case.session
    session.accept(SliceAt.across(0, 3))
    ready(effort, qtbot)
    qtbot.waitUntil(lambda: effort.board.total.n_slices == 1)
    assert isinstance(effort.project._layer, Image)


def test_files_are_those_of_the_command_line(effort, folder, tmp_path, qtbot, monkeypatch) -> None:
    with Project.open(folder, "ana") as project:
        work(project)
        expected = write_tables(report_of(efforts(project)), tmp_path / "cli")
    effort.project.open(folder)
    ready(effort, qtbot)
    monkeypatch.setattr(questions, "folder", lambda parent, title: tmp_path / "out")
    effort.save_tables.click()
    for path in expected:
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    effort.save_pictures.click()
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {"quality.png", "days.png", "models.png"}
    assert "Wrote quality.png" in effort.message.text()
    monkeypatch.setattr(questions, "folder", lambda parent, title: folder / "project.json" / "x")
    effort.save_tables.click()
    assert "Wrote" not in effort.message.text()


def test_without_matplotlib_it_says_how_to_get_it(effort, folder, qtbot, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with Project.open(folder, "ana") as project:
        work(project)
    effort.project.open(folder)
    ready(effort, qtbot)
    assert 'pip install "napari-medclipsam[all]"' in effort.message.text()
    assert effort.board.cards and not effort.cards.isHidden()
    assert effort.save_tables.isEnabled() and not effort.save_pictures.isEnabled()
