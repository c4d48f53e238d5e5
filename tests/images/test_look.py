"""What a slice looks like in sixteen numbers."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medclipsam.images.look import look_of
from napari_medclipsam.images.slice import Slice


def test_each_field_is_its_mean():
    fields = np.arange(16, dtype=np.uint8).reshape(4, 4) * 10
    pixels = np.kron(fields, np.ones((8, 5), np.uint8))
    assert np.array_equal(look_of(Slice(pixels)), fields.ravel())
    assert np.array_equal(look_of(Slice(np.stack([pixels] * 3, axis=-1))), fields.ravel())


@pytest.mark.parametrize("shape", [(4, 4), (7, 9), (33, 130), (2, 50), (1, 1)])
def test_any_size_has_a_look(shape):
    look = look_of(Slice(np.full(shape, 200, np.uint8)))
    assert look.shape == (16,) and look.dtype == np.uint8 and set(look) <= {200}
