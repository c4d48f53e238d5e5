"""Training of the network that reads structures, on discs that stand for lesions."""

from __future__ import annotations

import numpy as np
import torch

from napari_medclipsam.learning.lite_grounding import grounding_loss
from napari_medclipsam.learning.lite_samples import STRUCTURES, Sample
from napari_medclipsam.learning.lite_structures import (
    StructureSettings,
    _lesson,
    imagenet_weights,
    train_structures,
)

POLYP, TUMOR, LUNGS = (STRUCTURES.index(name) for name in ("polyp", "brain_tumor", "lungs"))


def disc(seed: int, *, validation: bool = False, empty: bool = False) -> Sample:
    rng = np.random.default_rng(seed)
    ys, xs = np.indices((96, 80))
    inside = np.hypot(ys - rng.integers(30, 66), xs - rng.integers(25, 55)) < (0 if empty else 16)
    pixels = (rng.normal(60, 15, inside.shape) + 120 * inside).clip(0, 255).astype(np.uint8)
    bits = inside.astype(np.uint16) << POLYP
    return Sample("polyps", str(seed), pixels, bits, frozenset({"polyp"}), "", validation)


def test_a_lesson_says_what_is_known() -> None:
    there, nothing = _lesson(disc(0), 1), _lesson(disc(1, empty=True), 1)
    assert there.canvas.shape == (3, 256, 256) and there.masks.shape == (len(STRUCTURES), 128, 128)
    assert there.weights[POLYP] == nothing.weights[POLYP] == 1
    assert there.there[POLYP] == 1 and not nothing.there.any()
    assert 0 < there.weights[TUMOR] < 0.1, "another organ's findings are certainly absent, and easily told"
    assert there.masks[POLYP].sum() > 50 and not there.masks[TUMOR].any()
    film = Sample("chest_xray", "0", disc(0).pixels, disc(0).bits * 0, frozenset({"lungs"}))
    weights = _lesson(film, 1).weights
    assert weights[LUNGS] == 1 and weights[STRUCTURES.index("airways")] == 0, "nobody looked for airways"


def test_the_loss_prefers_the_truth_and_ignores_what_is_not_known() -> None:
    masks = torch.zeros(1, 2, 8, 8)
    masks[0, 0, 2:5, 2:5] = 1
    weights, there = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    right, wrong = 8 * masks - 4, 4 - 8 * masks
    presence = torch.tensor([[3.0, 3.0]])
    good = grounding_loss(right, presence, masks, there, weights)
    assert good < 0.2 < grounding_loss(wrong, -presence, masks, there, weights)
    elsewhere = right.clone()
    elsewhere[0, 1] = 9
    assert grounding_loss(elsewhere, presence, masks, there, weights) == good


def test_it_learns_from_what_is_not_held_out() -> None:
    samples = [disc(k) for k in range(4)] + [disc(9, validation=True)]
    settings = StructureSettings(steps=16, batch=2, learning_rate=5e-3, averaging=0.0)
    net = train_structures(samples, settings, lambda row: None)
    held = _lesson(samples[4], 0)
    with torch.inference_mode():
        logits, presences = net(torch.from_numpy(held.canvas)[None])
    target = held.masks[POLYP] > 0.5
    assert logits[0, POLYP][target].mean() > logits[0, POLYP][~target].mean() + 0.5
    assert presences[0, POLYP] > presences[0, TUMOR]
    stem = "conv_stem.weight"
    assert torch.equal(net.encoder.state_dict()[stem], imagenet_weights()[stem]), "frozen"
