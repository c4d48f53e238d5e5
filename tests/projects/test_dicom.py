"""DICOM series as studies: by content, whatever their files are called, and with nothing of the patient around."""

from __future__ import annotations

import numpy as np
import pytest

from images.dicom_samples import ROOT_UID, make_slice
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import ProjectError
from napari_medclipsam.images.io import read_mask
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import images_in
from napari_medclipsam.projects.verify import verify


@pytest.fixture
def series_folder(tmp_path):
    folder = tmp_path / "SECRET_NAME"
    folder.mkdir()
    for number in range(4):
        # Stored feet first, named in another order.
        make_slice(number).save_as(folder / f"{9 - number}.dcm", enforce_file_format=True)
    return folder


@pytest.mark.parametrize("copy", [False, True])
def test_a_series_is_labelled_and_its_mask_is_on_its_grid(tmp_path, series_folder, copy):
    at = SliceAt.across(0, 1)
    with Project.create(tmp_path / "p", ["bone"], "ana") as project:
        ((_, study),) = project.add(images_in(series_folder), copy=copy)
        with project.open_case(study.case) as case:
            box = tuple(slice(1, 2) if axis == 0 else slice(1, 4) for axis in range(3))
            case.session.paint(box, np.ones((1, 3, 3), np.uint8))
            case.session.accept(at)
            expected, volume = case.mask_zyx(), case.volume
        assert expected.sum() == 9
        np.testing.assert_array_equal(read_mask(project.case_folder(study.case) / "mask.nii.gz", volume), expected)
        assert [problem for _, found in verify(project) for problem in found] == []
    for path in (tmp_path / "p").rglob("*"):
        assert "SECRET" not in path.name
        # A copy is the file as it is; studies.json says where the image is.
        if path.is_file() and path.suffix != ".dcm" and path.name != "studies.json":
            assert b"SECRET" not in path.read_bytes()


def test_renamed_files_are_the_same_series_and_a_missing_one_is_not(tmp_path, series_folder):
    with Project.create(tmp_path / "p") as project:
        ((_, study),) = project.add(images_in(series_folder))
        for path in sorted(series_folder.iterdir()):
            path.rename(path.with_name(f"x{path.name}"))
        project.open_case(study.case).close()
        (series_folder / "x9.dcm").unlink()
        with pytest.raises(ProjectError, match="has changed"):
            project.open_case(study.case)


def test_two_series_in_one_folder_are_two_cases(tmp_path, series_folder):
    for number in range(3):
        other = {"SeriesInstanceUID": f"{ROOT_UID}9", "SOPInstanceUID": f"{ROOT_UID}8.{number}", "SeriesNumber": 8}
        made = make_slice(number, **other)
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.save_as(series_folder / f"other{number}.dcm", enforce_file_format=True)
    with Project.create(tmp_path / "p") as project:
        studies = [study for _, study in project.add(images_in(series_folder))]
        assert sorted(study.grid.shape[0] for study in studies) == [3, 4]
        for study in studies:
            with project.open_case(study.case) as case:
                assert case.session.image.shape == study.grid.shape
