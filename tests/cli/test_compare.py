"""Phrasings side by side on the command line."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from napari_medclipsam.cli.preview import render_comparison
from napari_medclipsam.images.slice import Slice


def test_a_sheet_and_a_table(run, png):
    code, out, err = run("compare", png[0], "--text", "disk", "the bar", "carpet")
    assert code == 0, err
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["phrasing", "answer", "presence", "specificity"]
    assert lines[1] == ["disk", "found", "1.00", "–"] and lines[3] == ["carpet", "not", "known", "–", "–"]
    assert "not in this image" in out and out.splitlines()[-1] == "scan → scan_compare.png"
    assert Image.open("scan_compare.png").width > 3 * 320


def test_a_slice_of_a_volume_as_json(run, nifti, tmp_path):
    sheet = tmp_path / "sheet.png"
    code, out, _ = run("compare", nifti[0], "--text", "disk", "bar", "--slice", 3, "--output", sheet, "--json")
    told = json.loads(out)
    assert code == 0 and told["slice"] == 3 and sheet.exists()
    assert [p["answer"] for p in told["phrasings"]] == ["found", "not in this image"]


def test_what_is_refused(run, png, nifti):
    for words, told in (
        (["compare", nifti[0], "--text", "disk", "--slice", 7], "0 to 5"),
        (["compare", png[0], "--text", *(f"mass {n}" for n in range(7))], "6 is the limit"),
        (["compare", png[0], "--text", "disk", "--output", png[0]], "replace the input"),
        (["compare", png[0], "--text", "disk", "--output", "sheet.jpg"], ".png"),
        (["compare", "gone.png", "--text", "disk"], "gone.png"),
    ):
        code, _, err = run(*words)
        assert code == 2 and told in err, err
    assert run("compare", png[0], "--text", "carpet")[0] == 2


def test_the_words_of_a_picture_have_no_empty_boxes():
    image, values_yx = Slice(np.zeros((8, 8), np.uint8)), np.zeros((8, 8), np.float32)
    drawn = [
        render_comparison(image, [values_yx], [words], title)
        for words, title in (("tumeur\nlésée –", "slice 90 of 0–188"), ("tumeur\nlesee -", "slice 90 of 0-188"))
    ]
    assert drawn[0].tobytes() == drawn[1].tobytes()
