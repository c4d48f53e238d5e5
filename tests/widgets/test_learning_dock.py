"""Learning in the dock, without a window: a real worker process, a learner that fits in milliseconds."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from napari.components import ViewerModel

TESTS = Path(__file__).resolve().parents[1]
_PLUGIN = TESTS / "learning" / "plugin"
sys.path.insert(0, str(TESTS / "learning"))

from captioned import write_pairs  # noqa: E402
from projects_to_learn import project_of  # noqa: E402
from qtpy.QtWidgets import QStyle, QStyleOptionComboBox  # noqa: E402

from clip_samples import save_open_clip  # noqa: E402
from napari_medclipsam.annotation.worker import ModelChoice  # noqa: E402
from napari_medclipsam.learning.clip_home import CLIP  # noqa: E402
from napari_medclipsam.learning.folders import models_folder  # noqa: E402
from napari_medclipsam.learning.loading import project_pair  # noqa: E402
from napari_medclipsam.learning.status import LOST, read_status  # noqa: E402
from napari_medclipsam.learning.trigger import LearningSettings  # noqa: E402
from napari_medclipsam.learning.versions import active_version, promote  # noqa: E402
from napari_medclipsam.learning.worker import Worker  # noqa: E402
from napari_medclipsam.projects.effort import all_records  # noqa: E402
from napari_medclipsam.projects.project import Project  # noqa: E402
from napari_medclipsam.projects.reader import remember_reader  # noqa: E402
from napari_medclipsam.saliency.pair import load_pair  # noqa: E402
from napari_medclipsam.widgets import LearningDock, _learning_desk, _work  # noqa: E402
from napari_medclipsam.widgets import _questions as questions  # noqa: E402

PATIENCE_MS = 120_000


@pytest.fixture
def quick_models(monkeypatch):
    """The model that knows no word, in the version that a project has in use."""
    monkeypatch.syspath_prepend(str(_PLUGIN))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join((str(_PLUGIN), str(_PLUGIN.parent), str(TESTS), os.environ.get("PYTHONPATH", "")))
    )

    def load(name, device, project=None):
        return load_pair(name) if project is None else project_pair(project, name, device)[0]

    monkeypatch.setattr(_work, "load_beside_opengl", load)
    remember_reader("ana")


class School:
    """A dock with a project open, and the Learning dock beside it."""

    def __init__(self, desk, folder):
        self.desk, self.qtbot = desk, desk.qtbot
        self.dock, self.learning = desk.dock, desk.dock.learning
        self.dock.workspace.use_model(ModelChoice("blind", "cpu"))
        desk.idle()
        self.page = LearningDock(desk.viewer, self.dock)
        self.qtbot.addWidget(self.page)
        self.said = []
        self.dock.workspace.said.connect(self.said.append)
        if folder is not None:
            self.dock.project.open(folder)
            self.settle()

    def until(self, done):
        self.qtbot.waitUntil(done, timeout=PATIENCE_MS)

    def settle(self):
        self.until(lambda: not self.learning.is_busy and not self.learning._is_looking)
        self.desk.idle()

    def learn(self):
        self.page.now.learner.setCurrentIndex(self.page.now.learner.findData("tiny"))
        self.page.now.start.click()
        self.until(lambda: self.learning.is_learning)
        self.until(lambda: not self.learning.is_learning)
        self.settle()

    @property
    def rows(self):
        table = self.page.versions.table
        return [[table.item(r, c).text() for c in range(table.columnCount())] for r in range(table.rowCount())]


@pytest.fixture
def school(open_desk):
    schools = []

    def open_on(folder=None):
        schools.append(School(open_desk(ViewerModel()), folder))
        return schools[-1]

    yield open_on
    for one in schools:
        if one.learning._worker is not None:
            one.learning._worker.cancel()
        one.page.close()


@pytest.fixture
def folder(tmp_path):
    return project_of(tmp_path / "project", n_patients=4)


@pytest.fixture
def long(monkeypatch):
    """A fit that takes longer than any test."""
    monkeypatch.setenv("TINY_STEPS", "100000")
    monkeypatch.setenv("TINY_STEP_S", "0.005")


def test_what_is_learnt_answers_and_is_shown(school, folder):
    one = school(folder)
    page, dock = one.page, one.dock
    assert "12 accepted slices of 4 patients" in page.now.facts["data"].text()
    assert not dock.badge.isVisibleTo(dock)
    one.learn()
    one.until(lambda: one.learning.using is not None)
    assert "v0001 is in use from now on. Better:" in page.now.state.text()
    assert dock.badge.text().startswith("Using version v0001 (tiny), +") and dock.badge.isVisibleTo(dock)
    assert "blind v0001" in dock.status.model.text()
    assert one.rows[0][:2] == ["v0001", "promoted"] and one.rows[0][4] == "better"
    assert page.now.loss.points and "asked for in the window" in page.now.facts["trigger"].text()
    assert page.now.dice.marks[0].is_filled
    # The next proposal is the version's, and its record says so.
    dock.project.open_case("c0001")
    one.desk.go(1)
    dock.verbs.clear()
    one.desk.ask("disk")
    dock.project.case.save()
    last = [record for record in all_records(folder / "cases" / "c0001") if record["verb"] == "text"][-1]
    assert "v0001" in last["model"]


def test_back_and_forth(school, folder):
    one = school(folder)
    one.learn()
    one.page.versions.roll_back.click()
    one.settle()
    one.until(lambda: one.learning.using is None and "ready" in one.dock.status.model.text())
    assert active_version(folder) is None and not one.dock.badge.isVisibleTo(one.dock)
    assert one.rows[0][1] == "rolled back"
    one.page.versions.promote.click()
    one.until(lambda: one.learning.using is not None)
    assert active_version(folder).name == "v0001" and "v0001 is in use from now on." in one.said
    assert not one.page.versions.delete.isEnabled()


def test_a_version_that_is_not_in_use_is_deleted_after_a_question(school, folder, monkeypatch):
    asked = []
    monkeypatch.setattr(questions, "delete_version", lambda parent, *told: asked.append(told) or len(asked) > 1)
    one = school(folder)
    one.learn()
    one.learning.versions.roll_back()
    one.settle()
    for n_left in (1, 0):
        one.page.versions.delete.click()
        one.settle()
        one.until(lambda n=n_left: len(one.rows) == n)
    assert asked[0][0] == "v0001" and asked[0][1] > 0 and "v0001 is deleted." in one.said


def room(box):
    """Width for the words of a box."""
    option = QStyleOptionComboBox()
    box.initStyleOption(option)
    kind, part = QStyle.ComplexControl.CC_ComboBox, QStyle.SubControl.SC_ComboBoxEditField
    return box.style().subControlRect(kind, option, part, box).width()


def test_two_versions_on_the_slice_and_on_pictures(school, folder, dice):
    one = school(folder)
    one.learn()
    versions, compare = one.page.versions, one.page.compare
    one.page.tabs.setCurrentIndex(1)
    one.page.resize(one.page.minimumSizeHint())
    one.page.show()
    assert one.page.height() <= 200
    for box in (versions.first, versions.second):
        assert box.fontMetrics().horizontalAdvance(box.currentText()) <= room(box)
    one.dock.project.open_case("c0002")
    versions.on_screen.click()
    one.until(lambda: compare.are_layers_shown and not compare.is_busy)
    before, after = compare.layers.layers
    assert (before.name, after.name) == ("base draws", "v0001 draws")
    accepted = one.desk.session.labels[one.desk.at.index]
    assert not before.data.any() and dice(after.data[0], accepted) > 0.9
    versions.away.click()
    assert not any("draws" in layer.name for layer in one.desk.viewer.layers)
    versions.pictures.click()
    one.until(lambda: len(compare.pictures) == 4)
    # One of each patient, who were all left out by turns.
    assert len({picture.title.split(",")[0] for picture in compare.pictures}) == 4
    assert all(picture.after > picture.before + 0.9 for picture in compare.pictures)


def test_an_encoder_learns_from_captions(school, folder, tmp_path, monkeypatch):
    one = school(folder)
    base = f"local-dir:{save_open_clip(tmp_path / 'model', 'plain')}"
    monkeypatch.setattr(questions, "caption_table", lambda parent, start: write_pairs(tmp_path / "pairs", 4))
    now = one.page.now
    now.learner.setCurrentIndex(now.learner.findData("clip"))
    now.minutes.setValue(0.5)
    now.start.click()
    one.settle()
    assert "medclipsam models fetch biomedclip" in one.said[-1] and not one.learning.is_learning
    one.dock.workspace.use_model(ModelChoice(f"{base}+blind", "cpu"))
    one.desk.idle()
    now.start.click()
    one.until(lambda: one.learning.is_learning)
    one.until(lambda: not one.learning.is_learning)
    one.settle()
    assert "Learning: v0001 is kept" in one.page.message.text() and not one.rows
    # Of its own register, it answers where its model is chosen, and no other.
    promote(folder / CLIP, "v0001", "ana")
    one.learning.look()
    one.until(lambda: "clip v0001 on cpu, ready" in one.dock.status.model.text())
    assert one.learning.using is None
    one.dock.workspace.use_model(ModelChoice("blind", "cpu"))
    one.until(lambda: "blind on cpu, ready" in one.dock.status.model.text())


def test_it_says_what_is_missing(school, tmp_path):
    one = school()
    now = one.page.now
    assert "No project is open" in now.state.text() and not now.start.isEnabled()
    one.dock.project.open(project_of(tmp_path / "empty", 1, accept=False))
    one.settle()
    assert "accept at least one slice" in now.missing.text() and not now.start.isEnabled()
    few = project_of(tmp_path / "few", 2)
    one.dock.project.open(few)
    one.settle()
    assert "it takes 3" in now.missing.text() and now.start.isEnabled()
    one.learn()
    assert one.rows[0][1::3] == ["candidate", "can't tell yet"] and not one.dock.badge.isVisibleTo(one.dock)
    with Project.open(tmp_path / "empty", "bea"):
        one.dock.project.open(tmp_path / "empty")
        one.settle()
        assert "bea" in now.missing.text() and not now.start.isEnabled() and not now.alone.isEnabled()


def test_it_starts_by_itself_when_nobody_works(school, folder, monkeypatch):
    one = school(folder)
    one.dock.workspace.refreshed.emit()
    one.learning.keep_settings(LearningSettings(learner="tiny", every=12))
    one.settle()
    one.learning._check_trigger()
    assert not one.learning.is_learning and not one.learning.is_busy
    monkeypatch.setattr(_learning_desk, "IDLE_S", 0.0)
    one.learning._on_timer()
    one.until(lambda: one.learning.using is not None)
    assert active_version(folder).lineage["trigger"] == "12 new slices"
    one.learning._check_trigger()
    assert not one.learning.is_busy


def test_settings_are_kept(school, folder):
    one = school(folder)
    one.learn()
    alone = one.page.now.alone
    alone.idle.setChecked(False)
    alone.learner.setCurrentIndex(alone.learner.findData("tiny"))
    alone.every.setValue(2)
    alone.every.editingFinished.emit()
    one.settle()
    assert LearningSettings(learner="tiny", every=2, only_when_idle=False) == one.learning.settings
    one.dock.project.open_case("c0001")
    for index in (0, 1):
        one.desk.go(index)
        one.dock.verbs.clear()
    one.dock.project._on_poll()
    one.settle()
    assert len(one.rows) == 1 and one.learning.n_accepted == 10
    # Undone, twelve are accepted as before; nothing is new.
    one.dock.verbs.undo()
    one.dock.verbs.undo()
    one.dock.project._on_poll()
    one.settle()
    assert not one.learning.is_learning
    one.dock.project.close()
    with Project.open(folder, "ana") as project:
        assert LearningSettings.of({"settings": project.settings}).every == 2


def test_a_version_that_is_gone_leaves_the_model_itself(school, folder):
    one = school(folder)
    one.learn()
    one.dock.project.close()
    one.until(lambda: one.learning.using is None)
    shutil.rmtree(models_folder(folder) / "v0001")
    one.dock.project.open(folder)
    one.settle()
    gone = "The version v0001, which is in use in this project, is gone."
    assert sum(gone in said for said in one.said) == 1 and gone in one.page.versions.words.text()
    assert one.learning.using is None and "blind on cpu, ready" in one.dock.status.model.text()
    one.page.versions.roll_back.click()
    one.settle()
    assert active_version(folder) is None and not one.page.versions.roll_back.isEnabled()


def test_a_damaged_version_leaves_the_model_itself(school, folder):
    one = school(folder)
    one.learn()
    one.dock.project.close()
    (models_folder(folder) / "v0001" / "model" / "names.json").write_text("[]")
    one.dock.project.open(folder)
    one.until(lambda: "names.json" in one.desk.message)
    one.settle()
    assert one.learning.using is None and "blind on cpu, ready" in one.dock.status.model.text()


def test_pause_and_cancel(long, school, folder):
    one = school(folder)
    now = one.page.now
    one.learning.learn("tiny", 1)
    one.until(lambda: one.learning.status.state == "fitting")
    one.settle()
    now.pause.click()
    one.until(lambda: one.learning.status.state == "paused")
    assert now.resume.isEnabled() and not now.pause.isEnabled() and "Paused (tiny)" in now.state.text()
    one.settle()
    now.resume.click()
    one.until(lambda: one.learning.status.state == "fitting")
    # Any step of the user holds it for a while.
    one.dock.workspace.refreshed.emit()
    one.until(lambda: one.learning.status.state == "paused")
    one.settle()
    now.cancel.click()
    one.until(lambda: one.learning.status.state == "cancelled")
    one.settle()
    assert not one.rows and "Cancelled" in now.state.text()


def test_a_crash_is_one_sentence(long, school, folder):
    one = school(folder)
    one.learning.learn("tiny", 1)
    one.until(lambda: one.learning.status.state == "fitting")
    one.learning.status.process.find().kill()
    one.until(lambda: not one.learning.is_learning)
    one.settle()
    assert [said for said in one.said if LOST in said] == [f"Learning: {LOST}"]
    assert LOST in one.page.now.state.text() and one.page.now.start.isEnabled()


def test_it_goes_on_without_the_window_if_asked(long, school, folder, monkeypatch):
    one = school(folder)
    one.learning.learn("tiny", 1)
    one.until(lambda: one.learning.status.state == "fitting")
    one.settle()
    asked = []
    answers = [None, "Go on learning"]
    monkeypatch.setattr(questions, "choose", lambda *args: asked.append(args) or answers.pop(0))
    assert not one.learning.may_close() and one.learning._worker.is_running
    assert one.learning.may_close()
    one.dock.project.close()
    assert len(asked) == 2 and "tiny is at work" in asked[0][2]
    time.sleep(0.5)
    assert not read_status(folder).has_ended
    # It is found again, and stopped with the next window.
    one.dock.project.open(folder)
    one.until(lambda: one.learning._worker.is_running)
    one.settle()
    answers.append("Stop and keep")
    one.dock.project.close()
    deadline = time.monotonic() + 30
    while not read_status(folder).has_ended and time.monotonic() < deadline:
        time.sleep(0.05)
    assert read_status(folder).state == "stopped" and len(asked) == 3


def test_a_run_of_the_command_line_is_found(long, school, folder):
    from projects_to_learn import TINY

    one = school(folder)
    other = Worker(folder)
    other.start(TINY)
    try:
        one.until(lambda: one.learning.is_learning and one.learning._worker.is_running)
        one.settle()
        one.page.now.stop.click()
        one.until(lambda: one.learning.status.state == "stopped")
    finally:
        other.cancel()
