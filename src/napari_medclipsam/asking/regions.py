"""What a question is about: a part of a slice, or all of it."""

from __future__ import annotations

import numpy as np

from napari_medclipsam.errors import PromptError

WHOLE = "The region is the whole image, so this is about the slice."


def box_region(box_xyxy: tuple[float, float, float, float], shape_yx: tuple[int, int]) -> np.ndarray:
    """Return the pixels inside a box as a bool mask (height, width); maxima are inclusive.

    Raises
    ------
    PromptError
        If no pixel is inside.
    """
    x0, y0, x1, y1 = box_xyxy
    height, width = shape_yx
    y, x = np.ogrid[:height, :width]
    mask = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    if not mask.any():
        raise PromptError(
            f"The box {x0:g},{y0:g},{x1:g},{y1:g} holds no pixel of this image of {width} x {height}; "
            "a box is x_min,y_min,x_max,y_max in pixels."
        )
    return mask


def checked_region(mask_yx: np.ndarray | None, shape_yx: tuple[int, int]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return a region as a bool mask, None for the whole slice, and what the user should know of it.

    Raises
    ------
    PromptError
        If it is empty or not of the slice's shape.
    """
    if mask_yx is None:
        return None, ()
    mask = np.asarray(mask_yx).astype(bool)
    if mask.shape != shape_yx:
        raise PromptError(f"The region has shape {mask.shape} and the slice {shape_yx}; they must agree.")
    if not mask.any():
        raise PromptError("The region is empty in this slice; outline something, or draw a box.")
    return (None, (WHOLE,)) if mask.all() else (mask, ())
