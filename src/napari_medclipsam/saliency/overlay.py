"""A saliency map in colour over its slice."""

from __future__ import annotations

import numpy as np

from napari_medclipsam.images.slice import Slice

# Five anchors of matplotlib's viridis: rises evenly in lightness, so it also reads without colour.
_VIRIDIS = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], np.float32)
_SHARE = 0.6


def overlaid(image: Slice, values_yx: np.ndarray) -> np.ndarray:
    """Return a slice under a map in [0, 1], uint8 (rows, columns, 3): dark is 0, yellow 1."""
    values, steps = np.clip(values_yx, 0, 1), np.linspace(0, 1, len(_VIRIDIS))
    colours = np.stack([np.interp(values, steps, _VIRIDIS[:, c]) for c in range(3)], axis=-1)
    pixels = image.pixels if image.pixels.ndim == 3 else image.pixels[..., None]
    return ((1 - _SHARE) * pixels + _SHARE * colours).astype(np.uint8)
