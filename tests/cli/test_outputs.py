from pathlib import Path

import pytest

from napari_medclipsam.cli.outputs import expand_inputs, plan_jobs, require_apart
from napari_medclipsam.errors import ImageError, OutputError


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_a_folder_of_images_stands_for_its_files(tmp_path):
    folder = touch(tmp_path / "f", "b.png", "a.nii.gz", "notes.txt", ".hidden.png")
    assert [p.name for p in expand_inputs([folder])] == ["a.nii.gz", "b.png"]


@pytest.mark.parametrize("names", [("1.dcm", "photo.png"), ("IM0001", "photo.jpg"), ("notes.txt",), ()])
def test_a_dicom_folder_stands_for_itself(tmp_path, names):
    folder = touch(tmp_path / "f", *names)
    assert expand_inputs([folder]) == [folder]


def test_a_missing_input_is_refused_alone_and_left_for_its_turn_in_a_batch(tmp_path):
    gone = tmp_path / "gone.png"
    with pytest.raises(ImageError, match="gone"):
        expand_inputs([gone])
    assert expand_inputs([gone, touch(tmp_path, "a.png") / "a.png"])[0] == gone


@pytest.mark.parametrize(
    ("output", "expected"),
    [(None, "scan_mask.nii.gz"), ("x.nii.gz", "x.nii.gz"), ("folder", "folder/scan_mask.nii.gz")],
)
def test_where_one_mask_goes(output, expected):
    (job,) = plan_jobs([Path("in/scan.nii.gz")], False, Path(output) if output else None, None, None)
    assert job.mask_target(".nii.gz") == Path(expected)


def test_names_in_a_batch_are_unique(tmp_path):
    inputs = [Path("a/x.png"), Path("b/x.png"), Path("b/x.jpg"), Path("y.png")]
    names = [job.name for job in plan_jobs(inputs, True, tmp_path / "out", None, None)]
    assert names == ["a_x", "b_x", "b_x-2", "y"]


def test_results_never_replace_inputs_or_each_other(tmp_path):
    with pytest.raises(OutputError, match="same file"):
        plan_jobs([Path("x.nii")], False, Path("m.nii"), Path("m.nii"), None)
    with pytest.raises(OutputError, match="folder"):
        plan_jobs([Path("a.png"), Path("b.png")], True, touch(tmp_path, "file") / "file", None, None)
    with pytest.raises(OutputError, match="input"):
        require_apart([tmp_path], [None, tmp_path])
