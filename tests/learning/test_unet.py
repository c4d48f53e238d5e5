"""The U-Net learner, for real: seconds on small slices, after which it draws what it was shown."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_slices import SIDE, Watcher, disk, tumours

from napari_medclipsam.errors import LearningError
from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning import checkpoint, fitting, unet
from napari_medclipsam.learning.contracts import Budget, Label, LearningCancelled, Settings
from napari_medclipsam.learning.learners import find_learner
from napari_medclipsam.models.contracts import TextGrounder
from napari_medclipsam.pipeline import segment_slice
from napari_medclipsam.saliency.certainty import mean_entropy
from synthetic import Both

pytest.importorskip("monai")
pytest.importorskip("lightning_fabric")

TINY = unet.Size(side=64, width=8, batch=6, most_steps=60, slice_bytes=20 << 20)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """As on a CPU, but smaller."""
    monkeypatch.setitem(unet.SIZES, "cpu", TINY)


def fitted(examples, folder, watch=None, **changes):
    settings = replace(Settings(budget=Budget(240), deterministic=True), **changes)
    learner = find_learner("unet")
    return learner.fit(examples, None, folder, settings, watch or Watcher()), learner.load(folder, Both(), "cpu")


def drawn(model, example, name="disk"):
    return segment_slice(example.read(), name, model, model.base).structures[0].mask_yx


def test_a_tumour_is_drawn_that_nobody_had_a_word_for(tmp_path, data_dir):
    examples = tumours(data_dir, 5)
    watch = Watcher()
    said, model = fitted(examples, tmp_path, watch)
    assert said["steps"] == 60 and said["networks"] == unet.CYCLES and said["classes"] == ["tumour"]
    # Before, nobody answers this word: nothing is drawn.
    before = segment_slice(examples[0].read(), "tumour", Both(), Both()).structures[0]
    assert not before.known
    scores = [dice(drawn(model, e, "tumour"), e.labels["tumour"].mask_yx) for e in examples]
    assert np.mean(scores) > 0.6
    assert np.mean(watch.losses[-5:]) < np.mean(watch.losses[:5])
    assert watch.fractions == sorted(watch.fractions) and watch.fractions[-1] <= 1


def test_it_answers_its_classes_and_their_other_names_and_leaves_the_rest_to_its_base(tmp_path):
    _, model = fitted([disk(k) for k in range(5)], tmp_path, phrases={"disk": ["round thing"]})
    assert isinstance(model, TextGrounder)
    unseen = disk(77)
    assert dice(drawn(model, unseen), unseen.labels["disk"].mask_yx) > 0.7
    assert dice(drawn(model, unseen, "  Round THING "), unseen.labels["disk"].mask_yx) > 0.7
    base = segment_slice(unseen.read(), "square", Both(), Both()).structures[0].mask_yx
    assert base.any() and (drawn(model, unseen, "square") == base).all()
    assert not model.saliency(unseen.read(), "circle of Willis").known


def test_it_is_least_sure_where_outlines_are(tmp_path):
    _, model = fitted([disk(k) for k in range(5)], tmp_path)
    unseen = disk(78)
    values, mask = model.saliency(unseen.read(), "disk").values_yx, unseen.labels["disk"].mask_yx
    from scipy.ndimage import binary_dilation, binary_erosion

    edge = binary_dilation(mask, iterations=2) & ~binary_erosion(mask, iterations=2)
    far = ~binary_dilation(mask, iterations=6)
    assert mean_entropy(np.where(edge, values, 0), edge) > mean_entropy(np.where(far, values, 0), far) + 0.1


def test_what_was_accepted_counts_more_than_what_was_proposed():
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    masks = torch.zeros(1, 2, 8, 8)
    masks[0, 0, :4], masks[0, 1, 4:] = 1, 1
    both = logits.expand(1, 2, 8, 8)
    trust, whole = torch.tensor([[1.0, 0.2]]), torch.ones(1, 2, dtype=torch.bool)
    unet.weighted_loss(both, masks, torch.zeros_like(masks), trust, whole).backward()
    # The drawn half wants its upper rows, the proposed one the lower: the drawn one wins.
    assert logits.grad[0, 0, :4].mean() < 0 < logits.grad[0, 0, 4:].mean()


def test_of_a_refused_proposal_only_its_own_pixels_teach():
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    refused = torch.zeros(1, 1, 8, 8)
    refused[..., :3] = 1
    none = torch.zeros(1, 1, dtype=torch.bool)
    unet.weighted_loss(logits, torch.zeros_like(refused), refused, torch.tensor([[0.8]]), none).backward()
    assert (logits.grad[..., :3] > 0).all() and not logits.grad[..., 3:].any()


def test_the_same_seed_gives_the_same_network_and_another_does_not(tmp_path, monkeypatch):
    monkeypatch.setitem(unet.SIZES, "cpu", replace(TINY, most_steps=4))
    examples = [disk(k) for k in range(3)]
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fitted(examples, tmp_path / name, seed=seed)
    a, b, c = (load_file(tmp_path / name / "unet.safetensors") for name in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


def test_a_fit_that_was_ended_goes_on_and_comes_to_the_same_end(tmp_path, monkeypatch):
    monkeypatch.setitem(unet.SIZES, "cpu", replace(TINY, most_steps=12))
    examples = [disk(k) for k in range(3)]
    with pytest.raises(LearningCancelled):
        fitted(examples, tmp_path / "a", Watcher(end_at=0.6))
    state = checkpoint.Checkpoint.read(checkpoint.checkpoint_path(tmp_path / "a"), f"unet 64 8 0 {['disk']}")
    assert state is not None and 0 < state.steps < 12 and len(state.snapshots) == 1
    watch = Watcher()
    fitted(examples, tmp_path / "a", watch)
    assert not (tmp_path / "a" / "checkpoint.safetensors").exists()
    assert min(f for f in watch.fractions if f > 0.1) > 0.4
    fitted(examples, tmp_path / "b")
    a, b = (load_file(tmp_path / name / "unet.safetensors") for name in "ab")
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_small_batches_add_up_to_the_large_one(tmp_path, monkeypatch):
    monkeypatch.setitem(unet.SIZES, "cpu", replace(TINY, most_steps=2))
    examples = [disk(k) for k in range(3)]
    whole, _ = fitted(examples, tmp_path / "a")
    small, _ = fitted(examples, tmp_path / "b", budget=Budget(240, memory_bytes=10 << 20))
    assert whole["at_once"] == 6 and small["at_once"] == 1 and small["steps"] == 2


def test_the_budget_ends_a_fit(tmp_path, monkeypatch):
    monkeypatch.setitem(unet.SIZES, "cpu", replace(TINY, most_steps=100_000))
    said, _ = fitted([disk(k) for k in range(3)], tmp_path, budget=Budget(3), deterministic=False)
    assert 0 < said["steps"] < 100_000 and said["networks"] >= 1


class Greedy:
    """A task whose batch takes more memory than there can be, unless it is a small one."""

    uneven = False

    def network(self):
        return torch.nn.Linear(1, 1)

    def loss(self, network, n, rng, progress):
        if n > 2:
            torch.empty(1 << 60, dtype=torch.uint8)
        return network(torch.ones(n, 1)).mean()


def plan(**changes):
    given = {"settings": Settings(), "seconds": 60, "batch": 8, "small_batch": 8, "most_steps": 2, "cycles": 1}
    return fitting.Plan(**{**given, "rate": 1e-3, "signature": "x", **changes})


def test_out_of_memory_halves_the_batch(tmp_path):
    found = fitting.fit(Greedy(), plan(), tmp_path, Watcher())
    assert found.figures["steps"] == 2 and found.figures["at_once"] == 2


def test_no_memory_for_one_slice_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(Greedy, "loss", lambda *_: torch.empty(1 << 60, dtype=torch.uint8).sum())
    with pytest.raises(LearningError, match="too small for one slice"):
        fitting.fit(Greedy(), plan(), tmp_path, Watcher())


def test_the_rate_begins_anew_in_each_cycle():
    rates = [fitting.cycle_rate(p, 3) for p in np.linspace(0, 0.999, 300)]
    assert max(rates) <= 1 and min(rates) > 0
    tops = [k for k in range(1, 299) if rates[k - 1] < rates[k] >= rates[k + 1]]
    assert len(tops) == 3


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        ([], "accepted slice"),
        ([disk(1)], "3 are needed"),
        ([disk(k, there=False) for k in range(4)], "Every accepted mask is empty"),
        ([replace(disk(k), read=lambda: Slice(np.full((SIDE, SIDE), 7, np.uint8))) for k in range(3)], "no contrast"),
        ([replace(disk(k), read=lambda: Slice(np.zeros((9, 9), np.uint8))) for k in range(3)], "run project verify"),
        ([replace(disk(k), labels={f"class {n}": disk(k).labels["disk"] for n in range(30)}) for k in range(3)], "24"),
    ],
)
def test_what_cannot_be_learnt_from_is_said(tmp_path, examples, words):
    with pytest.raises(LearningError, match=words) as told:
        fitted(examples, tmp_path)
    assert str(told.value).count(". ") <= 1


def test_slices_of_other_sizes_and_colours_go_together(tmp_path, monkeypatch):
    monkeypatch.setitem(unet.SIZES, "cpu", replace(TINY, most_steps=2))
    small = disk(1)
    large = np.kron(small.read().pixels, np.ones((3, 2), np.uint8))
    mask = np.kron(small.labels["disk"].mask_yx, np.ones((3, 2), bool))
    colour = Slice(np.stack([large] * 3, -1))
    mixed = [small, replace(small, read=lambda: colour, labels={"disk": Label(mask)}), disk(2)]
    said, model = fitted(mixed, tmp_path)
    assert said["slices"] == 3 and model.saliency(colour, "disk").values_yx.shape == large.shape


@pytest.mark.parametrize("file", ["unet.json", "unet.safetensors"])
def test_a_damaged_model_is_refused(tmp_path, monkeypatch, file):
    monkeypatch.setitem(unet.SIZES, "cpu", replace(TINY, most_steps=1))
    fitted([disk(k) for k in range(3)], tmp_path)
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(LearningError, match="damaged or gone"):
        find_learner("unet").load(tmp_path, Both(), "cpu")
    document = {"format": "medclipsam-unet", "version": 1, "classes": {"a": [], "b": []}, "side": 64, "width": 8}
    (tmp_path / "unet.json").write_text(json.dumps(document))
    with pytest.raises(LearningError, match="damaged or gone"):
        find_learner("unet").load(tmp_path, Both(), "cpu")


def test_a_damaged_checkpoint_is_refused(tmp_path):
    checkpoint.checkpoint_path(tmp_path).write_bytes(b"half of it")
    with pytest.raises(LearningError, match=r"checkpoint .* is damaged"):
        fitted([disk(k) for k in range(3)], tmp_path)


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    from napari_medclipsam.learning import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(LearningError, match=r'monai and lightning-fabric.*pip install "napari-medclipsam\[learn\]"'):
        fitted([disk(k) for k in range(3)], tmp_path)


def test_two_processes_share_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(unet.SIZES, "cpu", replace(TINY, most_steps=8))
    examples = [disk(k) for k in range(4)]
    watch = Watcher()
    said, model = fitted(examples, tmp_path / "a", watch, n_devices=2)
    assert said["steps"] == 8 and said["networks"] == unet.CYCLES
    assert watch.losses and watch.fractions[-1] > 0.9
    assert np.isfinite(model.saliency(examples[0].read(), "disk").values_yx).all()
    with pytest.raises(LearningCancelled):
        fitted(examples, tmp_path / "b", Watcher(end_at=0.5), n_devices=2)
    assert (tmp_path / "b" / "checkpoint.safetensors").exists()
