"""Which parts of a slice have a vector of their own, so that something small is found in it."""

from __future__ import annotations

import numpy as np

from napari_medclipsam.images.slice import Slice

# Overlapping thirds of what is not background: a lesion is in the middle of one of them, or nearly.
_PER_SIDE = 3
_SHARE = 0.5
_BACKGROUND = 12


def parts_of(image: Slice) -> np.ndarray:
    """Return the parts of a slice, bool (n, height, width); n is 0 where all of it is background.

    They are squares of half the size of the body, at nine places that overlap by half; those that are mostly background
    are left out.
    """
    gray = image.pixels if image.pixels.ndim == 2 else image.pixels.max(axis=2)
    body = gray > _BACKGROUND
    rows, columns = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
    masks = [np.zeros((0, *gray.shape), bool)]
    if len(rows):
        for part_y in _spans(int(rows[0]), int(rows[-1]) + 1):
            for part_x in _spans(int(columns[0]), int(columns[-1]) + 1):
                if body[part_y, part_x].mean() >= _SHARE:
                    mask = np.zeros((1, *gray.shape), bool)
                    mask[0, part_y, part_x] = True
                    masks.append(mask)
    return np.concatenate(masks)


def _spans(start: int, stop: int) -> list[slice]:
    """Return overlapping spans of half the length, one beside the other."""
    half = max(1, round((stop - start) * _SHARE))
    starts = np.linspace(start, stop - half, _PER_SIDE).round().astype(int)
    return [slice(int(first), int(first) + half) for first in dict.fromkeys(starts.tolist())]
