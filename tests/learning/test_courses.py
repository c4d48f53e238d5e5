"""What the decoder learner practises, and which weights it keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_medclipsam.learning.courses import Clicks, Words
from napari_medclipsam.learning.encoded import CanvasLabel
from napari_medclipsam.learning.practice_slices import PracticeSlice
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


def test_names_learn_from_all_slices_and_keep_the_newest_weights():
    label = CanvasLabel(np.pad(np.ones((64, 64), bool), 96), None, 1.0, False)
    slices = [PracticeSlice(np.zeros((304, 64, 64), np.float16), {"lesion": label}, held) for held in (False, True)]
    words = Words(GroundingHead(), slices, {"lesion": np.ones(384, np.float32)})
    assert [one for one, _ in words._known] == slices
    assert words.look(lambda _: None) == [] and words.is_better([], [])


def test_clicks_keep_the_best_weights():
    judge = Clicks.is_better
    assert judge(None, [0.6, 0.8], [0.6, 0.7])
    assert not judge(None, [0.6, 0.7], [0.6, 0.7]) and judge(None, [], [])
