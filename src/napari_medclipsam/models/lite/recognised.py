"""A click on a finding that the model recognises is a click on all of it.

One click says little about how far a structure goes. Where it falls on what `StructureNet` takes for a lesion, the box
of that lesion says the rest; a click beside it, or on an organ in which the reader may mean a part, means what it says.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_medclipsam.models.lite.preprocess import CANVAS
from napari_medclipsam.models.lite.structures import Drawn

_MARGIN = 0.03

FINDINGS = ("brain_tumor", "breast_lesion", "polyp")


def recognised_box(drawn: Drawn, points_xy: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    """Return the box, (2, 2) corners on the canvas, of the finding that clicks fall on; None if on none.

    Parameters
    ----------
    drawn : Drawn
        Of the slice.
    points_xy : numpy.ndarray
        float32 (n, 2), clicks on the canvas.
    labels : numpy.ndarray
        int (n,), 1 where the finding is and 0 where it is not.
    """
    best, found = 0.0, None
    for structure in drawn.taught.intersection(FINDINGS):
        logits = drawn.of(structure)
        step = CANVAS / logits.shape[0]
        xs, ys = np.clip((points_xy + 0.5) // step, 0, logits.shape[0] - 1).astype(int).T
        parts, _ = ndimage.label(logits > 0)
        hit = parts[ys, xs]
        one = hit[labels == 1]
        strength = float(logits[ys, xs][labels == 1].min(initial=np.inf))
        if not one.size or not one[0] or (one != one[0]).any() or (hit[labels == 0] == one[0]).any():
            continue
        if strength > best:
            best, found = strength, parts == one[0]
    if found is None:
        return None
    rows, columns = (np.flatnonzero(found.any(axis)) for axis in (1, 0))
    corners = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], np.float32) * step - 0.5
    margin = _MARGIN * (corners[1] - corners[0])
    return np.clip(corners + np.stack([-margin, margin]), 0, CANVAS - 1).astype(np.float32)
