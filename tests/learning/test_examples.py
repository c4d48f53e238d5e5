"""From a journal to what a learner is shown."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.errors import MedclipsamError, ProjectError
from napari_medclipsam.learning.examples import project_examples, volume_examples
from napari_medclipsam.projects.patients import patient_hash
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import images_in
from synthetic import Both, picture

MODEL = Both()
DISK = picture("disk")[1]["disk"]
AT = [SliceAt.across(0, index) for index in range(4)]


@pytest.fixture
def project(tmp_path):
    import nibabel

    path = tmp_path / "MUELLER_Hans.nii.gz"
    planes = np.stack([picture("disk", "square")[0]] * 4)
    nibabel.save(nibabel.Nifti1Image(planes.T, np.diag([-1.0, -1.0, 5.0, 1.0])), path)
    with Project.create(tmp_path / "project", ["disk", "square"], reader="ana") as made:
        list(made.add(images_in(path)))
    return tmp_path / "project"


def propose(session, at, text="disk"):
    session.apply(session.plan_text(at, text).run(MODEL, MODEL))


def test_what_was_decided_and_by_whom(project):
    with Project.open(project, "ana") as opened, opened.open_case("c0001") as case:
        session = case.session
        propose(session, AT[0])
        session.accept(AT[0])
        session.paint((slice(1, 2), slice(0, 64), slice(0, 64)), DISK[None].astype(np.uint8))
        session.accept(AT[1])
        propose(session, AT[2])
        session.accept_proposals(AT[2])
        propose(session, AT[3])
    found = {e.position[0]: e for e in project_examples(project)}
    assert {i: e.labels["disk"].provenance for i, e in found.items()} == {0: "accepted", 1: "drawn", 2: "propagated"}
    assert np.array_equal(found[1].labels["disk"].mask_yx, DISK)
    assert np.array_equal(found[0].read().pixels, picture("disk", "square")[0])
    every = {e.position[0]: e for e in project_examples(project, automatic=True)}
    assert every[3].labels["disk"].provenance == "automatic" and every[3].labels["disk"].mask_yx.any()


def test_what_was_refused_is_known_as_such_unless_it_was_taken_back(project):
    with Project.open(project, "ana") as opened, opened.open_case("c0001") as case:
        session = case.session
        for at in AT[:3]:
            propose(session, at)
            session.reject(at)
        session.undo()
        session.accept(AT[0], [ObjectKey(1)])
    found = {e.position[0]: e.labels["disk"] for e in project_examples(project)}
    assert set(found) == {0, 1}
    assert not found[0].mask_yx.any() and found[0].provenance == "accepted" and (found[0].rejected_yx & DISK).any()
    assert found[1].provenance == "refused" and (found[1].rejected_yx & DISK).any()


def test_a_class_that_was_clicked_on_and_not_accepted_is_known_to_be_there(project):
    with Project.open(project, "ana") as opened, opened.open_case("c0001") as case:
        session = case.session
        session.accept(AT[0])
        propose(session, AT[1])
        session.add_point(AT[2], 20, 18)
        propose(session, AT[3])
        session.add_point(AT[3], 2, 2, positive=False)
    found = {e.position[0]: (e.present, dict(e.labels)) for e in project_examples(project, unlabelled=True)}
    assert {i: present for i, (present, _) in found.items()} == {0: {}, 1: {}, 2: {"disk": True}, 3: {}}
    assert not found[2][1]


def test_nothing_is_written_while_the_project_is_open(project):
    with Project.open(project, "ana") as opened, opened.open_case("c0001") as case:
        case.session.accept(AT[0])
        before = sorted(p for p in project.rglob("*") if p.is_file())
        project_examples(project)
        assert sorted(p for p in project.rglob("*") if p.is_file()) == before


def test_a_case_whose_image_is_gone_is_left_out(project, tmp_path):
    with Project.open(project, "ana") as opened, opened.open_case("c0001") as case:
        case.session.accept(AT[0])
    (tmp_path / "MUELLER_Hans.nii.gz").unlink()
    with pytest.raises(ProjectError, match="not at"):
        project_examples(project)
    told = []
    assert project_examples(project, left_out=lambda name, error: told.append((name, error))) == []
    assert told[0][0] == "c0001" and isinstance(told[0][1], MedclipsamError)


def test_a_patient_is_told_and_kept_as_a_hash(project, tmp_path):
    with Project.open(project, "ana") as opened, opened.open_case("c0001") as case:
        case.session.accept(AT[0])
    assert project_examples(project)[0].patient == "c0001"
    with Project.open(project) as opened:
        ((_, study),) = opened.add(images_in(tmp_path / "MUELLER_Hans.nii.gz"), patient="Hans  Mueller")
        assert study.case == "c0001" and study.patient == patient_hash(opened.id, "Hans Mueller")
    assert project_examples(project)[0].patient == study.patient
    assert "Mueller" not in (project / "studies.json").read_text()


def test_studies_of_the_first_version_have_no_patient(project):
    path = project / "studies.json"
    document = json.loads(path.read_text())
    for study in document["studies"]:
        del study["patient"]
    path.write_text(json.dumps(document | {"version": 1}))
    with Project.open(project) as opened:
        assert opened.study("c0001").patient == ""


def test_dicom_says_whose_it_is(data_dir, tmp_path):
    with Project.create(tmp_path / "project", ["disk"]) as made:
        series = data_dir / "dicom" / "brain_tumor_mri"
        added = [study for name in ("t1", "flair") for _, study in made.add(images_in(series / name))]
        for study in added:
            with made.open_case(study.case) as case:
                case.session.accept(AT[0])
    found = project_examples(tmp_path / "project")
    assert len(found) == 2 and len({e.patient for e in found}) == 1 and found[0].patient.startswith("p")


def test_slices_of_a_volume_are_turned_with_their_masks(data_dir):
    folder = data_dir / "volumes" / "hippocampus"
    path = sorted((folder / "images").glob("*.nii.gz"))[0]
    found = list(volume_examples(path, folder / "labels" / path.name, "hippocampus", patient="a", plane="coronal"))
    assert all(e.read().shape_yx == e.labels["hippocampus"].mask_yx.shape for e in found)
    assert any(e.labels["hippocampus"].mask_yx.any() for e in found)
