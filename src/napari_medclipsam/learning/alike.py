"""Whether a slice is a picture of the kind that clicks were practised on.

A click decoder that has practised on a few slices answers others of their kind better, and everything else worse. The
mean of each of the encoder's channels over the picture tells kinds apart: organ, plane and machine.
"""

from __future__ import annotations

import numpy as np

from napari_medclipsam.models.contracts import Embedding
from napari_medclipsam.models.lite.few_tokens import CHANNELS

#: Cosine distance to the nearest slice practised on. Measured between data sets of six kinds: own kind (other patients)
#: at most 0.063, brain tumours on two data sets 0.015 to 0.064, another kind from 0.054, half of them from 0.09 on.
_FURTHEST = 0.05


def summary(features: np.ndarray) -> np.ndarray:
    """Return what is compared of a slice's features (304, 64, 64): a unit vector, float32 (256,)."""
    means = features[:CHANNELS].mean((1, 2), dtype=np.float32)
    return np.asarray(means / np.linalg.norm(means), np.float32)


def is_alike(embedding: Embedding, known: np.ndarray) -> bool:
    """Tell whether a slice is of the kind of any of those summed up in `known`, (n, 256).

    Versions that were made before summaries were stored know of none, and answer all clicks, as they did.
    """
    return not len(known) or bool((known @ summary(embedding.features)).max() >= 1 - _FURTHEST)
