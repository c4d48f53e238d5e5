"""The contrastive losses against their formulas, written out pair by pair in float64."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.clip_losses import LOSSES, ContrastSettings, contrastive_loss, loss_of_similarities

HARD = ContrastSettings(temperature=0.6, beta_image=0.15, beta_text=0.4)


@st.composite
def cosines(draw) -> np.ndarray:
    n = draw(st.integers(2, 7))
    values = draw(st.lists(st.floats(-1, 1), min_size=n * n, max_size=n * n))
    return np.array(values, float).reshape(n, n)


def by_hand(s: np.ndarray, loss: str, settings: ContrastSettings) -> tuple[float, np.ndarray]:
    """Return the loss and its gradient with respect to each cosine; weights are constants."""
    n, t = len(s), settings.temperature
    total, gradient = 0.0, np.zeros_like(s)
    for turned, beta in ((False, settings.beta_image), (True, settings.beta_text)):
        rows = s.T if turned else s
        for i in range(n):
            others = [j for j in range(n) if j != i]
            weights = dict.fromkeys(others, 1.0)
            if loss in ("hn-nce", "dhn-nce"):
                normalizer = sum(exp(beta * rows[i, k] / t) for k in others)
                weights = {j: (n - 1) * exp(beta * rows[i, j] / t) / normalizer for j in others}
            terms = {j: exp(rows[i, j] / t) * weights[j] for j in others}
            if loss in ("infonce", "hn-nce"):
                terms[i] = exp(rows[i, i] / t)
            total += (-rows[i, i] / t + log(sum(terms.values()))) / n
            for j in range(n):
                slope = (terms.get(j, 0.0) / sum(terms.values()) - (i == j)) / t / n
                gradient[(j, i) if turned else (i, j)] += slope
    return total, gradient


def with_gradient(s: np.ndarray, loss: str, settings: ContrastSettings, dtype=torch.float32):
    leaf = torch.tensor(s, dtype=dtype, requires_grad=True)
    value = loss_of_similarities(leaf, loss, settings)
    value.backward()
    return value.item(), leaf.grad.numpy()


@pytest.mark.parametrize("loss", LOSSES)
@settings(max_examples=40, deadline=None)
@given(s=cosines())
def test_every_loss_is_its_formula(loss, s):
    value, gradient = with_gradient(s, loss, HARD)
    expected, expected_gradient = by_hand(s, loss, HARD)
    assert value == pytest.approx(expected, abs=1e-4)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(cosines(), st.floats(0.05, 2), st.floats(0, 2))
def test_a_negative_is_pushed_away_and_more_so_the_more_alike_it_is(s, temperature, beta):
    chosen = ContrastSettings(temperature, beta, beta)
    _, gradient = with_gradient(s, "dhn-nce", chosen, torch.float64)
    negatives = ~np.eye(len(s), dtype=bool)
    assert (gradient[negatives] >= 0).all()
    assert (gradient[~negatives] < 0).all()
    more = s.copy()
    more[0, 1] += 0.1
    assert with_gradient(more, "dhn-nce", chosen, torch.float64)[1][0, 1] >= gradient[0, 1] - 1e-12


def test_in_a_row_the_most_alike_negative_is_pushed_most():
    s = torch.tensor([[0.9, 0.1, 0.5, -0.3]] * 4, dtype=torch.float64, requires_grad=True)
    rows = LOSSES["dhn-nce"](s / 0.6, 0.15)
    gradient = torch.autograd.grad(rows[0], s)[0][0]
    assert gradient[2] > gradient[1] > gradient[3] > 0 > gradient[0]
    plain = torch.autograd.grad(LOSSES["dcl"](s / 0.6, 0.15)[0], s)[0][0]
    assert gradient[2] > plain[2] and gradient[3] < plain[3]


@settings(max_examples=40, deadline=None)
@given(cosines())
def test_without_hardness_it_is_dcl_and_infonce(s):
    even = ContrastSettings(beta_image=0, beta_text=0)
    for hard, plain in (("dhn-nce", "dcl"), ("hn-nce", "infonce")):
        (a, gradient_a), (b, gradient_b) = (with_gradient(s, x, even, torch.float64) for x in (hard, plain))
        assert a == pytest.approx(b, abs=1e-6)
        np.testing.assert_allclose(gradient_a, gradient_b, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_vectors_of_any_length_and_descent(loss):
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(6, 8, generator=generator), torch.randn(6, 8, generator=generator)
    value = contrastive_loss(images, texts, loss)
    assert contrastive_loss(3 * images, 0.2 * texts, loss).item() == pytest.approx(value.item(), abs=1e-5)
    images.requires_grad_(True)
    (slope,) = torch.autograd.grad(contrastive_loss(images, texts, loss), images)
    assert contrastive_loss(images - 0.5 * slope, texts, loss) < value
    assert contrastive_loss(texts, texts, loss) < value


@pytest.mark.parametrize("loss", LOSSES)
def test_the_coldest_temperature_stays_finite(loss):
    value, gradient = with_gradient(np.eye(3), loss, ContrastSettings(temperature=0.001))
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_bad_input():
    vectors = torch.ones(1, 4)
    with pytest.raises(LearningError, match=r"this batch has 1.*at least two"):
        contrastive_loss(vectors, vectors, "dhn-nce")
    with pytest.raises(LearningError, match="this batch has 0"):
        contrastive_loss(vectors[:0], vectors[:0], "dcl")
    with pytest.raises(LearningError, match=r"as many images as texts.*\(3, 4\) and \(2, 4\)"):
        contrastive_loss(torch.ones(3, 4), torch.ones(2, 4), "dcl")
    with pytest.raises(LearningError, match="'nce'; choose one of dhn-nce, infonce, dcl, hn-nce"):
        contrastive_loss(torch.ones(3, 4), torch.ones(3, 4), "nce")
    with pytest.raises(LearningError, match="temperature must be above 0"):
        ContrastSettings(temperature=0)
    with pytest.raises(LearningError, match="at least 0"):
        ContrastSettings(beta_text=-1)
