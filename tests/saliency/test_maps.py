"""Maps at image size, stretched, compared; and the odd ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_medclipsam.saliency.maps import at_image_size, likeness, min_max

NUMBERS = st.floats(-1e6, 1e6, width=32)
MAPS = st.lists(NUMBERS, min_size=12, max_size=12).map(lambda v: torch.tensor(v).reshape(3, 4))


@given(MAPS, st.floats(0.01, 100), st.floats(-100, 100))
def test_a_stretched_map_is_in_0_to_1_whatever_its_scale(values, factor, offset):
    stretched = min_max(values)
    assert float(stretched.min()) == 0 and float(stretched.max()) in (0, 1)
    if float(values.std()) > 1e-2 * float(values.abs().max()) + 1e-2:
        torch.testing.assert_close(min_max(factor * values.double() + offset), stretched.double(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.7, -3.0, float("nan"), float("inf")])
def test_a_constant_or_broken_map_is_zero(value):
    assert not min_max(torch.full((2, 3, 3), value)).any()
    assert not at_image_size(torch.full((3, 3), value), (10, 20)).any()


def test_one_flat_map_does_not_touch_the_others():
    maps = torch.stack([torch.arange(4.0).reshape(2, 2), torch.ones(2, 2)])
    assert min_max(maps)[0].max() == 1 and not min_max(maps)[1].any()


@pytest.mark.parametrize("shape_yx", [(1, 1), (7, 3), (40, 60), (2, 500)])
def test_at_image_size(shape_yx):
    values = at_image_size(torch.arange(16.0).reshape(4, 4), shape_yx)
    assert values.shape == shape_yx and values.dtype == np.float32 and values.min() >= 0 and values.max() <= 1
    if min(shape_yx) > 1:
        assert values[0, 0] == 0 and values[-1, -1] == 1


def test_likeness_is_a_correlation_that_knows_no_scale():
    first = torch.rand(5, 5, generator=torch.Generator().manual_seed(0))
    assert likeness(first, 3 * first + 2) == pytest.approx(1)
    assert likeness(first, -first) == 0
    assert likeness(first, torch.ones(5, 5)) == likeness(torch.zeros(5, 5), first) == 0
    second = torch.rand(5, 5, generator=torch.Generator().manual_seed(1)) + first
    assert likeness(first, second) == pytest.approx(np.corrcoef(first.ravel(), second.ravel())[0, 1], abs=1e-5)
