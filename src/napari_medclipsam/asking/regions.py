"""What a question is about: a part of a slice, or all of it."""

from __future__ import annotations

import numpy as np

from napari_medclipsam.errors import PromptError

WHOLE = "The region is the whole image, so this is about the slice."
UNUSED = 'The question is about the slice, so the region was left out; to ask about the region, end with "here".'


def box_region(box_xyxy: tuple[float, float, float, float], shape_yx: tuple[int, int]) -> np.ndarray:
    """Return the pixels inside a box as a bool mask (height, width); maxima are inclusive.

    Raises
    ------
    PromptError
        If no pixel is inside, or its corners are swapped.
    """
    x0, y0, x1, y1 = box_xyxy
    height, width = shape_yx
    if x0 > x1 or y0 > y1:
        raise PromptError(f"The box {x0:g},{y0:g},{x1:g},{y1:g} ends before it begins; write x_min,y_min,x_max,y_max.")
    y, x = np.ogrid[:height, :width]
    mask = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    if not mask.any():
        raise PromptError(
            f"The box {x0:g},{y0:g},{x1:g},{y1:g} holds no pixel of this image of {width} x {height}; "
            "a box is x_min,y_min,x_max,y_max in pixels."
        )
    return mask


def clipped_note(box_xyxy: tuple[float, float, float, float], shape_yx: tuple[int, int]) -> tuple[str, ...]:
    """Return what the user should know of a box that reaches beyond the image; nothing for one that does not."""
    x0, y0, x1, y1 = box_xyxy
    height, width = shape_yx
    if min(x0, y0) >= 0 and x1 <= width and y1 <= height:
        return ()
    inside = (max(x0, 0), max(y0, 0), min(x1, width - 1), min(y1, height - 1))
    told = ",".join(f"{value:g}" for value in inside)
    return (f"The box reaches beyond this image of {width} x {height}; it was clipped to {told}.",)


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
