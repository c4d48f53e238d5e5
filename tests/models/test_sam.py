"""Segment Anything, for real, on a tiny network in Meta's file format."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from napari_medclipsam.errors import ModelError, PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models import registry
from napari_medclipsam.models.contracts import Embedding, PromptableSegmenter, PromptSet
from napari_medclipsam.models.embedding_cache import EmbeddingCache
from napari_medclipsam.models.sam import SegmentAnything, build_sam


def saved(network, path) -> bytes:
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    else:
        torch.save(network.state_dict(), path)
    return path.read_bytes()


@pytest.fixture
def network(helpers):
    torch.manual_seed(0)
    return build_sam(helpers.tiny_sam)


@pytest.fixture
def install_sam(installed, tmp_path, network, helpers):
    def do(suffix=".pth", preprocessing="sam", content=None):
        name = f"tiny{suffix}"
        content = content or saved(network, tmp_path / name)
        options = {"architecture": helpers.tiny_sam, "preprocessing": preprocessing}
        installed("tiny", {name: content}, kind="sam", options=options)

    return do


@pytest.fixture
def model(network, tmp_path):
    return SegmentAnything(network, name="tiny", model_hash="h", cache=EmbeddingCache(tmp_path / "c"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("preprocessing", ["sam", "medsam"])
def test_load_embed_and_prompt(install_sam, image, suffix, preprocessing, no_network):
    install_sam(suffix, preprocessing)
    model = registry.load("tiny", "cpu")
    assert isinstance(model, PromptableSegmenter)
    embedding = model.embed(image)
    assert embedding.features.shape == (16, 4, 4) and embedding.shape_yx == (40, 60)
    result = model.masks(embedding, PromptSet(box_xyxy=(5, 6, 30, 20)))
    assert result.logits_yx.shape == (40, 60) and result.logits_yx.dtype == np.float32
    assert 0 <= result.estimated_iou <= 1


@pytest.mark.parametrize("name", ["sam-vit-b", "medsam-vit-b", "sam-vit-l", "sam-vit-h"])
def test_catalogue_architectures_are_those_of_the_published_networks(name):
    import segment_anything

    kind = {"b": "vit_b", "l": "vit_l", "h": "vit_h"}[name[-1]]
    with torch.device("meta"):
        ours = build_sam(registry.find_entry(name).options["architecture"]).state_dict()
        theirs = segment_anything.sam_model_registry[kind]().state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


def test_masks_agree_with_the_packages_own_predictor(model, network):
    # A square image of the input size, where both map coordinates alike.
    from segment_anything import SamPredictor

    pixels = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    predictor = SamPredictor(network)
    predictor.set_image(pixels)
    points, labels = np.array([[10.0, 20], [40, 50]], np.float32), np.array([1, 0])
    box = np.array([5.0, 6, 40, 41])
    theirs, iou, _ = predictor.predict(points, labels, box, multimask_output=False, return_logits=True)
    ours = model.masks(model.embed(Slice(pixels)), PromptSet(points, labels, tuple(box)))
    np.testing.assert_allclose(ours.logits_yx, theirs[0], atol=2e-2)
    assert ours.estimated_iou == pytest.approx(float(np.clip(iou[0], 0, 1)), abs=1e-2)
    theirs, iou, _ = predictor.predict(points[:1], labels[:1], multimask_output=True, return_logits=True)
    ours = model.masks(model.embed(Slice(pixels)), PromptSet(points[:1], labels[:1]))
    np.testing.assert_allclose(ours.logits_yx, theirs[iou.argmax()], atol=2e-2)


@pytest.mark.parametrize(
    ("prompts", "several"),
    [
        (PromptSet([[5, 5]], [1]), True),
        (PromptSet([[5, 5], [9, 9]], [1, 0]), False),
        (PromptSet([[5, 5]], [1], box_xyxy=(1, 1, 9, 9)), False),
        (PromptSet(box_xyxy=(1, 1, 9, 9)), False),
        (PromptSet(mask_logits_yx=np.ones((40, 60), np.float32)), False),
        (PromptSet([[5, 5]], [0], mask_logits_yx=np.ones((40, 60), np.float32)), False),
    ],
)
def test_several_masks_only_for_a_single_point(model, image, monkeypatch, prompts, several):
    asked = []
    decoder = model._network.mask_decoder
    real = decoder.forward
    monkeypatch.setattr(decoder, "forward", lambda **kw: asked.append(kw["multimask_output"]) or real(**kw))
    assert model.masks(model.embed(image), prompts).logits_yx.shape == (40, 60)
    assert asked == [several]


def test_every_kind_of_prompt_changes_the_mask(model, image):
    embedding = model.embed(image)
    mask = np.full((40, 60), -5, np.float32)
    mask[5:15, 5:15] = 5
    results = [
        model.masks(embedding, prompts).logits_yx
        for prompts in (
            PromptSet(box_xyxy=(5, 5, 20, 20)),
            PromptSet(box_xyxy=(25, 5, 50, 20)),
            PromptSet([[10, 10]], [1], (5, 5, 20, 20)),
            PromptSet([[10, 10]], [0], (5, 5, 20, 20)),
            PromptSet(box_xyxy=(5, 5, 20, 20), mask_logits_yx=mask),
        )
    ]
    for i, one in enumerate(results):
        for other in results[i + 1 :]:
            assert not np.allclose(one, other)


@pytest.mark.parametrize("preprocessing", ["sam", "medsam"])
@pytest.mark.parametrize("shape", [(64, 64), (40, 60), (60, 40), (128, 100), (1, 50), (300, 3)])
def test_pixel_centres_map_to_pixel_centres(network, preprocessing, shape):
    model = SegmentAnything(network, name="t", model_hash="h", preprocessing=preprocessing)
    rows, columns = model.frame_yx(shape)
    height, width = shape
    corners = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]], np.float32)
    np.testing.assert_allclose(
        model._in_frame(corners, shape).numpy(), [[-0.5, -0.5], [columns - 0.5, rows - 0.5]], atol=1e-4
    )
    assert max(rows, columns) == 64


def test_medsam_scales_each_image_from_0_to_1(network, image):
    medsam = SegmentAnything(network, name="t", model_hash="h", preprocessing="medsam")
    prepared = medsam.prepared(Slice((image.pixels // 4 + 50).astype(np.uint8)))
    assert prepared.shape == (1, 3, 64, 64)
    assert float(prepared.min()) == 0 and float(prepared.max()) == 1
    flat = medsam.prepared(Slice(np.full((9, 9), 7, np.uint8)))
    assert float(flat.abs().max()) == 0


def test_an_image_is_encoded_once_even_by_another_process(network, image, tmp_path, monkeypatch):
    calls = []
    real = network.image_encoder.forward
    monkeypatch.setattr(network.image_encoder, "forward", lambda x: calls.append(1) or real(x))
    for _ in range(2):
        model = SegmentAnything(network, name="t", model_hash="h", cache=EmbeddingCache(tmp_path))
        first = model.embed(image)
        np.testing.assert_array_equal(first.features, model.embed(image).features)
    assert len(calls) == 1
    other = SegmentAnything(network, name="t", model_hash="h", preprocessing="medsam", cache=EmbeddingCache(tmp_path))
    assert other.embed(image).key != first.key
    assert len(calls) == 2


@pytest.mark.parametrize(
    "prompts",
    [
        PromptSet(),
        PromptSet([[5, 5]], [0]),
        PromptSet([[60, 5]], [1]),
        PromptSet([[5, -3]], [1]),
        PromptSet(box_xyxy=(70, 5, 90, 9)),
        PromptSet(mask_logits_yx=np.zeros((3, 3), np.float32)),
        PromptSet(mask_logits_yx=np.full((40, 60), np.nan, np.float32)),
    ],
)
def test_prompts_that_cant_be_used(model, image, prompts):
    with pytest.raises(PromptError):
        model.masks(model.embed(image), prompts)


def test_an_embedding_of_another_model(model):
    with pytest.raises(ModelError, match="same model"):
        model.masks(Embedding(np.zeros((256, 64, 64), np.float32), (40, 60), "k"), PromptSet([[5, 5]], [1]))


def test_numbers_that_are_not_finite_are_said(model, network, image, monkeypatch):
    monkeypatch.setattr(network.image_encoder, "forward", lambda x: torch.full((1, 16, 4, 4), torch.nan))
    with pytest.raises(ModelError, match="not finite"):
        model.embed(image)


class Payload:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_program_code_in_a_weights_file_is_not_run(install_sam, tmp_path, how):
    file, trace = tmp_path / "evil.pth", tmp_path / "executed"
    if how == "torch":
        torch.save({"image_encoder.pos_embed": Payload(trace)}, file)
    else:
        file.write_bytes(pickle.dumps(Payload(trace), protocol=2))
    install_sam(content=file.read_bytes())
    with pytest.raises(ModelError, match=r"refused|can't be read"):
        registry.load("tiny", "cpu")
    assert not trace.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"x", b"PK\x03\x04 not a zip", b"\x00" * 100])
def test_files_that_are_no_weights(install_sam, suffix, content):
    install_sam(suffix, content=content)
    with pytest.raises(ModelError):
        registry.load("tiny", "cpu")


def test_weights_of_another_architecture(install_sam, tmp_path, helpers):
    other = build_sam({**helpers.tiny_sam, "encoder_depth": 1, "encoder_global_attn_indexes": [0], "mask_in_chans": 8})
    install_sam(content=saved(other, tmp_path / "other.pth"))
    with pytest.raises(ModelError, match=r"of another model: \d+ missing .* of another shape"):
        registry.load("tiny", "cpu")


def test_a_wrapped_state_dict_is_unwrapped(install_sam, network, tmp_path):
    torch.save({"model": network.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    install_sam(content=(tmp_path / "w.pth").read_bytes())
    assert registry.load("tiny", "cpu").name == "tiny"


def test_a_device_that_is_not_there(install_sam):
    install_sam()
    with pytest.raises(ModelError, match="not on this machine"):
        registry.load("tiny", "cuda:99")


def test_unknown_preprocessing(network):
    with pytest.raises(ModelError, match="preprocessing"):
        SegmentAnything(network, name="t", model_hash="h", preprocessing="other")
