"""Masks of regions, as every region encoder takes them."""

from __future__ import annotations

import numpy as np

from napari_medclipsam.errors import PromptError


def checked_masks(masks_nyx: np.ndarray, shape_yx: tuple[int, int]) -> np.ndarray:
    """Return the masks of regions as bool (n, height, width).

    Raises
    ------
    PromptError
        If one is empty or they are not of the image's shape.
    """
    masks = np.asarray(masks_nyx).astype(bool)
    if masks.ndim != 3 or masks.shape[1:] != shape_yx:
        raise PromptError(f"Masks of regions are (n, {shape_yx[0]}, {shape_yx[1]}) for this image; got {masks.shape}.")
    if not masks.any(axis=(1, 2)).all():
        raise PromptError("A region is empty; mark it with a mask or a box that holds at least one pixel.")
    return masks
