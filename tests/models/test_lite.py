"""medclipsam-lite with the weights that ship, on real pictures (training and validation rows only)."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_medclipsam.errors import ImageError, ModelError, PromptError
from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import KnowsStructures, PromptableSegmenter, PromptSet, RulesOut, TextGrounder
from napari_medclipsam.models.embedding_cache import EmbeddingCache
from napari_medclipsam.models.lite.model import LiteModel
from napari_medclipsam.models.lite.preprocess import CANVAS, Fit, from_canvas, to_canvas
from napari_medclipsam.models.registry import load
from napari_medclipsam.pipeline import segment_slice

OWN = {"brain_mri": "brain tumor", "breast_us": "breast mass", "polyps": "polyp"}
"""What else is asked of each data set in `test_text_to_mask`."""


@pytest.fixture(scope="session")
def lite(tmp_path_factory: pytest.TempPathFactory) -> LiteModel:
    model = load("lite", "cpu")
    model._cache = EmbeddingCache(tmp_path_factory.mktemp("embeddings"))
    return model


def row(data_dir: Path, dataset: str, name: str) -> tuple[Slice, np.ndarray]:
    image = Image.open(data_dir / dataset / "images" / f"{name}.jpg")
    pixels = np.asarray(image.convert("L" if image.mode == "L" else "RGB"))
    return Slice(pixels), np.asarray(Image.open(data_dir / dataset / "masks" / f"{name}.png").convert("L")) > 0


def test_all_presences_at_once_are_those_of_single_maps(lite: LiteModel, data_dir: Path) -> None:
    for dataset, name, asked in (
        ("brain_mri", "1260", lite.structures),
        ("chest_xray", "2168a917", ("left lung", "polyp", "brain tumor")),
    ):
        image, _ = row(data_dir, dataset, name)
        found = lite.presences(image)
        assert tuple(found) == lite.structures and len(found) == 14
        single = {structure: lite.saliency(image, structure).presence for structure in asked}
        assert {structure: found[structure] for structure in asked} == pytest.approx(single, abs=1e-5)
    assert isinstance(lite, KnowsStructures)


def test_what_is_ruled_out_at_a_glance_is_not_encoded(lite: LiteModel, data_dir: Path) -> None:
    brain, _ = row(data_dir, "brain_mri", "1260")
    # Changed, so that no other test has encoded it.
    brain = Slice(np.ascontiguousarray(brain.pixels[::-1]))
    encoded: list[np.ndarray] = []
    encode, lite._encode = lite._encode, lambda canvas, cancelled=None: encoded.append(canvas) or encode(canvas)
    try:
        answer = lite.ruled_out(brain, "colon polyp")
        assert answer is not None and answer.known and not answer.present and answer.presence < 0.01
        assert not answer.values_yx.any() and answer.values_yx.shape == brain.shape_yx
        assert lite.ruled_out(brain, "brain tumor") is None, "it is there"
        assert lite.ruled_out(brain, "gizmo") is None, "nothing is known of it"
        assert not encoded
        seen = lite.saliency(brain, "colon polyp")
        assert not seen.present and len(encoded) == 1
        # Readers may have taught `grounded` CT; what lite itself was taught was none.
        assert not seen.knows_ct and not answer.knows_ct
        assert lite.grounded(brain, "cyst", lite.phrase_vector("cyst"), 0.0).knows_ct
    finally:
        lite._encode = encode
    assert isinstance(lite, RulesOut)


def test_phrases_name_a_structure_and_its_kind(lite: LiteModel) -> None:
    assert all(lite.structure_of(name) == (name, "") for name in lite.structures)
    assert lite.structure_of("Glioma") == ("brain tumor", "glioma")
    assert lite.structure_of("intracranial mass") == ("brain tumor", "")
    assert lite.structure_of("left lung") == ("left lung", "") and lite.structure_of("no brain tumor") == ("", "")


@given(height=st.integers(1, 600), width=st.integers(1, 600))
@settings(max_examples=25, deadline=None)
def test_canvas_round_trip_keeps_places(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width)).astype(np.uint8)
    pixels[0, 0], pixels[-1, -1] = 0, 255
    if pixels.min() == pixels.max():
        return
    canvas = to_canvas(pixels)
    fit = Fit.of((height, width))
    assert canvas.shape == (3, CANVAS, CANVAS) and canvas.dtype == np.float32
    assert canvas.min() >= 0 and canvas.max() <= 1
    assert max(fit.inner_yx) == CANVAS
    assert not canvas[:, fit.inner_yx[0] :].any() and not canvas[:, :, fit.inner_yx[1] :].any()
    assert from_canvas(canvas[0], fit).shape == (height, width)
    corners = fit.points_to_canvas(np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]))
    assert np.allclose(corners, [[-0.5, -0.5], [fit.inner_yx[1] - 0.5, fit.inner_yx[0] - 0.5]], atol=1e-3)


def test_a_place_keeps_its_place() -> None:
    pixels = np.zeros((100, 300), np.uint8)
    pixels[60:70, 200:210] = 255
    fit = Fit.of(pixels.shape)
    back = from_canvas(to_canvas(pixels)[0], fit)
    ys, xs = np.nonzero(back > 0.5)
    assert (ys.mean(), xs.mean()) == pytest.approx((64.5, 204.5), abs=0.7)


def test_fulfils_both_contracts(lite: LiteModel) -> None:
    assert isinstance(lite, TextGrounder) and isinstance(lite, PromptableSegmenter)


@pytest.mark.parametrize(
    ("dataset", "names", "text"),
    [
        ("brain_mri", ("1251", "1260", "1270", "1280"), "brain tumour on this MRI"),
        ("breast_us", ("benign_041", "benign_042", "benign_043", "benign_044"), "mass in the breast"),
        ("polyps", ("train_116",), "polyp of the colon"),
        ("chest_xray", ("2168a917",), "both lungs"),
    ],
)
def test_text_to_mask(lite: LiteModel, data_dir: Path, dataset: str, names: tuple[str, ...], text: str) -> None:
    """A floor for the mean, failures included: it shows that the parts work together, not how good they are."""
    overlaps = []
    for name in names:
        image, truth = row(data_dir, dataset, name)
        overlaps.append(dice(segment_slice(image, text, lite, lite).label_yx > 0, truth))
    assert np.mean(overlaps) > 0.5
    assert not segment_slice(image, "asdf qwerty", lite, lite).present
    for other in {"polyp", "brain tumor", "breast mass"} - {OWN.get(dataset)}:
        assert not segment_slice(image, other, lite, lite).present


def test_sides_are_the_patients(lite: LiteModel, data_dir: Path) -> None:
    image, _ = row(data_dir, "chest_xray", "2168a917")
    left, right = (lite.saliency(image, f"{side} lung").values_yx for side in ("left", "right"))
    columns = np.arange(image.shape_yx[1])
    # A frontal film shows the patient's right on the reader's left.
    assert (right.sum(0) * columns).sum() / right.sum() < (left.sum(0) * columns).sum() / left.sum()


def test_unknown_words_draw_nothing(lite: LiteModel, data_dir: Path) -> None:
    image, _ = row(data_dir, "brain_mri", "1260")
    for text in ("liver", "a red bicycle", "Leber", "肝臓", "x" * 280):
        found = lite.saliency(image, text)
        assert not found.known and not found.present and not found.values_yx.any()
        assert found.nearest_phrase


def test_text_is_not_touchy(lite: LiteModel, data_dir: Path) -> None:
    image, _ = row(data_dir, "brain_mri", "1260")
    first, second = (lite.saliency(image, t) for t in ("brain tumor", "  Brain   TUMOR "))
    assert np.array_equal(first.values_yx, second.values_yx)
    with pytest.raises(PromptError, match="empty"):
        lite.saliency(image, " \n ")


def test_clicks_boxes_and_corrections(lite: LiteModel, data_dir: Path) -> None:
    image, truth = row(data_dir, "breast_us", "benign_041")
    ys, xs = np.nonzero(truth)
    embedding = lite.embed(image)
    click = PromptSet(np.array([[xs.mean(), ys.mean()]], np.float32), np.array([1]))
    box = PromptSet(box_xyxy=(float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())))
    assert dice(lite.masks(embedding, click).mask_yx, truth) > 0.7
    found = lite.masks(embedding, box)
    assert dice(found.mask_yx, truth) > 0.85
    assert found.logits_yx.shape == image.shape_yx and 0 <= found.estimated_iou <= 1
    again = PromptSet(click.points_xy, click.point_labels, box.box_xyxy, found.logits_yx)
    assert dice(lite.masks(embedding, again).mask_yx, truth) > 0.85
    negative = PromptSet(
        np.array([[xs.mean(), ys.mean()], [2.0, 2.0]], np.float32), np.array([1, 0]), mask_logits_yx=found.logits_yx
    )
    assert not lite.masks(embedding, negative).mask_yx[2, 2]


def test_bad_prompts_are_refused(lite: LiteModel, data_dir: Path) -> None:
    image, _ = row(data_dir, "brain_mri", "1260")
    embedding = lite.embed(image)
    with pytest.raises(PromptError, match="no prompt"):
        lite.masks(embedding, PromptSet())
    with pytest.raises(PromptError, match="must agree"):
        lite.masks(embedding, PromptSet(mask_logits_yx=np.zeros((5, 5), np.float32)))
    with pytest.raises(ImageError, match="Every pixel"):
        lite.embed(Slice(np.full((40, 40), 7, np.uint8)))


def test_encoding_ahead_gives_way_and_leaves_nothing_wrong(lite: LiteModel) -> None:
    image = Slice(np.random.default_rng(3).integers(0, 255, (90, 120), np.uint8))
    asked = []

    def cancelled() -> bool:
        asked.append(time.monotonic())
        return len(asked) >= 3

    assert not lite.embed_ahead(image, cancelled)
    assert len(asked) == 3
    assert lite.embed_ahead(image, lambda: False)
    canvas = to_canvas(image.pixels)
    assert np.allclose(lite.embed(image).features[:256], lite._encode(canvas), atol=2e-2)
    # What is there already is there at once, whoever waits.
    assert lite.embed_ahead(image, lambda: True)


def test_embedding_is_computed_once_and_repeats(lite: LiteModel, data_dir: Path) -> None:
    image, _ = row(data_dir, "polyps", "train_116")
    first = lite.embed(image)
    calls = []
    encode = lite._encode
    lite._encode = lambda *given: calls.append(1) or encode(*given)  # type: ignore[assignment,func-returns-value]
    try:
        assert np.array_equal(lite.embed(image).features, first.features) and not calls
        lite.embed(Slice(np.ascontiguousarray(image.pixels[:, ::-1])))
        assert calls == [1]
    finally:
        lite._encode = encode


def test_openvino_and_torch_agree(data_dir: Path) -> None:
    from napari_medclipsam.learning.lite_training import _frozen_parts
    from napari_medclipsam.models.lite.encoder import _torch_encoder, build_encoder, load_litemedsam

    image, _ = row(data_dir, "brain_mri", "1260")
    network = load_litemedsam(_frozen_parts()["lite_medsam.pth"]).image_encoder
    canvas = to_canvas(image.pixels)
    assert np.abs(build_encoder(network, "cpu")(canvas) - _torch_encoder(network, "cpu")(canvas)).max() < 1e-4


def test_minilm_equals_transformers() -> None:
    from napari_medclipsam.learning.lite_training import _frozen_parts
    from napari_medclipsam.models.lite.text import TextEncoder

    transformers = pytest.importorskip("transformers")
    parts = _frozen_parts()
    texts = ["brain tumor", "a long sentence, with commas; about ground-glass opacities (bilateral)!", "Größe"]
    ours = TextEncoder(parts["model.safetensors"], parts["tokenizer.json"])(texts)
    folder = str(parts["tokenizer.json"].parent)
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = transformers.AutoModel.from_pretrained(folder)(**tokens).last_hidden_state
    keep = tokens["attention_mask"][..., None]
    pooled = torch.nn.functional.normalize((hidden * keep).sum(1) / keep.sum(1), dim=-1)
    assert np.abs(ours - pooled.numpy()).max() < 1e-4


def test_weights_of_another_vocabulary_are_refused(lite: LiteModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from napari_medclipsam.models.lite import parts as module

    book = module.phrase_book()
    monkeypatch.setattr(module, "phrase_book", lambda: replace(book, unknown=(*book.unknown, "new")))
    with pytest.raises(ModelError, match="do not fit together"):
        load("lite", "cpu")
