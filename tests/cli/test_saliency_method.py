"""A CLIP model on the command line, with a saliency method by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from clip_samples import save_open_clip
from napari_medclipsam.models.contracts import SaliencyMap
from napari_medclipsam.saliency.methods import METHODS
from synthetic import Both


@pytest.fixture
def clip(tmp_path, run, monkeypatch) -> str:
    """The name of a CLIP model in a folder, with a segmenter that needs no weights."""
    from napari_medclipsam.models.registry import load

    monkeypatch.setattr(
        "napari_medclipsam.saliency.pair.load",
        lambda name, device=None: Both() if name in ("lite", "grower") else load(name, "cpu"),
    )
    return f"local-dir:{save_open_clip(tmp_path / 'clip', 'plain')}+grower"


@pytest.mark.parametrize("method", METHODS)
def test_segment(run, png, clip, tmp_path, method):
    map_path = tmp_path / "map.png"
    options = ["--model", clip, "--saliency-method", method, "--saliency", map_path, "--json"]
    code, out, err = run("segment", png[0], "--text", "disk", *options)
    assert code == 0, err
    told = json.loads(out)
    assert 0 <= told["presence"] <= 1 and 0 <= told["structures"][0]["specificity"] <= 1 and map_path.exists()


def test_a_map_that_does_not_depend_on_the_text_is_said(run, png, monkeypatch):
    class Deaf(Both):
        def saliency(self, image, text):
            return SaliencyMap(np.ones(image.shape_yx, np.float32), text, 0.9, False, specificity=0.01)

    monkeypatch.setattr("napari_medclipsam.saliency.pair.load", lambda name, device=None: Deaf())
    code, out, _ = run("segment", png[0], "--text", "disk")
    assert code == 0 and "not present (presence 0.90, but the map hardly depends on the text)" in out


def test_segment_with_the_dense_crf(run, png, clip):
    assert run("segment", png[0], "--text", "disk", "--model", clip, "--coarse", "crf")[0] == 0


def test_a_method_for_a_model_that_has_its_own(run, png):
    code, _, err = run("segment", png[0], "--text", "disk", "--saliency-method", "m2ib")
    assert code == 2 and "saliency of its own" in err and "biomedclip+sam-vit-b" in err


def test_a_text_in_another_script_is_not_known(run, png, clip):
    code, _, err = run("segment", png[0], "--text", "опухоль", "--model", clip)
    assert code == 2 and "does not know" in err


@pytest.mark.parametrize("verb", ["segment", "evaluate"])
def test_the_help_says_what_each_method_is(run, capsys, verb):
    with pytest.raises(SystemExit) as ended:
        run(verb, "--help")
    told = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0 and all(info.explanation in told for info in METHODS.values())


def test_an_unknown_method(run, png):
    with pytest.raises(SystemExit) as ended:
        run("segment", png[0], "--text", "disk", "--saliency-method", "magic")
    assert ended.value.code == 2


def test_phrasings_are_compared_without_a_segmenter(run, png, clip, tmp_path):
    alone, sheet = clip.removesuffix("+grower"), tmp_path / "sheet.png"
    code, _, err = run("compare", png[0], "--text", "disk", "bar", "--model", alone, "--output", sheet)
    assert code == 0 and sheet.exists(), err
