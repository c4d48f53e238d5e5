"""From names to a pair of models, with a CLIP model as the reader of the text."""

from __future__ import annotations

import numpy as np
import pytest

from clip_samples import noise_image, save_open_clip
from napari_medclipsam.errors import ModelError
from napari_medclipsam.models.registry import find_entry, list_models
from napari_medclipsam.pipeline import PipelineOptions, segment_slice
from napari_medclipsam.saliency import pair
from napari_medclipsam.saliency.coarse import COARSE_METHODS
from napari_medclipsam.saliency.grounder import ClipGrounder
from napari_medclipsam.saliency.methods import DEFAULT_METHOD, METHODS
from napari_medclipsam.saliency.pair import load_pair, reads_text, takes_method
from synthetic import Both


@pytest.fixture
def name(tmp_path, monkeypatch) -> str:
    """A CLIP model in a folder and a segmenter `grower`."""
    real = pair.load
    monkeypatch.setattr(pair, "load", lambda name, device=None: Both() if name == "grower" else real(name, device))
    return f"local-dir:{save_open_clip(tmp_path / 'clip', 'timm')}+grower"


@pytest.mark.parametrize("method", [None, *METHODS])
def test_a_clip_model_reads_the_text_by_the_method_that_is_named(name, method):
    grounder, segmenter = load_pair(name, "cpu", method)
    assert isinstance(grounder, ClipGrounder) and isinstance(segmenter, Both)
    assert grounder.name.endswith(f":{method or DEFAULT_METHOD}")


@pytest.mark.parametrize("coarse", COARSE_METHODS)
def test_it_runs_through_the_pipeline(name, coarse):
    grounder, segmenter = load_pair(name, "cpu")
    result = segment_slice(noise_image(), "brain tumor", grounder, segmenter, PipelineOptions(coarse=coarse))
    assert result.label_yx.shape == (40, 60)
    found = result.structures[0]
    assert np.count_nonzero(result.label_yx) == 0 or found.saliency.present


def test_a_model_with_a_saliency_of_its_own_takes_no_method(name):
    with pytest.raises(ModelError, match="'grower' has a saliency of its own"):
        load_pair("grower", "cpu", "m2ib")


def test_an_unknown_method_is_refused_before_a_model_loads(monkeypatch):
    monkeypatch.setattr(pair, "load", lambda *args: pytest.fail("loaded"))
    with pytest.raises(ModelError, match="no saliency method 'magic'"):
        load_pair("lite", None, "magic")


def test_which_models_read_text_and_which_need_a_method():
    assert takes_method("biomedclip+sam-vit-b") and takes_method("hf-hub:a/b+lite") and takes_method("local-dir:/x")
    assert not (takes_method("lite") or takes_method("sam-vit-b+lite") or takes_method("gone"))
    assert {e.name for e in list_models() if reads_text(e)} == {"lite", "biomedclip"}
    assert not reads_text(find_entry("sam-vit-b"))
