import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from asking_models import GrayModel
from synthetic import picture, save


@pytest.fixture
def run(run, monkeypatch):
    """As `run`, with a model that compares regions too."""
    model = GrayModel()
    monkeypatch.setattr("napari_medclipsam.saliency.pair.load", lambda name, device=None: model)
    return run


def test_is_it_there(run, png, tmp_path):
    code, out, err = run("ask", png[0], "is there a disk?", "--saliency", "map.png")
    assert code == 0, err
    assert "yes (sure, 1.00)" in out and "not a diagnosis" in err
    seen = np.asarray(Image.open(tmp_path / "here" / "map.png"))
    assert seen[png[1]["disk"]].mean() > 4 * seen.mean()


def test_json_of_a_choice_with_a_box(run, png):
    code, out, _ = run("ask", png[0], "which of these: bar, disk, square", "--box", "40,38,52,50", "--json")
    told = json.loads(out)
    assert code == 0 and (told["answer"], told["confidence"], told["about"]) == ("square", "sure", "region")
    assert told["candidates"][0]["words"] == "square" and told["slice"] == 0


def test_what_is_this_with_the_mask_of_a_volume(run, nifti, tmp_path):
    path, mask_ijk = nifti
    source = nibabel.load(path)
    mask_path = tmp_path / "in" / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(mask_ijk.astype(np.uint8), source.affine), mask_path)
    question = ("ask", path, "What is this?", "--words", "bar,disk,square,kidney", "--region", mask_path, "--json")
    code, out, err = run(*question, "--saliency", tmp_path / "s.nii.gz")
    told = json.loads(out)
    assert code == 0 and told["answer"] == "disk" and told["slice"] == 2 and "kidney" in err
    assert told["saliency_path"] is None and not (tmp_path / "s.nii.gz").exists() and "No saliency" in err
    code, out, _ = run("ask", path, "is there a disk?", "--slice", "3", "--json", "--saliency", tmp_path / "s.nii.gz")
    assert json.loads(out)["answer"] == "yes"
    values = np.asarray(nibabel.load(tmp_path / "s.nii.gz").dataobj)
    assert not np.delete(values, 3, axis=2).any() and values[..., 3][mask_ijk[..., 3] > 0].mean() > 0.5
    assert json.loads(run("ask", path, "is there a disk?", "--slice", "0", "--json")[1])["answer"] == "no"


def test_what_cant_be_told_is_an_answer_without_a_score(run, png):
    code, out, _ = run("ask", png[0], "is there a kidney?")
    assert code == 0 and "can't tell" in out
    told = json.loads(run("ask", png[0], "is there a kidney?", "--json")[1])
    assert told["answer"] == "can't tell" and told["score"] is None and told["presence"] is None


def test_text_says_which_slice_and_what_became_of_the_box(run, nifti):
    code, out, err = run("ask", nifti[0], "is there a disk?", "--slice", "3", "--box", "5,5,90,20")
    assert code == 0 and "slice 3 of 0–5: is there a disk?" in out
    assert "clipped to 5,5,63,20" in err and "left out" in err


def test_words_are_parted_by_either_sign(run, png):
    code, out, _ = run("ask", png[0], "what is this?", "--words", "bar;disk, square", "--box", "40,38,52,50")
    assert code == 0 and "square (sure" in out


@pytest.mark.parametrize("name", ["map.jpg", "map.bmp", "map", "."])
def test_where_no_saliency_can_go_is_said_before_the_model_runs(run, png, monkeypatch, name):
    monkeypatch.setattr("napari_medclipsam.cli.ask.load_grounder", None)
    code, out, err = run("ask", png[0], "is there a disk?", "--saliency", name)
    assert code == 2 and not out and "--saliency" in err and "Unexpected" not in err


def test_a_question_before_the_image_is_put_right(run, png):
    for words in (("is there a disk?", png[0]), (png[0], "is", "there", "a", "disk?"), ("is", "there", png[0])):
        code, _, err = run("ask", *words)
        assert code == 2 and "IMAGE comes first, then the question in quotes" in err
    assert "Type a question, such as" in run("ask", png[0], "")[2]
    code, _, err = run("ask", "none.png", f"is there a {'very ' * 60}large disk?")
    assert code == 2 and "Unexpected" not in err


@pytest.mark.parametrize(
    "options",
    [
        *(["why is there a disk?"], ["is there a disk?", "--words", "disk,bar"], ["what is this?"]),
        *(
            ["what is this?", "--words", "disk"],
            ["what is this?", "--words", ",,"],
            ["is there a disk?", "--slice", "1"],
        ),
        *(["is there a disk here?", "--box", "99,99,120,120"], ["is there a disk?", "--label", "1"]),
        ["is there a disk?", "--saliency", "map.nii.gz"],
    ],
)
def test_what_cant_be_asked_is_refused_in_words(run, png, options):
    code, out, err = run("ask", png[0], *options)
    assert code == 2 and not out and err.startswith("medclipsam: ")


def test_a_region_that_is_none_is_refused(run, png, nifti, tmp_path):
    empty = save(tmp_path / "in" / "empty.png", np.zeros((64, 64), np.uint8))
    assert "is empty" in run("ask", png[0], "is this a disk?", "--region", empty)[2]
    small = save(tmp_path / "in" / "small.png", picture("disk", size=32)[0])
    assert run("ask", png[0], "is this a disk?", "--region", small)[0] == 2
    assert "say which one" in run("ask", nifti[0], "is there a disk?")[2]
