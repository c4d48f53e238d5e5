"""From a saliency map to a coarse mask and its components.

A threshold chosen from the map itself (Otsu, K-means) always finds something, also where there is nothing to find;
that is why `coarse_mask` asks for the model's verdict on presence first (MedCLIP-SAMv2, arXiv 2409.19483, does not).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import ndimage

from napari_medclipsam.errors import PromptError
from napari_medclipsam.models.contracts import SaliencyMap

CoarseMethod = Literal["threshold", "otsu", "kmeans", "crf"]
COARSE_METHODS: tuple[str, ...] = get_args(CoarseMethod)

_BINS = 256
_MAX_ITERATIONS = 100


@dataclass(frozen=True, eq=False)
class Component:
    """One connected region of a coarse mask.

    Parameters
    ----------
    mask_yx : numpy.ndarray
        bool at image size.
    box_xyxy : tuple of int
        Tight bounding box, maxima inclusive.
    area_px : int
        Number of pixels.
    score : float
        Mean saliency inside, in [0, 1].
    """

    mask_yx: np.ndarray
    box_xyxy: tuple[int, int, int, int]
    area_px: int
    score: float


def coarse_threshold(values_yx: np.ndarray, method: CoarseMethod = "threshold", level: float = 0.5) -> float:
    """Return the saliency above which a pixel belongs to the coarse mask.

    Parameters
    ----------
    values_yx : numpy.ndarray
        Saliency in [0, 1].
    method : {"threshold", "otsu", "kmeans", "crf"}
        "threshold" uses `level`, which suits a calibrated map; "otsu" and "kmeans" read the threshold off the map,
        which suits class activation maps whose scale means nothing. "crf" takes a map that ``crf.refined`` has made a
        probability, and cuts it at one half.
    level : float
        Used by "threshold" only.

    Returns
    -------
    float
        The threshold; 1.0 (nothing is above it) for a constant map under "otsu" and "kmeans".

    Raises
    ------
    PromptError
        If the method is unknown.
    """
    if method == "threshold":
        return float(level)
    if method == "crf":
        return 0.5
    if method not in COARSE_METHODS:
        raise PromptError(f"Unknown coarse-mask method {method!r}; choose one of {', '.join(COARSE_METHODS)}.")
    low, high = float(values_yx.min()), float(values_yx.max())
    if high - low < 1e-6:
        return 1.0
    counts, edges = np.histogram(values_yx, bins=_BINS, range=(low, high))
    centers = (edges[:-1] + edges[1:]) / 2
    return _otsu(counts, centers) if method == "otsu" else _kmeans(counts, centers)


def _otsu(counts: np.ndarray, centers: np.ndarray) -> float:
    """Return the threshold with the largest variance between the classes (Otsu 1979), from a histogram."""
    weight_low = np.cumsum(counts).astype(float)
    weight_high = weight_low[-1] - weight_low
    sum_low = np.cumsum(counts * centers)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = sum_low / weight_low - (sum_low[-1] - sum_low) / weight_high
        between = np.nan_to_num(weight_low * weight_high * gap**2)
    return float(centers[int(np.argmax(between[:-1]))])


def _kmeans(counts: np.ndarray, centers: np.ndarray) -> float:
    """Return the midpoint of the two K-means centres of a histogram.

    Started from the extremes, so that the answer doesn't depend on a seed. The objective is Otsu's; Otsu takes its
    global optimum, this the local one nearest to "darkest against brightest".
    """
    low, high = centers[0], centers[-1]
    for _ in range(_MAX_ITERATIONS):
        is_high = centers > (low + high) / 2
        new_low = float(np.average(centers[~is_high], weights=counts[~is_high]))
        new_high = float(np.average(centers[is_high], weights=counts[is_high]))
        if (new_low, new_high) == (low, high):
            break
        low, high = new_low, new_high
    return float((low + high) / 2)


def coarse_mask(saliency: SaliencyMap, method: CoarseMethod = "threshold", level: float = 0.5) -> np.ndarray:
    """Return where the map is above its threshold, as bool at image size; empty unless the model says "present"."""
    values = saliency.values_yx
    if not (saliency.present and saliency.known):
        return np.zeros(values.shape, bool)
    return values > coarse_threshold(values, method, level)


def components(
    mask_yx: np.ndarray,
    values_yx: np.ndarray,
    n_largest: int = 1,
    min_area_px: int = 1,
    min_share: float = 0.0,
) -> list[Component]:
    """Return the connected regions (8 neighbours) of a mask, largest first.

    Parameters
    ----------
    mask_yx : numpy.ndarray
        bool, shape of the image.
    values_yx : numpy.ndarray
        Saliency, for the scores.
    n_largest : int
        Keep at most this many.
    min_area_px : int
        Drop smaller regions.
    min_share : float
        Drop regions whose area is below this share of the largest region's: two lungs stay, crumbs go.
    """
    labels, n_found = ndimage.label(mask_yx, structure=np.ones((3, 3), bool))
    if n_found == 0:
        return []
    areas = np.bincount(labels.ravel(), minlength=n_found + 1)[1:]
    floor = max(min_area_px, min_share * areas.max())
    # A stable sort: regions of equal size stay in reading order, so that the same image gives the same prompts.
    order = [i for i in np.argsort(-areas, kind="stable") if areas[i] >= floor][:n_largest]
    boxes = ndimage.find_objects(labels)
    kept = []
    for i in order:
        rows, columns = boxes[i]
        region = labels == i + 1
        kept.append(
            Component(
                mask_yx=region,
                box_xyxy=(columns.start, rows.start, columns.stop - 1, rows.stop - 1),
                area_px=int(areas[i]),
                score=float(values_yx[region].mean()),
            )
        )
    return kept
