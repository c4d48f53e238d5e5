"""What a folder means, to every verb."""

import pytest

from napari_medclipsam.errors import ImageError
from napari_medclipsam.images.folders import Found, list_studies, only_study

from .dicom_samples import ROOT_UID, make_slice


@pytest.fixture
def mixed(tmp_path):
    """A folder with an image of each kind and what is none."""
    folder = tmp_path / "mixed"
    series = folder / "scan" / "t1"
    series.mkdir(parents=True)
    for number in range(2):
        make_slice(number).save_as(series / f"IM{number}", enforce_file_format=True)
    for path in ("b.png", "a.nii.gz", "notes.txt", ".hidden.png", "scan/t1/film.jpg", "scan/t1/report.pdf"):
        (folder / path).write_bytes(b"x")
    return folder


def test_each_image_and_each_series_is_one_study_and_the_rest_is_named(mixed):
    listing = list_studies(mixed)
    told = [(str(found.path.relative_to(mixed)), found.series_uid) for found in listing.studies]
    series = ("scan/t1", f"{ROOT_UID}2")
    assert told == [("a.nii.gz", None), ("b.png", None), series, ("scan/t1/film.jpg", None)]
    assert listing.note.startswith("Left out, for it is no image: notes.txt, report.pdf. Readable are")


def test_what_takes_one_image_takes_a_folder_of_one_and_names_several(mixed):
    with pytest.raises(ImageError, match=r"holds 4 images.*\(a\.nii\.gz, b\.png, scan/t1 and 1 more\)"):
        only_study(mixed)
    (mixed / "scan" / "t1" / "film.jpg").unlink()
    assert only_study(mixed / "scan") == Found(mixed / "scan" / "t1", f"{ROOT_UID}2")


def test_a_series_over_several_folders_is_one_study(mixed):
    more = mixed / "scan" / "t1" / "more"
    more.mkdir()
    make_slice(2).save_as(more / "IM2", enforce_file_format=True)
    assert [found.path.name for found in list_studies(mixed / "scan").studies] == ["t1", "film.jpg"]


def test_a_damaged_slice_is_left_to_be_refused_and_a_circle_of_links_ends(mixed):
    series = mixed / "scan" / "t1"
    (series / "IM1").write_bytes((series / "IM1").read_bytes()[:150])
    (series / "again").symlink_to(mixed)
    assert Found(series) in list_studies(mixed).studies


def test_nothing_there_and_no_image_in_it(tmp_path):
    with pytest.raises(ImageError, match="no image in"):
        list_studies(tmp_path)
    with pytest.raises(ImageError, match="no file or folder"):
        list_studies(tmp_path / "gone")
