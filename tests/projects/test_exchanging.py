"""Masks of a project out and back in: DICOM, NIfTI and pictures."""

from __future__ import annotations

import json
import os

import nibabel
import numpy as np
import pytest

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.errors import GeometryError, ImageError, OutputError, ProjectError
from napari_medclipsam.exchange.case import Case as Masks
from napari_medclipsam.exchange.case import LabelClass
from napari_medclipsam.projects.exchanging import (
    FORMATS,
    export_project,
    import_into,
    labelled_cases,
    masks_of,
    read_masks,
)
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import images_in
from synthetic import Both, picture, save

AT = SliceAt.across(0, 2)
MODEL = Both()


def nothing(case, error):
    assert error is None


@pytest.fixture
def labelled(folder):
    """A project with the disk accepted in slice 2, and its mask as it is in the file."""
    with Project.open(folder, "ana") as project, project.open_case("c0001") as case:
        case.session.apply(case.session.plan_text(AT, "disk").run(MODEL, MODEL))
        case.session.accept(AT)
        mask_zyx = case.mask_zyx()
    assert mask_zyx.any()
    return folder, mask_zyx


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "dicom-seg"])
def test_every_format(labelled, tmp_path, form):
    with Project.open(labelled[0]) as project:
        assert labelled_cases(project) == ["c0001"]
        output = tmp_path / ("Dataset001_Disks" if form == "nnunet" else "sizes.csv" if form == "csv" else "out")
        export_project(project, form, output, ["c0001"], nothing)
    written = sorted(p.relative_to(tmp_path).as_posix() for p in [output, *output.rglob("*")] if p.is_file())
    assert written and all("MUELLER" not in name for name in written)
    if form == "nifti":
        assert np.array_equal(np.asarray(nibabel.load(output / "c0001.nii.gz").dataobj).T, labelled[1])


def test_what_is_open_is_exported_as_it_is(labelled, tmp_path):
    with Project.open(labelled[0]) as project, project.open_case("c0001") as case:
        case.session.accept(SliceAt.across(0, 1))
        case.session.clear(AT)
        assert np.array_equal(masks_of(project, "c0001").labels_zyx, case.mask_zyx())
        assert not case.mask_zyx().any()


def test_one_case_that_fails_is_told_and_the_others_are_written(labelled, tmp_path):
    film = save(tmp_path / "film.png", picture("disk")[0])
    told = {}
    with Project.open(labelled[0]) as project:
        list(project.add(images_in(film)))
        with project.open_case("c0002") as case:
            case.session.accept(SliceAt((None, None)), [ObjectKey(1)])
        export_project(project, "nifti", tmp_path / "out", ["c0001", "c0002"], told.__setitem__)
        assert told["c0001"] is None and "no known geometry" in str(told["c0002"])
        with pytest.raises(ImageError, match="nothing was written"):
            export_project(project, "nifti", tmp_path / "none", ["c0002"], told.__setitem__)
        with pytest.raises(ImageError, match="accept at least one"):
            export_project(project, "coco", tmp_path / "none", [], told.__setitem__)
        with pytest.raises(OutputError, match="exists already"):
            export_project(project, "nifti", tmp_path / "out", ["c0001"], told.__setitem__)

        def stop(case, error):
            raise OutputError("stopped")

        with pytest.raises(OutputError, match="stopped"):
            export_project(project, "coco", tmp_path / "none", ["c0001"], stop)
    assert not (tmp_path / "none").exists() and not list(tmp_path.glob(".partial*"))


def test_dicom_is_deidentified_with_one_key_for_the_project(tmp_path, data_dir):
    scan = data_dir / "dicom" / "brain_tumor_mri"
    with Project.create(tmp_path / "p", ["brain tumor"]) as project:
        study = next(s for _, s in project.add(images_in(scan)))
        with project.open_case(study.case) as case:
            at = SliceAt.across(0, case.session.image.shape[0] // 2)
            box = at.box((slice(40, 60), slice(40, 70)))
            case.session.paint(box, np.ones((1, 20, 30), np.uint8))
            case.session.accept(at)
        for name in ("one", "two"):
            export_project(project, "dicom-seg", tmp_path / name, [study.case], nothing, deidentify=True)
        export_project(project, "dicom-seg", tmp_path / "plain", [study.case], nothing)
        key = project.folder / "deidentification.key"
        if os.name == "posix":
            assert key.stat().st_mode & 0o077 == 0
        import pydicom

        names = {
            str(pydicom.dcmread(tmp_path / n / study.case / "images" / "0001.dcm").PatientID) for n in ("one", "two")
        }
        assert len(names) == 1 and next(iter(names)).startswith("anon-")
        assert json.loads((tmp_path / "one" / study.case / "deidentification.json").read_text())["files"]
        # Back in, onto the same voxels.
        with project.open_case(study.case) as case:
            before = case.mask_zyx()
            case.session.clear(at)
            import_into(case, read_masks(case, tmp_path / "plain" / f"{study.case}.dcm"), accept=True)
            assert np.array_equal(case.mask_zyx(), before) and len(case.session.classes) == 1
        key.write_text("no key")
        with pytest.raises(ProjectError, match="holds no key"):
            export_project(project, "dicom-seg", tmp_path / "three", [study.case], nothing, deidentify=True)


@pytest.mark.parametrize("accept", [False, True])
def test_an_import_is_one_recorded_step(labelled, scan, tmp_path, accept):
    folder, _ = labelled
    square_zyx = np.stack([picture("square")[1]["square"] * 7] * 4).astype(np.uint8)
    path = tmp_path / "square.nii.gz"
    nibabel.save(nibabel.Nifti1Image(square_zyx.T, nibabel.load(scan).affine), path)
    with Project.open(folder) as project:
        with project.open_case("c0001") as case:
            change = import_into(case, read_masks(case, path), accept=accept)
            assert f"4 slices {'accepted' if accept else 'proposed'}. Classes added: 2 label 7." in change.message
            assert len(change.slices) == 4 and case.session.undo_name.startswith("import, slices 0–3")
        with project.open_case("c0001") as case:
            name = case.session.classes[2].name
            assert name == "label 7"
            state = case.session.state(SliceAt.across(0, 1))
            key = ObjectKey(2)
            assert (state.of(key).accepted is not None) == accept and (state.of(key).proposal is None) == accept
            assert np.array_equal(case.mask_zyx() == 2, (square_zyx > 0) & accept)
            case.session.undo()
            assert not (case.mask_zyx() == 2).any() and case.session.state(SliceAt.across(0, 1)).status == "untouched"


def test_more_classes_than_there_are_labels_are_refused_before_one_is_added(labelled):
    with Project.open(labelled[0]) as project, project.open_case("c0001") as case:
        for _ in range(253):
            case.session.classes.remove(case.session.classes.add("part").label)
        labels_zyx = np.zeros(case.volume.shape_zyx, np.uint8)
        labels_zyx[1, 1, 1:4] = 1, 2, 3
        names = {1: "disk", 2: "ring", 3: "cross"}
        masks = Masks("m", case.volume, labels_zyx, [LabelClass(label, name) for label, name in names.items()])
        with pytest.raises(ProjectError, match="2 classes that the project does not have, and it has room for 1 more"):
            import_into(case, masks, accept=False)
        assert [c.name for c in case.session.classes] == ["disk"]


def test_a_label_is_not_taken_for_a_class_that_the_same_import_has_added(labelled):
    with Project.open(labelled[0]) as project, project.open_case("c0001") as case:
        for _ in range(3):
            case.session.classes.remove(case.session.classes.add("part").label)
        labels_zyx = np.zeros(case.volume.shape_zyx, np.uint8)
        labels_zyx[1, 1, 1:4] = 1, 2, 5
        masks = Masks("m", case.volume, labels_zyx, [LabelClass(label, f"label {label}") for label in (1, 2, 5)])
        assert "Classes added: 5 label 2, 6 label 5." in import_into(case, masks, accept=False).message
        assert import_into(case, masks, accept=True).message.startswith("1 slice accepted.")
        accepted = sorted(np.unique(case.mask_zyx()[1, 1, 1:4]).tolist())
        assert accepted == [1, 5, 6] and len(case.session.classes) == 3


def test_another_grid_is_refused_in_words(labelled, scan, tmp_path):
    path = tmp_path / "other.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((64, 64, 5), np.uint8), nibabel.load(scan).affine), path)
    with Project.open(labelled[0]) as project, project.open_case("c0001") as case:
        with pytest.raises(GeometryError, match="shape 5 x 64 x 64 and not 4 x 64 x 64"):
            read_masks(case, path)
        resampled = read_masks(case, path, resample=True)
        assert resampled.labels_zyx.shape == (4, 64, 64)


def test_a_picture_gets_a_picture(tmp_path):
    pixels, masks = picture("disk")
    film = save(tmp_path / "film.png", pixels)
    mask = save(tmp_path / "mask.png", masks["disk"].astype(np.uint8))
    with Project.create(tmp_path / "p", ["disk"]) as project:
        list(project.add(images_in(film)))
        with project.open_case("c0001") as case:
            import_into(case, read_masks(case, mask), accept=True)
            assert np.array_equal(case.mask_zyx()[0] > 0, masks["disk"])
            assert [c.name for c in case.session.classes] == ["disk"]
            empty = save(tmp_path / "empty.png", np.zeros_like(pixels))
            assert "empty" in import_into(case, read_masks(case, empty), accept=True).message


def test_white_on_black_is_a_mask_of_the_first_class_or_of_one_that_is_named(tmp_path):
    pixels, masks = picture("disk")
    white = save(tmp_path / "white.png", masks["disk"].astype(np.uint8) * 255)
    with Project.create(tmp_path / "p", ["disk"]) as project:
        list(project.add(images_in(save(tmp_path / "film.png", pixels))))
        with project.open_case("c0001") as case:
            assert "Classes added" not in import_into(case, read_masks(case, white), accept=True).message
            assert np.array_equal(case.mask_zyx()[0] == 1, masks["disk"])
            told = import_into(case, read_masks(case, white), accept=False, class_name="ring").message
            assert told == "1 slice proposed. Classes added: 2 ring."
            two = Masks("m", case.volume, case.mask_zyx() * 1, [LabelClass(1, "a"), LabelClass(2, "b")])
            two.labels_zyx[0, 0, 0] = 2
            with pytest.raises(ProjectError, match="m has 2 labels, and one class was given"):
                import_into(case, two, accept=False, class_name="ring")


@pytest.mark.parametrize("is_empty", [False, True])
def test_slices_without_a_mask_are_accepted_where_every_slice_was_read(labelled, scan, tmp_path, is_empty):
    folder, _ = labelled
    mask_zyx = np.zeros((4, 64, 64), np.uint8)
    mask_zyx[1, 5:9, 5:9] = not is_empty
    path = tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(mask_zyx.T, nibabel.load(scan).affine), path)
    with Project.open(folder) as project:
        with project.open_case("c0001") as case:
            # Drawn and not accepted: that stays open.
            case.session.paint((slice(3, 4), slice(0, 2), slice(0, 2)), np.ones((1, 2, 2), np.uint8))
            import_into(case, read_masks(case, path), accept=True, every_slice=True)
        with project.open_case("c0001") as case:
            states = [case.session.state(SliceAt.across(0, index)) for index in range(4)]
            assert [state.status for state in states] == ["accepted"] * 3 + ["untouched"]
            drawn = case.mask_zyx().any(axis=(1, 2)).tolist()
            assert drawn == [False, not is_empty, True, True]


def test_an_empty_mask_of_no_class_accepts_nothing(labelled):
    with Project.open(labelled[0]) as project, project.open_case("c0001") as case:
        empty = Masks("m", case.volume, np.zeros(case.volume.shape_zyx, np.uint8), [])
        with pytest.raises(ProjectError, match=r'There is no class "ring" that the slices could be without.*disk'):
            import_into(case, empty, accept=True, class_name="ring", every_slice=True)
        case.session.classes.remove(1)
        with pytest.raises(ProjectError, match="the project has no class"):
            import_into(case, empty, accept=True, every_slice=True)
        assert case.session.state(SliceAt.across(0, 0)).status == "untouched"
