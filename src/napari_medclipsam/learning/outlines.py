"""Small pictures of a slice with outlines on it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_medclipsam.learning.showing import Picture

#: Okabe and Ito's green, orange and sky blue: told apart by colour-blind readers too.
ACCEPTED, BEFORE, AFTER = "#009E73", "#E69F00", "#56B4E9"
_SIDE_PX = 300
# Of what is around the structure.
_MARGIN = 0.4
_LEAST_PX = 32


def framed(picture: Picture) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of a slice around its structure twice: with what was drawn before, and after.

    Returns
    -------
    tuple of numpy.ndarray
        uint8 (rows, columns, 3) each, of one size; what was accepted is outlined in both.
    """
    part = _part(picture.accepted_yx | picture.before_yx | picture.after_yx)
    gray = picture.gray_yx[part]
    rgb = np.repeat(gray[..., None], 3, axis=2) if gray.ndim == 2 else gray[..., :3]
    times = max(1, _SIDE_PX // max(gray.shape[:2]))
    large = _enlarged(rgb, times)
    drawn = []
    for mask, color in ((picture.before_yx, BEFORE), (picture.after_yx, AFTER)):
        image = large.copy()
        for outlined, paint in ((picture.accepted_yx, ACCEPTED), (mask, color)):
            image[_outline(_enlarged(outlined[part], times))] = _rgb(paint)
        drawn.append(image)
    return drawn[0], drawn[1]


def _part(mask_yx: np.ndarray) -> tuple[slice, slice]:
    found = ndimage.find_objects(mask_yx.astype(np.uint8))
    ends = found[0] if found else tuple(slice(0, n) for n in mask_yx.shape)
    side = max(_LEAST_PX, *(round((1 + 2 * _MARGIN) * (end.stop - end.start)) for end in ends))
    parts = []
    for end, n in zip(ends, mask_yx.shape, strict=True):
        start = max(0, min((end.start + end.stop - side) // 2, n - side))
        parts.append(slice(start, min(n, start + side)))
    return parts[0], parts[1]


def _enlarged(image: np.ndarray, times: int) -> np.ndarray:
    return np.asarray(image.repeat(times, axis=0).repeat(times, axis=1))


def _outline(mask_yx: np.ndarray) -> np.ndarray:
    return np.asarray(mask_yx & ~ndimage.binary_erosion(mask_yx, iterations=2))


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))
