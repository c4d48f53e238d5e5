"""``medclipsam project``."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.projects.project import Project
from synthetic import picture, save


def test_from_nothing_to_a_checked_project(run, nifti, tmp_path):
    source, _ = nifti
    save(tmp_path / "in" / "film.png", picture("disk")[0])
    code, out, _ = run("project", "init", tmp_path / "p", "--class", "disk", "--class", "square")
    assert code == 0 and "disk, square" in out
    code, out, _ = run("project", "add", tmp_path / "p", tmp_path / "in")
    assert code == 0 and "2 added, 0 refused" in out
    code, out, _ = run("project", "add", tmp_path / "p", source, "--copy")
    assert code == 0 and "is there already" in out
    code, out, _ = run("project", "status", tmp_path / "p")
    assert code == 0 and "2 studies, 0 of 7 slices accepted; classes: 1 disk, 2 square." in out
    code, out, _ = run("project", "status", tmp_path / "p", "--json")
    assert [row["case"] for row in json.loads(out)["cases"]] == ["c0001", "c0002"]
    code, out, _ = run("project", "verify", tmp_path / "p")
    assert code == 0 and "2 studies checked, 0 problems" in out


def test_one_bad_image_does_not_stop_the_rest(run, nifti, tmp_path):
    (tmp_path / "in" / "broken.nii.gz").write_bytes(b"nothing")
    run("project", "init", tmp_path / "p")
    code, out, err = run("project", "add", tmp_path / "p", tmp_path / "in")
    assert code == 2 and "1 added, 1 refused" in out and "broken.nii.gz" in err


def test_a_moved_image_is_found_and_located(run, nifti, tmp_path):
    source, _ = nifti
    run("project", "init", tmp_path / "p")
    run("project", "add", tmp_path / "p", source)
    moved = source.rename(tmp_path / "moved.nii.gz")
    code, out, _ = run("project", "verify", tmp_path / "p", "--json")
    (problem,) = json.loads(out)
    assert code == 2 and problem["case"] == "c0001" and "can't be found" in problem["message"]
    code, _, _ = run("project", "relocate", tmp_path / "p", "c0001", moved)
    assert code == 0 and run("project", "verify", tmp_path / "p")[0] == 0
    code, _, err = run("project", "relocate", tmp_path / "p", "c0002", moved)
    assert code == 2 and "no case c0002" in err


def test_a_project_that_is_open_elsewhere_is_only_looked_at(run, nifti, tmp_path):
    source, _ = nifti
    run("project", "init", tmp_path / "p")
    with Project.open(tmp_path / "p", "ana"):
        code, _, err = run("project", "add", tmp_path / "p", source)
        assert code == 2 and "ana has it open" in err
        code, out, _ = run("project", "status", tmp_path / "p")
        assert code == 0 and "ana has it open" in out
    code, _, err = run("project", "status", tmp_path)
    assert code == 2 and f"{tmp_path} is no project: it has no project.json." in err and "project init FOLDER" in err


@pytest.fixture
def labelled(run, nifti, tmp_path):
    """A project of a volume of six slices with a disk in two of them, and a film."""
    save(tmp_path / "in" / "film.png", picture("disk")[0])
    run("project", "init", tmp_path / "p", "--class", "disk")
    run("project", "add", tmp_path / "p", tmp_path / "in")
    return tmp_path / "p"


def test_the_queue_before_and_after_a_scan(run, labelled):
    code, out, _ = run("project", "queue", labelled)
    assert code == 0 and "0 of 7 slices." in out and "no model has looked at it yet" in out
    code, out, _ = run("project", "queue", labelled, "--scan", "--case", "c0001")
    assert code == 0 and "in 1 slice: proposals in 1" in out
    code, out, err = run("project", "queue", labelled, "--scan", "--json")
    value = json.loads(out)
    assert code == 0 and "in 6 slices: proposals in 2, 0 cases refused" in err
    assert [item["status"] for item in value["items"]].count("proposed") == 3 and value["seconds_left"] is None
    code, out, _ = run("project", "queue", labelled, "--scan")
    assert code == 0 and "in 0 slices" in out
    with Project.open(labelled, "ana") as project, project.open_case("c0002") as case:
        case.session.add_point(SliceAt.across(0, 5), 20, 20)
    status = run("project", "status", labelled)[1]
    assert "c0001  0 of 1 slice accepted, 1 with proposals to decide on\n" in status
    assert "c0002  0 of 6 slices accepted, 2 with proposals to decide on, 1 with clicks that wait for a mask;" in status
    code, out, _ = run("project", "queue", labelled, "--status", "proposed", "--case", "c0002", "--limit", "1")
    assert code == 0 and out.count("(proposed)") == 1 and "c0002 slice" in out
    code, out, _ = run("project", "queue", labelled, "--flagged", "--class", "disk")
    assert code == 0 and "No slice is left that fits." in out


def test_a_queue_that_can_not_be_made(run, labelled, tmp_path):
    code, _, err = run("project", "queue", labelled, "--class", "liver")
    assert code == 2 and 'no class "liver"; there are: disk' in err
    code, _, err = run("project", "queue", labelled, "--case", "c0009")
    assert code == 2 and "no case c0009" in err
    run("project", "init", tmp_path / "empty")
    code, _, err = run("project", "queue", tmp_path / "empty", "--scan")
    assert code == 2 and "--text" in err
    with Project.open(labelled, "ana"):
        code, _, err = run("project", "queue", labelled, "--scan")
        assert code == 2 and "ana has it open" in err
    (tmp_path / "in" / "film.png").unlink()
    code, out, err = run("project", "queue", labelled, "--scan")
    assert code == 2 and "1 case refused" in out and "relocate" in err


def test_a_report_of_nothing_and_of_work(run, labelled, tmp_path):
    code, out, _ = run("project", "report", labelled)
    assert code == 0 and "0 slices accepted" in out and "Not enough slices yet" in out
    run("project", "queue", labelled, "--scan")
    with Project.open(labelled, "ana") as project, project.open_case("c0001") as case:
        case.session.accept_proposals(SliceAt((None, None)))
    code, out, _ = run("project", "report", labelled, "--output", tmp_path / "tables")
    assert (
        code == 0
        and "in all: 1 slice accepted" in out
        and "1 proposal, 1 accepted without a change; mean Dice 1.00" in out
    )
    assert (tmp_path / "tables" / "proposals.csv").read_text().count("c0001") == 1
    code, out, _ = run("project", "report", labelled, "--json")
    value = json.loads(out)
    assert value["total"]["n_slices"] == 1 and value["models"][0]["name"] == "both" and value["stop"]["plateau"] is None


def test_export_and_import(run, nifti, tmp_path):
    source, _ = nifti
    run("project", "init", tmp_path / "p", "--class", "disk")
    run("project", "add", tmp_path / "p", source)
    code, _, err = run("project", "export", tmp_path / "p", "--format", "nifti", "--output", tmp_path / "out")
    assert code == 2 and "accept at least one slice" in err
    mask = tmp_path / "mask.nii.gz"
    image = nibabel.load(source)
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 9, 9), np.uint8), image.affine), mask)
    code, _, err = run("project", "import", tmp_path / "p", "c0001", mask)
    assert code == 2 and "is not on the grid" in err
    # Nothing has happened: nobody has worked on it.
    assert "c0001  0 of 6 slices accepted\n" in run("project", "status", tmp_path / "p")[1]
    labels = np.zeros(image.shape, np.uint8)
    labels[10:20, 10:20, 1:3] = 1
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), mask)
    code, out, _ = run("project", "import", tmp_path / "p", "c0001", mask)
    assert code == 0 and "slices proposed" in out
    code, out, _ = run("project", "import", tmp_path / "p", "c0001", mask, "--accept")
    assert code == 0 and "2 slices accepted. 4 slices without a mask stay open; if all were read" in out
    code, out, _ = run("project", "import", tmp_path / "p", "c0001", mask, "--every-slice")
    assert code == 0 and "c0001  6 of 6 slices accepted" in run("project", "status", tmp_path / "p")[1]
    code, out, _ = run("project", "export", tmp_path / "p", "--format", "nifti", "--output", tmp_path / "out")
    assert code == 0 and "1 of 1 case," in out
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "out" / "c0001.nii.gz").dataobj), labels)
    nibabel.save(nibabel.Nifti1Image(labels[:, :, 1:], image.affine), mask)
    code, _, err = run("project", "import", tmp_path / "p", "c0001", mask)
    assert code == 2 and "is not on the grid of the image" in err and "--resample" in err


def test_an_empty_mask_is_exported_only_where_slices_were_read(run, labelled, tmp_path):
    run("project", "queue", labelled, "--scan", "--case", "c0001")
    out = tmp_path / "out"
    for form in ("coco", "csv"):
        code, _, err = run(
            "project", "export", labelled, "--format", form, "--case", "c0001", "--case", "c0002", "--output", out
        )
        assert code == 2 and "c0001: Nothing is accepted, 1 slice waits; accept" in err and not out.exists()
        assert "c0002: Nothing is accepted; accept" in err
    with Project.open(labelled, "ana") as project, project.open_case("c0001") as case:
        case.session.reject(SliceAt((None, None)))
        case.session.accept(SliceAt((None, None)))
    code, told, _ = run("project", "export", labelled, "--format", "coco", "--output", out)
    assert code == 0 and "1 of 2 cases, 0 refused; 1 has nothing accepted." in told
    assert json.loads((out / "annotations.json").read_text())["annotations"] == []


def test_where_two_readers_differ(run, labelled):
    code, out, _ = run("project", "disputes", labelled)
    assert code == 0 and "0 cases were read twice" in out
    for reader, second, size in (("ana", False, 20), ("ben", True, 10)):
        with Project.open(labelled, reader) as project, project.open_case("c0002", second=second) as case:
            for index in (1, 2):
                case.session.paint(
                    (slice(index, index + 1), slice(5, 5 + size), slice(5, 25)), np.ones((1, size, 20), np.uint8)
                )
                case.session.accept(SliceAt.across(0, index))
    code, out, _ = run("project", "disputes", labelled)
    assert code == 0 and "2 slices differ" in out and "c0002 slice 1: Dice disk 0.67" in out
    code, out, _ = run("project", "disputes", labelled, "--case", "c0002", "--json")
    rows = json.loads(out)
    assert [row["slice"] for row in rows] == [1, 2] and rows[0]["dice"]["disk"] == pytest.approx(2 / 3)
    code, _, err = run("project", "disputes", labelled, "--case", "c0001")
    assert code == 2 and "no second reading" in err
