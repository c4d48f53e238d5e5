"""Projects in the dock, without a window: studies, cases, notes, moved sources, classes, masks in and out."""

from __future__ import annotations

import threading

import nibabel
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.errors import OutputError
from napari_medclipsam.projects.journal import Journal
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.reader import remember_reader, remembered_reader
from napari_medclipsam.projects.scan import scan_text
from napari_medclipsam.widgets import _questions as questions
from synthetic import picture, save


def write_scan(path, n_slices=6):
    """A scan whose disk is in all slices."""
    planes = [picture("disk", "square")[0]] * n_slices
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.stack(planes).T, np.diag([-1.0, -1.0, 5.0, 1.0])), path)
    return path


@pytest.fixture
def scans(tmp_path):
    remember_reader("ana")
    film = save(tmp_path / "scans" / "b_film.png", picture("disk", size=80)[0])
    return [write_scan(tmp_path / "scans" / "a.nii.gz"), film, write_scan(tmp_path / "scans" / "c.nii.gz", 5)]


@pytest.fixture
def office(open_desk, tmp_path, scans):
    """A dock with a project of three studies open."""
    desk = open_desk(ViewerModel())
    desk.idle()
    desk.project, desk.exchange = desk.dock.project, desk.dock.exchange
    desk.project.create(tmp_path / "project")
    desk.project.add([tmp_path / "scans"], copy=False)
    desk.project.project.classes.add("disk", prompts=["round thing"])
    return desk


@pytest.fixture
def answers(monkeypatch):
    """Return a function that sets what the reader answers to a question; every question asked is kept."""
    asked = []

    def answer(name, *values):
        left = list(values)

        def reply(*args, **kwargs):
            asked.append((name, args[1:]))
            return left.pop(0)

        monkeypatch.setattr(questions, name, reply)

    answer.asked = asked
    return answer


def states(desk):
    return [row.state for row in desk.project.rows.values()]


def names(desk):
    return [layer.name for layer in desk.viewer.layers]


def test_the_name_of_the_reader_is_asked_once(open_desk, tmp_path, answers):
    desk = open_desk(ViewerModel())
    answers("reader_name", "", "Dr. Ana")
    desk.dock.project.create(tmp_path / "one")
    assert desk.dock.project.project is None
    desk.dock.project.create(tmp_path / "one")
    desk.dock.project.create(tmp_path / "two")
    assert remembered_reader() == desk.dock.project.project.reader == "Dr. Ana" and len(answers.asked) == 2
    desk.dock.project.create(tmp_path / "one")
    assert "something in" in desk.message
    assert desk.dock.project.project is None or desk.dock.project.project.folder.name == "two"


def test_studies_are_listed_with_words(office):
    table = office.dock.project_page.table
    assert [table.item(row, 1).text() for row in range(3)] == ["a", "b_film.png", "c"]
    assert states(office) == ["new"] * 3 and "3 added" in office.message
    office.project.add([office.project.project.folder.parent / "scans"], copy=False)
    assert "0 added, 3 were there already" in office.message


def test_dropped_files_are_added(office, tmp_path):
    new = write_scan(tmp_path / "more" / "d.nii.gz", 3)
    broken = tmp_path / "more" / "e.nii.gz"
    broken.write_bytes(b"nothing")
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in (new, broken)])
    office.dock.project_page.copy.setChecked(True)
    event = QDropEvent(
        QPointF(5, 5), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    office.dock.project_page.dropEvent(event)
    assert "1 added, 1 refused" in office.message
    assert office.project.project.study("c0004").path == "images/c0004.nii.gz"


def test_a_case_goes_on_where_it_was_left(office):
    office.dock.project_page.table.cellDoubleClicked.emit(0, 0)
    assert office.dock.workspace.image.name == "c0001" and office.session is office.project.case.session
    assert "round thing" in office.dock.find_row.field.phrases.stringList()
    office.go(4)
    office.ask("disk")
    office.do("accept")
    mask = office.session.labels.copy()
    assert mask.any() and "accepted" in office.dock.place.text()
    office.project.open_case("c0002")
    assert names(office) == ["c0002"] and office.at == SliceAt((None, None))
    assert states(office) == ["in work", "new", "new"]
    office.project.open_case("c0001")
    assert office.at == SliceAt.across(0, 4) and np.array_equal(office.layer("masks").data, mask)
    color = office.layer("masks").colormap.color_dict[1]
    assert "#{:02X}{:02X}{:02X}".format(*np.round(255 * color[:3]).astype(int)) == office.session.classes[1].color
    office.do("undo")
    assert not office.session.labels.any()


def test_a_case_that_is_left_is_not_labelled_anew(office):
    office.project.open_case("c0001")
    office.go(4)
    office.ask("disk")
    office.do("accept")
    office.viewer.layers.selection.active = office.dock.workspace.image
    added = []
    office.viewer.layers.events.inserted.connect(lambda event: added.append(event.value.name))
    office.project.close()
    assert added == [] and names(office) == [] and office.dock.workspace.image is None


def test_another_axis_is_resumed_too(office):
    office.project.open_case("c0001")
    office.viewer.dims.order = (1, 0, 2)
    office.go(20, axis=1)
    at = SliceAt.across(1, 20)
    assert office.at == at
    office.qtbot.waitUntil(lambda: office.project.case.at == at)
    office.project.open_case("c0002")
    office.viewer.dims.order = (0, 1)
    office.project.open_case("c0001")
    assert office.at == at


def test_flags_and_notes(office):
    office.project.toggle_flag()
    assert "Open" in office.message and office.dock.case_row.isHidden()
    office.project.open_case("c0001")
    row = office.dock.case_row
    assert not row.isHidden()
    office.go(2)
    office.dock.verbs.toggle_flag()
    assert row.flag.isChecked() and states(office)[0] == "flagged"
    row.note.setText("rim is blurred")
    row.note.setModified(True)
    office.go(3)
    assert row.note.text() == "" and not row.flag.isChecked()
    office.go(2)
    assert row.note.text() == "rim is blurred" and row.flag.isChecked()
    office.dock.verbs.toggle_flag()
    office.dock.project_page.done.click()
    assert states(office)[0] == "done"
    office.project.open_case("c0003")
    assert not office.dock.project_page.done.isChecked()


def test_a_moved_image_is_found_and_a_changed_one_accepted(office, scans, answers):
    moved = scans[0].rename(scans[0].with_name("moved.nii.gz"))
    answers("source_moved", False, True)
    office.project.open_case("c0001")
    assert office.project.case is None and states(office)[0] == "source moved"
    answers("image_of", moved)
    office.project.open_case("c0001")
    assert office.project.case is not None and states(office)[0] == "new"
    office.project.leave_case()
    pixels = np.asarray(nibabel.load(scans[2]).dataobj).copy()
    pixels[0, 0, 0] += 1
    nibabel.save(nibabel.Nifti1Image(pixels, nibabel.load(scans[2]).affine), scans[2])
    answers("source_changed", None, "accept")
    office.project.open_case("c0003")
    assert office.project.case is None
    office.project.open_case("c0003")
    assert office.project.case is not None
    office.project.leave_case()
    write_scan(scans[2], 9)
    answers("source_changed", "accept")
    office.project.open_case("c0003")
    assert "does not fit the masks" in office.message and office.project.case is None


def test_a_project_that_is_open_elsewhere_is_marked(office, open_desk, tmp_path):
    office.project.open_case("c0001")
    office.ask("disk")
    office.do("accept")
    other = open_desk(ViewerModel())
    other.dock.project.open(tmp_path / "project")
    page = other.dock.project_page
    assert not page.warning.isHidden() and "ana has it open" in page.warning.text()
    other.dock.project.open_case("c0001")
    assert np.array_equal(other.session.labels, office.session.labels)
    assert "READ ONLY" in other.dock.case_row.state.text() and not page.done.isEnabled()
    other.do("accept")
    assert "not kept" in other.message
    other.dock.project.add([tmp_path], copy=False)
    assert "reading only" in other.message


def test_classes_are_shared_by_all_cases(office, answers):
    office.project.open_case("c0001")
    office.ask("disk")
    office.do("accept")
    office.project.open_case("c0003")
    table = office.dock.classes.table
    assert table.item(0, 1).text() == "disk"
    answers("rename_everywhere", False, True)
    table.item(0, 1).setText("lesion")
    assert table.item(0, 1).text() == "disk" and answers.asked[0] == (
        "rename_everywhere",
        ("disk", "lesion", "1 case (c0001)"),
    )
    table.item(0, 1).setText("lesion")
    assert office.project.project.classes[1].name == "lesion"
    answers("hide_instead", True)
    office.dock.workspace.choose(1)
    office.dock.classes._remove()
    assert "in 1 case (c0001)" in answers.asked[-1][1][0] and not office.project.project.classes[1].shown
    office.dock.classes._add_class()
    office.dock.classes._remove()
    assert [c.name for c in office.session.classes] == ["lesion"]
    folder = office.project.project.folder
    office.project.close()
    with Project.open(folder) as project:
        assert [(c.name, c.prompts) for c in project.classes] == [("lesion", ("round thing",))]


def test_words_of_a_class_are_kept_and_used(office, answers):
    office.project.open_case("c0001")
    answers("class_words", None, ["round thing", "blob"])
    office.dock.classes._reword()
    assert "Select a class" in office.message
    office.dock.workspace.choose(1)
    office.dock.classes._reword()
    assert office.session.classes[1].prompts == ("round thing",)
    office.dock.classes._reword()
    assert "blob" in office.dock.find_row.field.phrases.stringList()
    folder = office.project.project.folder
    office.project.close()
    with Project.open(folder) as project:
        assert project.classes[1].prompts == ("round thing", "blob") and scan_text(project) == "round thing"


def test_what_is_decided_is_called_done_when_it_is_on_the_disk(office, monkeypatch):
    office.project.open_case("c0001")
    office.ask("disk")
    go_on, sync = threading.Event(), Journal.sync

    def slow(self):
        go_on.wait(20)
        sync(self)

    monkeypatch.setattr(Journal, "sync", slow)
    office.dock.verbs.accept()
    assert office.session.labels.any() and "Done" not in office.message
    assert office.dock.case_row.state.text() == "saving …"
    office.qtbot.waitUntil(lambda: "slow" in office.message, timeout=5000)
    office.dock.verbs.undo()
    assert "Undone" not in office.message
    go_on.set()
    office.qtbot.waitUntil(lambda: "Undone" in office.message, timeout=5000)
    assert office.dock.case_row.state.text() == "saved"


def test_masks_go_in_and_out(office, scans, answers, tmp_path):
    office.project.open_case("c0001")
    mask = np.zeros((64, 64, 6), np.uint8)
    mask[10:20, 20:30, 2:4] = 1
    path = tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(mask, nibabel.load(scans[0]).affine), path)
    answers("accept_import", None, False, True)
    office.exchange.import_mask(path)
    assert not office.session.proposed.any()
    office.exchange.import_mask(path)
    assert "2 slices proposed" in office.message and office.layer("proposals").data[2].sum() == 100
    office.exchange.import_mask(path)
    assert "2 slices accepted" in office.message and np.array_equal(office.project.case.mask_zyx().T, mask)
    office.exchange.export("nifti", tmp_path / "out", only_this=False, deidentify=False)
    assert "Exported 1 case to" in office.message
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "out" / "c0001.nii.gz").dataobj), mask)
    nibabel.save(nibabel.Nifti1Image(mask[:, :, :5], nibabel.load(scans[0]).affine), path)
    answers("resample", False)
    office.exchange.import_mask(path)
    assert "shape 5 x 64 x 64 and not 6 x 64 x 64" in answers.asked[-1][1][0]


def test_what_can_not_be_saved_stays_open(office, answers, monkeypatch):
    office.project.open_case("c0001")
    office.ask("disk")
    office.do("accept")
    case, session = office.project.case, office.session
    close = type(case).close

    def full(self):
        raise OutputError("The disk is full.")

    monkeypatch.setattr(type(case), "close", full)
    answers("not_saved", "again", None)
    office.project.open_case("c0003")
    assert len(answers.asked) == 2 and office.project.case is case and office.session is session
    assert "masks" in names(office)
    office.dock.verbs.undo()
    assert not session.labels.any()
    monkeypatch.setattr(type(case), "close", close)
    office.project.open_case("c0003")
    assert names(office) == ["c0003"]


def test_a_case_whose_image_is_deleted_is_closed(office):
    office.project.open_case("c0001")
    office.ask("disk")
    office.do("accept")
    office.viewer.layers.remove("c0001")
    office.qtbot.waitUntil(lambda: office.project.case is None)
    assert not [layer for layer in office.viewer.layers if isinstance(layer, Labels)]
    office.project.open_case("c0001")
    assert office.session.state(office.at).of(ObjectKey(1)).accepted is not None


def test_long_work_is_stopped_between_images(office, tmp_path, monkeypatch):
    from napari_medclipsam.widgets import _long_work, _project_work

    for n in range(4):
        write_scan(tmp_path / "many" / f"{n}.nii.gz", n + 7)
    tell = _long_work.LongWork._tell

    def stopping(self, text, done, total):
        if done == 2:
            self._stop.set()
        tell(self, text, done, total)

    monkeypatch.setattr(_long_work.LongWork, "_tell", stopping)
    office.project.add([tmp_path / "many"], copy=False)
    assert "Stopped" in office.message and list(office.project.rows) == ["c0001", "c0002", "c0003", "c0004", "c0005"]
    assert _project_work.Added({}, 0, [], []).sentence == "0 added."
