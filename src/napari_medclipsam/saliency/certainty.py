"""How sure a model is of what it found in a slice, as a few figures that rank slices for review."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_medclipsam.models.contracts import SaliencyMap

# Below this a pixel is background for everybody: counting it would only measure how large the image is.
_BACKGROUND = 0.05


@dataclass(frozen=True)
class Certainty:
    """How sure a model is of one structure in one slice.

    Parameters
    ----------
    presence : float, optional
        In [0, 1]: that the structure is in the slice; None where no text was asked, or it is not known.
    present : bool
        The model's verdict on `presence`.
    entropy : float
        In [0, 1]: mean binary entropy, in bits, of the pixels that the map or the mask claims; 0 where there are none.
    disagreement : float
        In [0, 1]: 1 − soft Dice between map and mask; 0 where both are empty.
    """

    presence: float | None
    present: bool
    entropy: float
    disagreement: float

    @classmethod
    def of(cls, saliency: SaliencyMap, mask_yx: np.ndarray) -> Certainty:
        """Return how sure a text is of the mask that was made from it, bool (rows, columns)."""
        if not saliency.known:
            return cls(None, False, 0.0, 0.0)
        values = saliency.values_yx
        return cls(
            float(saliency.presence), saliency.present, mean_entropy(values, mask_yx), _disagreement(values, mask_yx)
        )

    @classmethod
    def of_logits(cls, logits_yx: np.ndarray, saliency: SaliencyMap | None) -> Certainty:
        """Return how sure a mask is that was made without a text, and what the text says of it where it is known.

        Parameters
        ----------
        logits_yx : numpy.ndarray
            float (rows, columns); the mask is where they are positive.
        saliency : SaliencyMap, optional
            Of the same slice.
        """
        mask_yx = logits_yx > 0
        probability = 1 / (1 + np.exp(-np.clip(logits_yx.astype(np.float32), -30, 30)))
        entropy = mean_entropy(probability, mask_yx)
        if saliency is None or not saliency.known:
            return cls(None, False, entropy, 0.0)
        return cls(float(saliency.presence), saliency.present, entropy, _disagreement(saliency.values_yx, mask_yx))


def mean_entropy(values_yx: np.ndarray, mask_yx: np.ndarray) -> float:
    """Return the mean binary entropy, in bits, of the pixels that a map in [0, 1] or a bool mask claims; 0 for none."""
    claimed = values_yx[(values_yx > _BACKGROUND) | mask_yx].astype(np.float64)
    if not claimed.size:
        return 0.0
    p = np.clip(claimed, 1e-6, 1 - 1e-6)
    return float(np.mean(-p * np.log2(p) - (1 - p) * np.log2(1 - p)))


def _disagreement(values_yx: np.ndarray, mask_yx: np.ndarray) -> float:
    seen = np.where(values_yx > _BACKGROUND, values_yx, 0)
    total = float(seen.sum()) + int(mask_yx.sum())
    return 1 - 2 * float(seen[mask_yx].sum()) / total if total else 0.0
