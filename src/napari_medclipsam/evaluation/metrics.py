"""Overlap and surface agreement of two masks.

Conventions for empty masks: both empty is perfect agreement (1), one empty is none (0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_medclipsam.errors import GeometryError


@dataclass(frozen=True)
class Summary:
    """Mean, standard deviation, median and count of some figures; nan (n = 0) where there are none."""

    mean: float
    std: float
    median: float
    n: int


def summarize(values: Sequence[float]) -> Summary:
    """Return the `Summary` of some figures; the standard deviation is that of the population."""
    if not len(values):
        return Summary(float("nan"), float("nan"), float("nan"), 0)
    return Summary(float(np.mean(values)), float(np.std(values)), float(np.median(values)), len(values))


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return the Dice similarity coefficient (DSC) of two bool masks of equal shape, 2D or 3D."""
    _check_shapes(mask, truth)
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def normalized_surface_dice(
    mask: np.ndarray, truth: np.ndarray, tolerance: float = 2.0, spacing: Sequence[float] | None = None
) -> float:
    """Return the share of both surfaces that lies within `tolerance` of the other (NSD, Nikolov et al. 2018).

    The surface is the set of mask pixels with a neighbour (across an edge or face) outside the mask; beyond the image
    is outside.

    Parameters
    ----------
    mask, truth : numpy.ndarray
        bool, equal shape, 2D or 3D.
    tolerance : float
        In pixels, or in mm with `spacing`.
    spacing : sequence of float, optional
        mm per pixel along each axis.
    """
    _check_shapes(mask, truth)
    if not mask.any() or not truth.any():
        return float(mask.any() == truth.any())
    region = ndimage.find_objects((mask | truth).astype(np.uint8))[0]
    surface_a, surface_b = _surface(mask[region]), _surface(truth[region])
    sampling = None if spacing is None else list(spacing)
    from_b = ndimage.distance_transform_edt(~surface_b, sampling=sampling)[surface_a]
    from_a = ndimage.distance_transform_edt(~surface_a, sampling=sampling)[surface_b]
    near = int((from_b <= tolerance).sum()) + int((from_a <= tolerance).sum())
    return near / (from_a.size + from_b.size)


def box_iou(box_a_xyxy: Sequence[float], box_b_xyxy: Sequence[float]) -> float:
    """Return the intersection over union of two boxes, maxima inclusive."""
    a, b = np.asarray(box_a_xyxy, float), np.asarray(box_b_xyxy, float)
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + 1, 0, None).prod()
    return float(shared / ((a[2:] - a[:2] + 1).prod() + (b[2:] - b[:2] + 1).prod() - shared))


def _surface(mask: np.ndarray) -> np.ndarray:
    """Return the mask pixels that touch the outside."""
    return np.asarray(mask & ~ndimage.binary_erosion(mask))


def _check_shapes(mask: np.ndarray, truth: np.ndarray) -> None:
    if mask.shape != truth.shape or mask.dtype != bool or truth.dtype != bool:
        raise GeometryError(
            f"Two bool masks of one shape are compared; got {mask.dtype} {mask.shape} and {truth.dtype} {truth.shape}."
        )
