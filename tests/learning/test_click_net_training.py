"""Training of the click network, on discs that stand for lesions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medclipsam.learning.lite_click_net import ClickNetSettings, _objects, train_click_net, with_patch
from napari_medclipsam.learning.lite_samples import STRUCTURES, Sample
from napari_medclipsam.models.lite.click_net import ClickNet
from napari_medclipsam.models.lite.preprocess import to_canvas
from napari_medclipsam.models.lite.structure_net import StructureNet

POLYP = STRUCTURES.index("polyp")
NO_MASK = torch.full((1, 1, 256, 256), float("nan"))


def two_discs(seed: int, *, validation: bool = False) -> tuple[Sample, np.ndarray]:
    """A picture with two bright discs, a polyp each, and their centres (x, y)."""
    rng = np.random.default_rng(seed)
    ys, xs = np.indices((96, 96))
    centres = rng.integers(22, 30, (2, 2)) + np.array([[0, 0], [44, 44]])
    inside = np.any([np.hypot(xs - x, ys - y) < 14 for x, y in centres], 0)
    pixels = (rng.normal(60, 8, inside.shape) + 120 * inside).clip(0, 255).astype(np.uint8)
    bits = inside.astype(np.uint16) << POLYP
    return Sample("polyps", str(seed), pixels, bits, frozenset({"polyp"}), "", validation), centres


@pytest.fixture(scope="module")
def trained() -> ClickNet:
    torch.manual_seed(0)
    samples = [two_discs(k)[0] for k in range(6)] + [two_discs(9, validation=True)[0]]
    settings = ClickNetSettings(steps=24, batch=4, rounds=(1, 2), learning_rate=5e-3, averaging=0.5)
    return train_click_net(samples, StructureNet().state_dict(), settings, lambda row: None)


def test_it_learns_to_outline_what_is_clicked(trained: ClickNet) -> None:
    sample, centres = two_discs(20)
    canvas = torch.from_numpy(to_canvas(sample.pixels))[None]
    scale = 256 / 96
    for here, there in (centres, centres[::-1]):
        point = torch.tensor(here, dtype=torch.float32).view(1, 1, 2) * scale
        with torch.inference_mode():
            logits, quality = trained(canvas, point, torch.ones(1, 1, dtype=torch.long), NO_MASK)
        (x, y), (far_x, far_y) = (np.asarray(here * scale, int), np.asarray(there * scale, int))
        assert logits[0, y, x] > logits[0, far_y, far_x] + 0.5, "the disc that was clicked, not its like"
        assert 0 <= float(quality[0]) <= 1


def test_an_earlier_mask_and_no_mask_are_told_apart(trained: ClickNet) -> None:
    canvas, label = torch.rand(1, 3, 256, 256), torch.ones(1, 1, dtype=torch.long)
    point = torch.full((1, 1, 2), 128.0)
    with torch.inference_mode():
        none = trained(canvas, point, label, NO_MASK)[0]
        also_none = trained.draw(canvas, *trained.early(canvas), point, label, None)[0]
        empty = trained(canvas, point, label, torch.full((1, 1, 256, 256), -8.0))[0]
    assert torch.equal(none, also_none)
    assert (none - empty).abs().max() > 1e-3


def test_early_stages_stay_as_they_were_given(trained: ClickNet) -> None:
    torch.manual_seed(0)
    given, kept = StructureNet().state_dict(), trained.state_dict()
    assert torch.equal(kept["encoder.conv_stem.weight"], given["encoder.conv_stem.weight"])
    assert not torch.equal(kept["encoder.blocks.4.0.conv_pw.weight"], given["encoder.blocks.4.0.conv_pw.weight"])


def test_objects_come_from_every_picture_that_has_one() -> None:
    empty = Sample("polyps", "none", two_discs(1)[0].pixels, np.zeros((96, 96), np.uint16), frozenset({"polyp"}))
    objects = _objects([two_discs(0)[0], empty], np.random.default_rng(0))
    for _, (canvas, target) in zip(range(12), objects, strict=False):
        assert canvas.shape == (3, 256, 256) and canvas.dtype == np.float32
        assert target.shape == (256, 256) and target.sum() >= 20


def test_a_patch_can_be_seen_where_its_mask_is() -> None:
    canvas = np.full((3, 256, 256), 0.5, np.float32)
    for seed in range(8):
        changed, mask = with_patch(canvas, np.random.default_rng(seed))
        assert changed.min() >= 0 and changed.max() <= 1
        moved = np.abs(changed - canvas).mean(0)
        assert moved[mask].mean() > 4 * moved[~mask].mean()
    with_patch(np.zeros((3, 256, 256), np.float32), np.random.default_rng(0))
