"""What the decoder learner practises, and which weights it keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_medclipsam.learning.courses import Clicks, Words
from napari_medclipsam.learning.encoded import CanvasLabel
from napari_medclipsam.learning.lite_training import _frozen_parts
from napari_medclipsam.learning.practice_slices import PracticeSlice
from napari_medclipsam.models.lite.clicks import ClickDecoder
from napari_medclipsam.models.lite.encoder import load_litemedsam
from napari_medclipsam.models.lite.few_tokens import CHANNELS
from napari_medclipsam.models.lite.grounding import GroundingHead


@pytest.fixture(scope="module")
def words():
    return Words(GroundingHead(), [], {"lesion": np.ones(384, np.float32)})


def test_a_slice_and_its_mask_move_together_and_lose_some_channels(words):
    rng = np.random.default_rng(0)
    shares = torch.zeros(1, 1, 128, 128)
    shares[..., 40:60, 70:90] = 1.0
    embedding = F.avg_pool2d(shares, 2).expand(1, CHANNELS, 64, 64)
    places = set()
    for _ in range(5):
        seen, wanted = words._changed(embedding, shares, rng)
        there = seen.abs().amax((2, 3))[0] > 0
        assert 0.7 < float(there.float().mean()) < 0.95
        # What is left is as strong as the whole was, on average, and lies where the mask does.
        assert torch.allclose(seen[0, there][0] * 0.85, F.avg_pool2d(wanted, 2)[0, 0])
        assert wanted.sum() == shares.sum()
        places.add(tuple(np.argwhere(wanted[0, 0].numpy())[0]))
    assert len(places) > 1 and all(abs(y - 40) <= 16 and abs(x - 70) <= 16 for y, x in places)


def practice_slice():
    label = CanvasLabel(np.pad(np.ones((64, 64), bool), 96), None, 1.0, False)
    return PracticeSlice(np.random.default_rng(0).random((304, 64, 64)).astype(np.float16), {"lesion": label})


def test_names_tell_how_the_last_slices_were_answered():
    course = Words(GroundingHead(), [practice_slice()], {"lesion": np.ones(384, np.float32)})
    course.step(np.random.default_rng(0), 0.0, lambda _: None)
    assert len(course.recent) == 4 and all(0 <= one <= 1 for one in course.recent)


def clicks():
    decoder = ClickDecoder(load_litemedsam(_frozen_parts()["lite_medsam.pth"]))
    return Clicks(decoder.requires_grad_(True), [practice_slice()], 1)


def test_clicks_end_after_a_few_passes_however_much_time_is_left():
    few, more, most = (Clicks(torch.nn.Linear(1, 1), [practice_slice()] * n, 1).most_steps for n in (4, 20, 2000))
    assert 5 * few == more and 20 < more < most < 2000


def test_clicks_go_most_of_the_way_to_the_mean_of_their_weights_and_go_on_from_it(monkeypatch):
    monkeypatch.setattr(Clicks, "_ROUNDS", (1,))
    torch.manual_seed(0)
    course, name = clicks(), "mask_decoder.iou_token.weight"
    weights = [course.part.state_dict()[name].clone()]
    follow = course._follow

    def noted() -> None:
        follow()
        weights.append(course.part.state_dict()[name].clone())

    course._follow = noted
    for seed in range(2):
        course.step(np.random.default_rng(seed), 0.0, lambda _: None)
    assert not torch.equal(weights[0], weights[-1])
    expected = weights[0].lerp(torch.stack(weights).mean(0), 0.75)
    assert torch.allclose(course.taught()[name], expected, atol=1e-6) and not torch.equal(expected, weights[0])
    resumed = clicks()
    resumed.take_up(course.state())
    assert all(torch.equal(course.state()[key], value) for key, value in resumed.state().items())
    with pytest.raises(KeyError):
        resumed.take_up(GroundingHead().state_dict())
