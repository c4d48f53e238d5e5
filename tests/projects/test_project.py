"""A project as the rest of the program uses it."""

from __future__ import annotations

import json
import os
import shutil

import nibabel
import numpy as np
import pytest

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import GeometryError, OutputError, ProjectError
from napari_medclipsam.images.io import read_mask
from napari_medclipsam.projects import compaction, documents
from napari_medclipsam.projects.journal import read_journal
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import Study, images_in
from synthetic import Both, picture, save

from .conftest import write_scan

MODEL = Both()
AT = [SliceAt.across(0, index) for index in range(4)]


def find(case, at, text="disk"):
    return case.session.apply(case.session.plan_text(at, text).run(MODEL, MODEL))


def add_all(project, path, **more):
    return [result for _, result in project.add(images_in(path), **more)]


def test_work_is_there_again_with_undo_and_on_the_same_slice(folder):
    with Project.open(folder, "ana") as project, project.open_case("c0001") as case:
        assert case.at is None
        find(case, AT[1], "disk; square")
        case.session.accept(AT[1])
        case.session.window = (10.0, 240.0)
        find(case, AT[2])
        labels = case.session.labels.copy()
        case.looked_at(AT[3])
    with Project.open(folder, "ben") as project:
        assert [c.name for c in project.classes] == ["disk", "square"]
        assert project.summary("c0001").counts == {"accepted": 1, "proposed": 1}
        with project.open_case("c0001") as case:
            assert case.at == AT[3] and case.session.text == "disk" and not case.damages
            assert case.session.window == (10.0, 240.0)
            np.testing.assert_array_equal(case.session.labels, labels)
            assert case.session.undo_name == 'find "disk", slice 2'
            case.session.undo(), case.session.undo()
            assert not case.session.labels.any() and case.session.state(AT[1]).status == "proposed"
    with Project.open(folder, "ana") as project, project.open_case("c0001") as case:
        case.session.redo()
        np.testing.assert_array_equal(case.session.labels, labels)
    records = read_journal(folder / "cases" / "c0001" / "journal.jsonl").records
    assert [(r["reader"], r["verb"]) for r in records[-3:]] == [("ben", "undo"), ("ben", "undo"), ("ana", "redo")]


def test_the_mask_file_is_on_the_grid_of_the_source(folder, scan):
    with Project.open(folder) as project, project.open_case("c0001") as case:
        find(case, AT[1])
        case.session.accept(AT[1])
        expected, volume = case.mask_zyx(), case.volume
    assert expected.any()
    path = folder / "cases" / "c0001" / "mask.nii.gz"
    np.testing.assert_array_equal(read_mask(path, volume), expected)
    np.testing.assert_array_equal(nibabel.load(path).affine, nibabel.load(scan).affine)


def test_names_of_patients_are_only_in_the_list_of_sources(folder):
    with Project.open(folder) as project, project.open_case("c0001") as case:
        find(case, AT[1])
        case.session.accept(AT[1])
    for path in folder.rglob("*"):
        assert "MUELLER" not in path.name
        if path.is_file() and path.name != "studies.json":
            assert b"MUELLER" not in path.read_bytes()


def test_copies_are_inside_and_move_with_the_project(tmp_path, scan):
    with Project.create(tmp_path / "p") as project:
        (study,) = add_all(project, scan, copy=True)
        assert study.path == "images/c0001.nii.gz"
    scan.unlink()
    shutil.move(tmp_path / "p", tmp_path / "moved")
    with Project.open(tmp_path / "moved") as project, project.open_case("c0001") as case:
        assert case.session.image.shape == (4, 64, 64)


def test_pictures_stacks_and_4d_images(tmp_path):
    save(tmp_path / "in" / "a.png", picture("disk")[0])
    nibabel.save(nibabel.Nifti1Image(np.random.rand(5, 6, 7, 3).astype(np.float32), np.eye(4)), tmp_path / "in/b.nii")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    with Project.create(tmp_path / "p") as project:
        a, *b = add_all(project, tmp_path / "in")
        assert a.grid.shape == (64, 64) and [s.volume_index for s in b] == [0, 1, 2]
        with project.open_case(a.case) as case:
            find(case, SliceAt((None, None)))
            case.session.accept(SliceAt((None, None)))
            expected = case.mask_zyx()
        assert expected.shape == (1, 64, 64)
        np.testing.assert_array_equal(read_mask(tmp_path / "p" / "cases" / a.case / "mask.png"), expected)
        with project.open_case(b[2].case) as case:
            assert case.session.image.shape == b[2].grid.shape


def test_adding_twice_and_adding_what_is_no_image(folder, scan, tmp_path):
    (tmp_path / "scans" / "broken.nii.gz").write_bytes(b"no image at all")
    with Project.open(folder) as project:
        results = add_all(project, tmp_path / "scans")
        assert sorted(type(r).__name__ for r in results) == ["ImageError", "Study"]
        assert list(project.studies) == ["c0001"]


def test_a_second_opening_is_a_view_that_keeps_nothing(folder, scan):
    with Project.open(folder, "ana") as project, project.open_case("c0001") as case:
        find(case, AT[1])
        case.session.accept(AT[1])
        second = Project.open(folder, "ben")
        assert second.is_read_only and "ana has it open" in second.read_only
        with pytest.raises(ProjectError, match="ana has it open"):
            add_all(second, scan)
        size = (case.folder / "journal.jsonl").stat().st_size
        with second.open_case("c0001") as view:
            np.testing.assert_array_equal(view.session.labels, case.session.labels)
            assert "not kept" in view.session.undo().message
        second.close()
        assert (case.folder / "journal.jsonl").stat().st_size == size
    assert not Project.open(folder, "ben").is_read_only


def test_a_folder_that_can_not_be_written_is_a_view(folder, monkeypatch):
    real = os.open

    def refusing(path, flags, *more, **named):
        if flags & (os.O_RDWR | os.O_WRONLY) and str(path).startswith(str(folder)):
            raise OSError(30, "Read-only file system")
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", refusing)
    with Project.open(folder) as project, project.open_case("c0001") as case:
        assert "Read-only file system" in project.read_only
        assert "not kept" in find(case, AT[1]).message


def test_a_moved_source_is_found_by_its_content(folder, scan, tmp_path):
    moved = scan.rename(scan.with_name("elsewhere.nii.gz"))
    other = write_scan(tmp_path / "other.nii.gz", n_slices=5)
    with Project.open(folder) as project:
        with pytest.raises(ProjectError, match=r"c0001 is not at .* relocate"):
            project.open_case("c0001")
        with pytest.raises(ProjectError, match="its content differs"):
            project.relocate("c0001", other)
        with pytest.raises(GeometryError, match="5×64×64 voxels instead of 4×64×64"):
            project.relocate("c0001", other, accept_changed=True)
        project.relocate("c0001", moved)
        project.open_case("c0001").close()


def test_a_changed_source_is_refused_until_the_reader_accepts_it(folder, scan):
    image = nibabel.load(scan)
    voxels = np.asarray(image.dataobj).copy()
    voxels[5, 5] = 99
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), scan)
    with Project.open(folder) as project:
        with pytest.raises(ProjectError, match=r"has changed .* --accept-changed"):
            project.open_case("c0001")
        project.relocate("c0001", scan, accept_changed=True)
        project.open_case("c0001").close()
    assert [r["verb"] for r in read_journal(folder / "journal.jsonl").records] == ["begin", "add", "source"]


def test_a_touched_source_is_the_same(folder, scan):
    os.utime(scan)
    with Project.open(folder) as project:
        project.open_case("c0001").close()


def test_classes_are_renamed_everywhere_and_not_deleted_under_masks(folder):
    with Project.open(folder) as project, project.open_case("c0001") as case:
        find(case, AT[1])
        case.session.accept(AT[1])
        project.classes.rename(1, "sphere")
        project.classes.add("unused", prompts=["nothing at all"])
    with Project.open(folder) as project:
        assert project.classes[1].name == "sphere" and project.classes.named("nothing at all").label == 2
        with pytest.raises(ProjectError, match=r"sphere.*masks or prompts in 1 case \(c0001\)"):
            project.remove_class(1)
        project.remove_class(2)
    with Project.open(folder) as project:
        assert len(project.classes) == 1 and project.classes.add("new").label == 3


def test_a_mask_of_a_class_that_is_gone_gets_its_class_again(folder):
    with Project.open(folder) as project, project.open_case("c0001") as case:
        find(case, AT[1], "square")
        case.session.accept(AT[1])
    path = folder / "project.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": []}))
    with Project.open(folder) as project, project.open_case("c0001") as case:
        assert case.session.classes[2].name == "square" and case.session.labels.any()


@pytest.mark.parametrize("name", ["project.json", "studies.json"])
def test_documents_that_are_newer_damaged_or_something_else(folder, name):
    path = folder / name
    good = json.loads(path.read_text())
    for text, told in (
        (json.dumps(good | {"version": 99}), "version 99.*update the program"),
        (path.read_text()[:-20], "is damaged"),
        (json.dumps(good | {"format": "else"}), "expected a"),
    ):
        path.write_text(text)
        with pytest.raises(ProjectError, match=told) as caught:
            Project.open(folder)
        assert "\n" not in str(caught.value)
    path.write_text(json.dumps(good))
    Project.open(folder).close()


def test_older_documents_are_migrated(folder, monkeypatch):
    monkeypatch.setitem(documents.VERSIONS, "medclipsam-project", 2)
    monkeypatch.setitem(documents.MIGRATIONS, ("medclipsam-project", 1), lambda d: d | {"new": True})
    assert documents.read_document(folder / "project.json", "medclipsam-project")["new"]
    with Project.open(folder) as project:
        project.classes.add("later")
    assert json.loads((folder / "project.json").read_text())["version"] == 2


def test_a_folder_that_is_no_project(tmp_path):
    with pytest.raises(ProjectError, match="project init"):
        Project.open(tmp_path)
    (tmp_path / "something").touch()
    with pytest.raises(ProjectError, match="something in"):
        Project.create(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["something"]


def test_a_full_disk_is_told_and_survived(folder, monkeypatch):
    project = Project.open(folder)
    case = project.open_case("c0001")
    find(case, AT[1])
    real = os.write

    def full(handle, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    told = case.session.accept(AT[1]).message
    assert "No space left on device" in told and told.count("No space") == 1
    assert case.session.state(AT[1]).status == "accepted" and case.unsaved and case.trouble
    with pytest.raises(OutputError):
        case.close()
    monkeypatch.setattr(os, "write", real)
    case.save()
    assert case.trouble == "" and case.unsaved == 0
    # As after a crash: nothing was closed.
    case.session.book.recorder = None
    assert Project.open(folder).open_case("c0001").session.state(AT[1]).status == "accepted"
    project.close()


def test_compaction_keeps_the_work_its_undo_and_the_history(folder, monkeypatch):
    monkeypatch.setattr(compaction, "MOST_RECORDS", 30)
    monkeypatch.setattr(compaction, "KEPT_RECORDS", 5)
    states = []
    for _ in range(3):
        with Project.open(folder, "ana") as project, project.open_case("c0001") as case:
            for at in AT * 4:
                find(case, at)
                case.session.accept(at)
            case.session.undo()
            states.append((case.session.labels.copy(), case.session.undo_name, case.session.redo_name))
            counts = case.summary().history.counts["ana"]
        with Project.open(folder, "ana") as project, project.open_case("c0001") as case:
            labels, undo_name, redo_name = states[-1]
            np.testing.assert_array_equal(case.session.labels, labels)
            assert (case.session.undo_name, case.session.redo_name) == (undo_name, redo_name)
            assert case.summary().history.counts["ana"] == counts and not case.damages
    journal = read_journal(folder / "cases" / "c0001" / "journal.jsonl")
    assert journal.records[0]["verb"] == "snapshot" and not journal.damages
    history = sorted((folder / "cases" / "c0001" / "history").iterdir())
    assert [p.name for p in history] == ["0001.jsonl.gz", "0002.jsonl.gz", "0003.jsonl.gz"]
    assert counts["accept"] == 48


def test_a_case_is_open_once(folder):
    with Project.open(folder) as project, project.open_case("c0001"):
        with pytest.raises(ProjectError, match="open already"):
            project.open_case("c0001")
        with pytest.raises(ProjectError, match="no case c0009"):
            project.open_case("c0009")


def test_two_series_with_different_geometry_are_two_cases(tmp_path):
    write_scan(tmp_path / "in" / "thin.nii.gz", spacing=0.5)
    write_scan(tmp_path / "in" / "thick.nii.gz", n_slices=3)
    with Project.create(tmp_path / "p") as project:
        thick, thin = add_all(project, tmp_path / "in")
        assert isinstance(thick, Study) and thick.grid.difference(thin.grid).startswith("4×64×64 voxels instead")
        with project.open_case(thick.case) as a, project.open_case(thin.case) as b:
            assert (a.session.image.shape, b.session.image.shape) == ((3, 64, 64), (4, 64, 64))
