"""How sure a model is of a slice, on maps with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medclipsam.models.contracts import SaliencyMap
from napari_medclipsam.saliency.certainty import Certainty, mean_entropy

MASK = np.zeros((20, 20), bool)
MASK[5:15, 5:15] = True


def seen(values: np.ndarray, **fields) -> SaliencyMap:
    return SaliencyMap(values.astype(np.float32), "disk", 0.8, True, **fields)


def test_a_map_that_is_the_mask_is_sure_and_agrees():
    sure = Certainty.of(seen(MASK), MASK)
    assert sure.presence == pytest.approx(0.8) and sure.present
    assert sure.entropy == pytest.approx(0, abs=1e-4) and sure.disagreement == pytest.approx(0)


def test_a_map_of_halves_is_one_bit_wherever_it_claims_something():
    assert mean_entropy(np.where(MASK, 0.5, 0.0), MASK) == pytest.approx(1)
    # A pixel that only the mask claims counts: the map is sure that it is wrong.
    assert mean_entropy(np.zeros(MASK.shape), MASK) == pytest.approx(0, abs=1e-4)
    assert mean_entropy(np.full(MASK.shape, 0.01), np.zeros_like(MASK)) == 0


def test_disagreement_grows_with_the_distance():
    shifted = [Certainty.of(seen(np.roll(MASK, n, axis=1)), MASK).disagreement for n in (0, 2, 5, 10)]
    assert shifted == pytest.approx([0, 0.2, 0.5, 1])
    nothing = np.zeros_like(MASK)
    assert Certainty.of(seen(nothing), nothing).disagreement == 0


def test_a_word_that_is_not_known_says_nothing():
    assert Certainty.of(seen(MASK, known=False), MASK) == Certainty(None, False, 0.0, 0.0)


def test_a_mask_without_a_text_has_the_entropy_of_its_logits():
    logits = np.where(MASK, 0.1, -30).astype(np.float16)
    sure = Certainty.of_logits(logits, None)
    assert sure.presence is None and sure.entropy == pytest.approx(1, abs=0.01) and sure.disagreement == 0
    told = Certainty.of_logits(np.where(MASK, 30, -30), seen(np.roll(MASK, 5, axis=0)))
    assert told.presence == pytest.approx(0.8) and told.disagreement == pytest.approx(0.5)
