"""The objects of a class: its connected parts in 3D, touching by faces, edges or corners."""

from __future__ import annotations

import numpy as np


def numbered_objects(mask_zyx: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Number the connected parts of a mask, largest first.

    Parameters
    ----------
    mask_zyx : numpy.ndarray
        Bool (z, y, x).

    Returns
    -------
    numbers_zyx : numpy.ndarray
        Within the bounding box of the mask (one voxel for an empty mask): 0 outside, else the object, from 1.
    start_zyx : tuple of int
        Where the box begins.
    """
    from scipy import ndimage

    ends = []
    for axis in range(3):
        used = np.flatnonzero(mask_zyx.any(axis=tuple(a for a in range(3) if a != axis)))
        ends.append((int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1))
    part = mask_zyx[tuple(slice(*end) for end in ends)]
    numbers_zyx, count = ndimage.label(part, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(numbers_zyx.ravel(), minlength=count + 1)[1:]
    rank = np.zeros(count + 1, numbers_zyx.dtype)
    rank[np.argsort(-sizes, kind="stable") + 1] = np.arange(1, count + 1)
    (z, _), (y, _), (x, _) = ends
    return rank[numbers_zyx], (z, y, x)
