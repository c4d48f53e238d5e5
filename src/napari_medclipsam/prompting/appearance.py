"""What a structure looks like, learned from one mask: which gray values lie inside it and which around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_medclipsam.images.slice import Slice

_LEVELS = 256
# Neighbouring gray values are alike; the scanner's noise is about this wide.
_SMOOTH_LEVELS = 6.0
_SMOOTH_PX = 1.0
_MOST_EVIDENCE = 4.0
_RARE = 1e-3


@dataclass(frozen=True, eq=False)
class Appearance:
    """Gray values of a structure against those around it.

    Parameters
    ----------
    evidence_by_level : numpy.ndarray
        float32 (256,): log of how much more likely a gray value is inside than outside, within ±4.
    """

    evidence_by_level: np.ndarray

    @classmethod
    def of(cls, image: Slice, mask_yx: np.ndarray) -> Appearance:
        """Learn from one slice.

        Parameters
        ----------
        image : Slice
            Colours count by their brightness.
        mask_yx : numpy.ndarray
            bool, not empty. What lies around it, as far as about its own radius, counts as outside.
        """
        gray = _gray(image)
        reach = max(3, round(0.4 * float(np.sqrt(mask_yx.sum()))))
        around = (ndimage.distance_transform_edt(~mask_yx) <= reach) & ~mask_yx
        if not around.any():
            return cls(np.zeros(_LEVELS, np.float32))
        inside, outside = (_frequencies(gray[part]) for part in (mask_yx, around))
        ratio = np.log((inside + _RARE) / (outside + _RARE))
        return cls(np.clip(ratio, -_MOST_EVIDENCE, _MOST_EVIDENCE).astype(np.float32))

    def evidence(self, image: Slice) -> np.ndarray:
        """Return how much each pixel looks like the structure: float32 (height, width), within ±4."""
        return np.asarray(ndimage.gaussian_filter(self.evidence_by_level[_gray(image)], _SMOOTH_PX))


def _gray(image: Slice) -> np.ndarray:
    pixels = image.pixels
    return pixels if pixels.ndim == 2 else pixels.mean(axis=2).astype(np.uint8)


def _frequencies(values: np.ndarray) -> np.ndarray:
    counts = np.bincount(values, minlength=_LEVELS).astype(np.float32)
    smooth = ndimage.gaussian_filter1d(counts, _SMOOTH_LEVELS, mode="nearest")
    return np.asarray(smooth / smooth.sum())
