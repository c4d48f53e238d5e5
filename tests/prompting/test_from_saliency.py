import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medclipsam.prompting.from_saliency import (
    MAX_LOGIT,
    box_with_margin,
    inner_points,
    mask_logits,
    outer_points,
    prompts_for,
)
from napari_medclipsam.saliency.coarse import components


def disk():
    y, x = np.mgrid[:60, :80]
    mask = np.hypot(y - 30, x - 40) <= 12
    values = np.where(mask, 0.9, 0.05).astype(np.float32)
    return components(mask, values)[0], values


def test_margin_is_a_share_of_each_side():
    assert box_with_margin((20, 10, 39, 19), (100, 100), 0.1) == (18, 9, 41, 20)


@given(st.integers(0, 49), st.integers(0, 39), st.integers(0, 49), st.integers(0, 39), st.floats(0, 2))
def test_box_stays_in_the_image_and_around_its_component(xa, ya, xb, yb, margin):
    box = (min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb))
    x0, y0, x1, y1 = box_with_margin(box, (40, 50), margin)
    assert 0 <= x0 <= box[0] and 0 <= y0 <= box[1]
    assert box[2] <= x1 <= 49 and box[3] <= y1 <= 39


def test_inner_points_are_deep_spread_and_the_same_each_time():
    component, values = disk()
    points = inner_points(component, values, 5)
    assert points.shape == (5, 2) and points.dtype == np.float32
    assert points[0].tolist() == [40, 30]
    assert all(component.mask_yx[int(y), int(x)] for x, y in points)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)[np.triu_indices(5, 1)]
    assert gaps.min() >= 3
    assert np.array_equal(points, inner_points(component, values, 5))


def test_a_single_pixel_gives_one_point():
    mask = np.zeros((5, 6), bool)
    mask[2, 3] = True
    points = inner_points(components(mask, mask.astype(float))[0], mask.astype(float), 4)
    assert points.tolist() == [[3, 2]]


def test_outer_points_avoid_the_component_and_forbidden_pixels():
    component, values = disk()
    forbidden = np.zeros(values.shape, bool)
    forbidden[:, :40] = True
    points = outer_points(component, values, 6, forbidden)
    assert len(points) == 6
    for x, y in points.astype(int):
        assert not component.mask_yx[y, x] and not forbidden[y, x]


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_mask_logits_change_sign_at_the_threshold(threshold):
    values = np.linspace(0, 1, 101, dtype=np.float32)[None]
    logits = mask_logits(values, threshold)
    assert logits.dtype == np.float32 and np.isfinite(logits).all() and abs(logits).max() <= MAX_LOGIT
    clear = abs(values - threshold) > 1e-3
    assert np.array_equal((logits > 0)[clear], (values > threshold)[clear])


def test_prompts_hold_what_was_asked_for():
    component, values = disk()
    others = np.zeros(values.shape, bool)
    others[:5] = True
    prompts = prompts_for(component, values, 0.5, others_yx=others, n_positive=2, n_negative=3)
    assert prompts.point_labels.tolist() == [1, 1, 0, 0, 0]
    assert (prompts.mask_logits_yx[others] == -MAX_LOGIT).all()
    assert prompts_for(component, values, 0.5, use_mask=False).mask_logits_yx is None
