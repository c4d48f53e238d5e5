"""SAM-Mix, for real: on a tiny network in segment-anything's format, and once on medclipsam-lite."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_slices import Watcher, bare, disk

from napari_medclipsam.errors import LearningError
from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.learning import sam_mix
from napari_medclipsam.learning.contracts import Budget, LearningCancelled, Settings
from napari_medclipsam.learning.learners import find_learner
from napari_medclipsam.learning.mix_backbone import backbone_of
from napari_medclipsam.learning.mix_network import ClassHead, cam_boxes, class_loss, pooled
from napari_medclipsam.models.embedding_cache import EmbeddingCache
from napari_medclipsam.models.registry import load
from napari_medclipsam.models.sam import SegmentAnything, build_sam
from napari_medclipsam.pipeline import segment_slice
from synthetic import Both

pytest.importorskip("peft")
pytest.importorskip("lightning_fabric")

TINY_SAM = {
    "encoder_embed_dim": 32,
    "encoder_depth": 3,
    "encoder_num_heads": 2,
    "encoder_global_attn_indexes": [2],
    "image_size": 128,
    "patch_size": 8,
    "window_size": 4,
    "prompt_embed_dim": 32,
    "mask_in_chans": 16,
    "decoder_depth": 1,
    "decoder_mlp_dim": 32,
    "decoder_num_heads": 2,
    "iou_head_hidden_dim": 16,
}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A fit of seconds."""
    monkeypatch.setitem(sam_mix._MOST_STEPS, "cpu", 120)


@pytest.fixture
def tiny(tmp_path):
    torch.manual_seed(0)
    network = build_sam(TINY_SAM)
    return SegmentAnything(network, name="tiny", model_hash="h", cache=EmbeddingCache(tmp_path / "cache"))


def learnt(base, examples, folder, watch=None, **changes):
    settings = replace(Settings(budget=Budget(240), deterministic=True), **changes)
    learner = find_learner("sam-mix")
    return learner.learn(base, examples, folder, settings, watch or Watcher()), learner.load(folder, base, "cpu")


def drawn(model, example, name="disk"):
    return segment_slice(example.read(), name, model, Both()).structures[0].mask_yx


def few() -> list:
    """Three slices with masks, one known to be empty, and some of which the class is known, or nothing."""
    known = [disk(k) for k in range(3)] + [disk(9, there=False)]
    return [*known, bare(disk(20), disk=True), bare(disk(21, there=False), disk=False), bare(disk(22))]


def test_a_few_masks_teach_a_segment_anything_network_a_class(tmp_path, tiny):
    watch = Watcher()
    said, model = learnt(tiny, few(), tmp_path / "a", watch, phrases={"disk": ["round thing"]})
    assert (said["labelled"], said["unlabelled"], said["steps"]) == (4, 3, 120)
    assert np.mean(watch.losses[-10:]) < np.mean(watch.losses[:10])
    # Of random weights LoRA makes no decoder; but the classifier, which is trained whole, sees the disk.
    for example in few()[:3]:
        maps = model._seen(example.read())[1][0, 0].detach().numpy()
        mask = example.labels["disk"].mask_yx.reshape(16, 4, 16, 4).mean((1, 3)) > 0.5
        assert maps[mask].mean() > maps[~mask].mean() + 1
    assert model.saliency(few()[0].read(), "round thing").values_yx.shape == (64, 64)
    unknown = model.saliency(disk(0).read(), "liver")
    assert not unknown.known and unknown.nearest_phrase == "disk"
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"sam-mix.json", "sam-mix.safetensors"}


def test_only_lora_and_the_classifier_are_kept(tmp_path, tiny, monkeypatch):
    monkeypatch.setitem(sam_mix._MOST_STEPS, "cpu", 3)
    learnt(tiny, few(), tmp_path / "a")
    names = set(load_file(tmp_path / "a" / "sam-mix.safetensors"))
    assert all(name.startswith("head.") or "lora_" in name for name in names)
    ranks = {v.shape[0] for k, v in load_file(tmp_path / "a" / "sam-mix.safetensors").items() if "lora_A" in k}
    assert ranks == {8}
    assert {part for part in ("last", "decoder") for name in names if f"backbone.{part}." in name} == {
        "last",
        "decoder",
    }


def test_the_base_is_left_as_it_was(tmp_path, tiny, monkeypatch):
    monkeypatch.setitem(sam_mix._MOST_STEPS, "cpu", 3)
    before = {k: v.clone() for k, v in tiny.network_copy().state_dict().items()}
    learnt(tiny, few(), tmp_path / "a")
    after = tiny.network_copy().state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


def test_stem_and_backbone_are_the_encoder(tiny):
    image = disk(3).read()
    stem, backbone = backbone_of(tiny, "cpu")
    with torch.no_grad():
        whole = backbone.embed(torch.from_numpy(stem(image))[None])[0].numpy()
    np.testing.assert_allclose(whole, tiny._encode(image), atol=1e-4)


def test_what_the_head_sees_is_grad_cam():
    torch.manual_seed(0)
    head, embeddings = ClassHead(12, 3), torch.randn(1, 12, 8, 8)
    features = head.features(embeddings).detach().requires_grad_()
    maps = head.read(features)
    (gradient,) = torch.autograd.grad(pooled(maps)[0, 1], features)
    weights = gradient.mean((2, 3), keepdim=True)
    cam = (weights * features).sum(1).clamp(min=0)
    ours = (maps[:, 1] - head.read.bias[1]).clamp(min=0) / 64
    torch.testing.assert_close(ours, cam)


def test_a_box_lies_around_the_region_that_is_seen():
    values = np.zeros((16, 16), np.float32)
    values[4:8, 2:5] = 0.9
    values[11:13, 12] = 0.8
    first, second = cam_boxes(values, 4)
    x0, y0, x1, y1 = first
    assert 28 < x0 <= 32 and 60 < y0 <= 64 and 79 <= x1 < 84 and 127 <= y1 < 132
    assert second[0] > 180
    # Where nothing is likely, the likeliest place is taken.
    assert cam_boxes(values / 9, 1) == [first]
    assert cam_boxes(np.zeros((4, 4), np.float32), 1) == [(0.0, 0.0, 255.0, 255.0)]


def test_a_class_that_is_not_known_of_a_slice_teaches_nothing():
    maps = torch.zeros(1, 2, 4, 4, requires_grad=True)
    class_loss(maps, torch.tensor([[1.0, float("nan")]])).backward()
    assert (maps.grad[0, 0] < 0).all() and not maps.grad[0, 1].any()


def test_a_fit_that_was_ended_goes_on(tmp_path, tiny, monkeypatch):
    monkeypatch.setitem(sam_mix._MOST_STEPS, "cpu", 10)
    with pytest.raises(LearningCancelled):
        learnt(tiny, few(), tmp_path / "a", Watcher(end_at=0.7))
    assert (tmp_path / "a" / "checkpoint.safetensors").exists()
    said, _ = learnt(tiny, few(), tmp_path / "a")
    learnt(tiny, few(), tmp_path / "b")
    assert said["steps"] == 10
    a, b = (load_file(tmp_path / name / "sam-mix.safetensors") for name in "ab")
    assert a.keys() == b.keys() and all(torch.allclose(a[k], b[k], atol=1e-5) for k in a)


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ([], "accepted slice"),
        ([bare(disk(k), disk=True) for k in range(4)], "accepted slice"),
        ([disk(k, there=False) for k in range(4)], "Every accepted mask is empty"),
    ],
)
def test_what_cannot_be_learnt_from_is_said(tmp_path, tiny, examples, words):
    with pytest.raises(LearningError, match=words):
        learnt(tiny, examples, tmp_path / "a")


def test_another_kind_of_model_is_refused(tmp_path):
    with pytest.raises(LearningError, match="builds on lite or on a segment-anything model, and this is both"):
        learnt(Both(), few(), tmp_path / "a")


def test_a_damaged_or_foreign_model_is_refused(tmp_path, tiny, monkeypatch):
    monkeypatch.setitem(sam_mix._MOST_STEPS, "cpu", 1)
    learnt(tiny, few(), tmp_path / "a")
    path = tmp_path / "a" / "sam-mix.safetensors"
    weights = load_file(path)
    weights.pop(next(iter(weights)))
    save_file(weights, path)
    with pytest.raises(LearningError, match="damaged or gone"):
        find_learner("sam-mix").load(tmp_path / "a", tiny, "cpu")
    path.write_bytes(b"")
    with pytest.raises(LearningError, match="damaged or gone"):
        find_learner("sam-mix").load(tmp_path / "a", tiny, "cpu")


def test_missing_libraries_are_named(tmp_path, tiny, monkeypatch):
    from napari_medclipsam.learning import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(LearningError, match=r"sam-mix needs peft and lightning-fabric.*\[learn\]"):
        learnt(tiny, few(), tmp_path / "a")


def test_it_learns_on_medclipsam_lite(tmp_path, monkeypatch):
    monkeypatch.setitem(sam_mix._MOST_STEPS, "cpu", 30)
    monkeypatch.setattr(sam_mix, "_ALONE_UNTIL", 0.8)
    base = load("lite", "cpu")
    image = disk(3).read()
    stem, backbone = backbone_of(base, "cpu")
    with torch.no_grad():
        whole = backbone.embed(torch.from_numpy(stem(image))[None])[0].numpy()
    np.testing.assert_allclose(whole, base.embed(image).features[:256], atol=5e-3)
    examples = [disk(k, name="zork") for k in range(3)]
    assert not base.saliency(image, "zork").known
    _, model = learnt(base, examples, tmp_path / "a")
    scores = [dice(drawn(model, e, "zork"), e.labels["zork"].mask_yx) for e in examples]
    assert np.mean(scores) > 0.5
