from pathlib import Path

import pytest

from napari_medclipsam.cli.outputs import expand_inputs, plan_jobs, require_apart
from napari_medclipsam.errors import ImageError, OutputError
from napari_medclipsam.images.folders import Found


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_results_in_an_input_folder_are_no_inputs(tmp_path):
    folder = touch(tmp_path / "f", "b.png", "a.nii.gz")
    touch(folder / "masks", "b_mask.png")
    listing = expand_inputs([folder], None, (folder / "masks", None))
    assert [found.path.name for found in listing.studies] == ["a.nii.gz", "b.png"]


def test_a_series_that_is_asked_for_makes_a_folder_one_input(tmp_path):
    folder = touch(tmp_path / "f", "1.dcm", "photo.png")
    assert expand_inputs([folder], "7", ()).studies == [Found(folder)]


def test_a_missing_input_is_refused_alone_and_left_for_its_turn_in_a_batch(tmp_path):
    gone = tmp_path / "gone.png"
    with pytest.raises(ImageError, match="gone"):
        expand_inputs([gone], None, ())
    both = expand_inputs([gone, touch(tmp_path, "a.png") / "a.png"], None, ())
    assert both.studies[0] == Found(gone)


@pytest.mark.parametrize(
    ("output", "expected"),
    [(None, "scan_mask.nii.gz"), ("x.nii.gz", "x.nii.gz"), ("folder", "folder/scan_mask.nii.gz")],
)
def test_where_one_mask_goes(output, expected):
    (job,) = plan_jobs([Found(Path("in/scan.nii.gz"))], False, Path(output) if output else None, None, None)
    assert job.mask_target(".nii.gz") == Path(expected)


def test_names_in_a_batch_are_unique(tmp_path):
    inputs = [Found(Path(name)) for name in ("a/x.png", "b/x.png", "b/x.jpg", "y.png")]
    names = [job.name for job in plan_jobs(inputs, True, tmp_path / "out", None, None)]
    assert names == ["a_x", "b_x", "b_x-2", "y"]


def test_results_never_replace_inputs_or_each_other(tmp_path):
    with pytest.raises(OutputError, match="same file"):
        plan_jobs([Found(Path("x.nii"))], False, Path("m.nii"), Path("m.nii"), None)
    with pytest.raises(OutputError, match="folder"):
        plan_jobs([Found(Path("a.png")), Found(Path("b.png"))], True, touch(tmp_path, "file") / "file", None, None)
    with pytest.raises(OutputError, match="input"):
        require_apart([tmp_path], [None, tmp_path])
