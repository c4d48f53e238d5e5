"""How far slices are ahead, from how far their rows are."""

from __future__ import annotations

import numpy as np

from napari_medclipsam.search.rows import Kind

# See `lead`.
_PARTS = 3


def lead(ahead: np.ndarray, kinds: np.ndarray, is_in: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far slices are ahead: by the mean of their three best parts, or by their best accepted region.

    That is the more of both. One part alone is ahead by chance too often, see `models.lite.regions.slice_score`; what a
    reader has accepted is not there by chance.

    Parameters
    ----------
    ahead, kinds, is_in : numpy.ndarray
        (n,): of each row its cosine with what was asked, less the highest with what it must not be mistaken for; what
        it is of; and whether it counts.
    starts : numpy.ndarray
        (n_slices + 1,): where each slice begins, and the end.

    Returns
    -------
    scores : numpy.ndarray
        float32 (n_slices,); −inf where nothing counts.
    rows : numpy.ndarray
        int64 (n_slices,): the row that is furthest ahead.
    """
    slices = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    regions = np.where(is_in & (kinds == Kind.REGION), ahead, -np.inf)
    parts = np.where(is_in & (kinds == Kind.PART), ahead, -np.inf)
    best_region, region_rows = best_of(regions, slices, starts)
    total, n_parts, part_rows = np.zeros(len(starts) - 1), np.zeros(len(starts) - 1), region_rows
    for turn in range(_PARTS):
        best, rows = best_of(parts, slices, starts)
        there = np.isfinite(best)
        total[there] += best[there]
        n_parts += there
        if turn == 0:
            part_rows = rows
        parts[rows] = -np.inf
    mean = np.where(n_parts > 0, total / np.maximum(n_parts, 1), -np.inf)
    by_region = best_region >= mean
    return np.maximum(mean, best_region).astype(np.float32), np.where(by_region, region_rows, part_rows)


def best_of(values: np.ndarray, slices: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest value of each slice, and the first row that has it."""
    best = np.maximum.reduceat(values, starts[:-1])
    rows = np.flatnonzero(values == best[slices])
    own = slices[rows]
    return best, rows[np.r_[True, own[1:] != own[:-1]]]
