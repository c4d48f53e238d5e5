"""The dense CRF against the exact sum over all pairs of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medclipsam.errors import ImageError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import SaliencyMap
from napari_medclipsam.saliency.coarse import coarse_mask
from napari_medclipsam.saliency.crf import CrfSettings, crf_probability, refined


def exact(values_yx: np.ndarray, pixels: np.ndarray, s: CrfSettings) -> np.ndarray:
    """One mean-field step with both kernels as full matrices."""
    p = values_yx.astype(float).ravel()
    logistic = 1 / (1 + np.exp(-p)), 1 / (1 + np.exp(-(1 - p)))
    cost = -np.log(p + 1e-8) / (s.temperature * logistic[0]), -np.log(1 - p + 1e-8) / (s.temperature * logistic[1])
    q = np.exp(-np.stack(cost))
    q /= q.sum(axis=0)
    y, x = (a.ravel().astype(float) for a in np.indices(values_yx.shape))
    rgb = np.broadcast_to(pixels[..., None] if pixels.ndim == 2 else pixels, (*values_yx.shape, 3)).reshape(-1, 3)
    far = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    unlike = ((rgb[:, None].astype(float) - rgb) ** 2).sum(axis=2)
    energy = np.stack(cost)
    for weight, kernel in (
        (s.smooth_weight, np.exp(-far / (2 * s.smooth_sigma_px**2))),
        (
            s.bilateral_weight,
            np.exp(-far / (2 * s.bilateral_sigma_px**2) - unlike / (2 * s.bilateral_sigma_gray**2)),
        ),
    ):
        root = np.sqrt(kernel.sum(axis=1))
        energy = energy - weight * (q / root) @ kernel / root
    after = np.exp(-(energy - energy.min(axis=0)))
    return (after[0] / after.sum(axis=0)).reshape(values_yx.shape)


def scene(seed: int, color: bool, shape_yx=(40, 44)):
    """A disk with soft edges and noise, and a blurred, shifted map of it."""
    generator = np.random.default_rng(seed)
    y, x = np.indices(shape_yx)
    distance = np.hypot(y - 20, x - 20)
    gray = 80 + 60 / (1 + np.exp(distance - 11)) + generator.normal(0, 4, shape_yx)
    pixels = np.stack([gray, 0.8 * gray, 0.5 * gray + 10], axis=-1) if color else gray
    values = 1 / (1 + np.exp((np.hypot(y - 23, x - 22) - 12) / 4)) + generator.normal(0, 0.03, shape_yx)
    return np.clip(values, 0, 1).astype(np.float32), np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("sigma_px", [6.0, 60.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_close_to_the_exact_sum(seed, sigma_px, color):
    values, pixels = scene(seed, color)
    s = CrfSettings(bilateral_sigma_px=sigma_px)
    own, expected = crf_probability(values, pixels, s), exact(values, pixels, s)
    error = np.abs(own - expected)
    assert error.mean() < 0.01 and error.max() < 0.15
    assert ((own > 0.5) != (expected > 0.5)).mean() < 0.01
    # It is a step, and not the map itself.
    assert np.abs(expected - values).mean() > 0.05


def test_the_smoothness_alone_is_exact():
    values, pixels = scene(0, color=False)
    s = CrfSettings(bilateral_weight=0)
    np.testing.assert_allclose(crf_probability(values, pixels, s), exact(values, pixels, s), atol=1e-4)


def test_a_gray_image_with_three_channels_is_the_same_image():
    values, pixels = scene(0, color=False)
    np.testing.assert_array_equal(
        crf_probability(values, pixels), crf_probability(values, np.stack([pixels] * 3, axis=-1))
    )


def test_the_mask_follows_the_edge_of_the_image():
    values, pixels = scene(0, color=False)
    y, x = np.indices(values.shape)
    truth = np.hypot(y - 20, x - 20) <= 11
    saliency = SaliencyMap(values, "disk", 0.9, True)
    before = coarse_mask(saliency, "threshold", 0.5)
    after = coarse_mask(refined(saliency, Slice(pixels)), "crf")
    assert (after != truth).sum() < 0.7 * (before != truth).sum()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_map_has_no_foreground(value):
    assert not crf_probability(np.full((8, 9), value, np.float32), np.zeros((8, 9), np.uint8)).any()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 1000), st.booleans())
def test_any_image_gives_probabilities(rows, columns, seed, color):
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (rows, columns, 3) if color else (rows, columns), dtype=np.uint8)
    found = crf_probability(generator.random((rows, columns), np.float32), pixels)
    assert found.shape == (rows, columns) and found.dtype == np.float32
    assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1


def test_a_large_image_is_worked_on_at_a_smaller_size():
    values, pixels = scene(0, color=False, shape_yx=(60, 90))
    small = crf_probability(values, pixels, CrfSettings(longest_side_px=45))
    assert small.shape == (60, 90)
    full = crf_probability(values, pixels, CrfSettings(bilateral_sigma_px=120, smooth_sigma_px=6))
    assert ((small > 0.5) != (full > 0.5)).mean() < 0.03


def test_sizes_that_differ_are_refused():
    with pytest.raises(ImageError, match=r"\(8, 9\).*\(9, 8\)"):
        crf_probability(np.zeros((8, 9), np.float32), np.zeros((9, 8), np.uint8))
