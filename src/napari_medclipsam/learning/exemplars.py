"""Accepted slices themselves as what a structure is known by: registered to another slice, each votes with its mask.

For structures that keep their place and shape, such as the hippocampus, this finds them where a classifier of single
places does not. All of it happens on a small grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.registration import optical_flow_ilk

from napari_medclipsam.images.slice import Slice

SIDE_PX = 64
"""Longest side of the working grid; smaller pictures stay as they are."""

MOST_VOTES = 5
"""So many exemplars are registered to a slice: those that look most like it."""

_LOOK_SIGMA_PX = 2.0
_SAME_LOOK = 0.01
_CONTRAST_SIGMA_PX = 6.0
_LEAST_CONTRAST = 0.05
_FLOW_RADIUS_PX = 8
_FLOW_WARPS = 5
#: Where the flow is wrong by as much, the right place still has a vote.
_SEARCH_PX = 2
_ALIKE_SIGMA_PX = 1.5
_ALIKE = 0.004
#: Without any exemplar that looks alike at a place, the vote there is for nothing.
_LEAST_WEIGHT = 1e-12


@dataclass(frozen=True, eq=False)
class Exemplar:
    """A slice on the working grid with its mask.

    Parameters
    ----------
    gray : numpy.ndarray
        uint8 (rows, columns), from `working_gray`. It is a picture of the patient.
    shares : numpy.ndarray
        uint8, same shape: how much of each pixel the structure covers, 255 for all of it.
    trust : float
        How much its vote counts.
    """

    gray: np.ndarray
    shares: np.ndarray
    trust: float

    def __post_init__(self) -> None:
        if self.gray.ndim != 2 or self.gray.dtype != np.uint8 or 0 in self.gray.shape:
            raise ValueError(f"an exemplar is a gray uint8 picture, got {self.gray.dtype} {self.gray.shape}")
        if self.shares.shape != self.gray.shape or self.shares.dtype != np.uint8:
            raise ValueError(f"shares {self.shares.dtype} {self.shares.shape} for an exemplar of {self.gray.shape}")

    @classmethod
    def of(cls, image: Slice, mask_yx: np.ndarray, trust: float) -> Exemplar:
        """Bring a slice and its bool mask to the working grid."""
        gray = working_gray(image)
        shares = resized(mask_yx.astype(np.float32), (gray.shape[0], gray.shape[1]))
        return cls(gray, np.rint(shares * 255).astype(np.uint8), trust)


def grid_of(shape_yx: tuple[int, int]) -> tuple[int, int]:
    """Return the working grid of a picture: its longest side at most `SIDE_PX`, aspect ratio kept."""
    scale = min(1.0, SIDE_PX / max(shape_yx))
    return max(1, round(shape_yx[0] * scale)), max(1, round(shape_yx[1] * scale))


def working_gray(image: Slice) -> np.ndarray:
    """Return a slice in gray on the working grid, its 1st and 99th percentile black and white, uint8."""
    pixels = image.pixels if image.pixels.ndim == 2 else image.pixels.mean(axis=2)
    small = resized(pixels.astype(np.float32), grid_of(image.shape_yx))
    low, high = np.percentile(small, (1, 99))
    return np.rint(255 * np.clip((small - low) / max(high - low, 1.0), 0, 1)).astype(np.uint8)


def resized(values_yx: np.ndarray, shape_yx: tuple[int, int]) -> np.ndarray:
    """Return a float32 picture in another size, bilinearly, averaged where it shrinks."""
    image = Image.fromarray(np.ascontiguousarray(values_yx, np.float32))
    return np.asarray(image.resize((shape_yx[1], shape_yx[0]), Image.Resampling.BILINEAR), np.float32)


def votes(gray: np.ndarray, exemplars: Sequence[Exemplar]) -> np.ndarray:
    """Say where the structure is, by the exemplars' masks.

    Weighted label fusion: each exemplar is registered to the slice by dense optical flow, and where it looks alike
    then, there or a little beside, its mask counts, more so if the slices look alike as a whole: nothing else says
    which part of the body they show.
    Exemplars without the structure vote for nothing.

    Parameters
    ----------
    gray : numpy.ndarray
        uint8, from `working_gray`.
    exemplars : sequence of Exemplar
        Of any sizes; each is brought to that of `gray`.

    Returns
    -------
    numpy.ndarray
        float32 in [0, 1], shape of `gray`; zero without exemplars.

    References
    ----------
    Fusing the labels of registered atlases: Heckemann et al. 2006, NeuroImage 33; weights by the likeness of places and
    of those around them: Coupé et al. 2011, NeuroImage 54, and Wang et al. 2013, IEEE TPAMI 35. The flow is the
    iterative Lucas-Kanade of Le Besnerais and Champagnat 2005 on pictures of even local contrast.
    """
    target = gray.astype(np.float32) / 255
    shape = (gray.shape[0], gray.shape[1])
    placed = [resized(one.gray, shape) / 255 for one in exemplars]
    near = _nearness(target, placed)
    voted, total = np.zeros(shape), np.full(shape, _LEAST_WEIGHT)
    even = _evened(target)
    for number in np.argsort(-near, kind="stable")[:MOST_VOTES]:
        reference = placed[number]
        at = np.indices(shape) + _flow(even, _evened(reference))
        seen, share = (
            ndimage.map_coordinates(plane, at, order=1, mode="nearest")
            for plane in (reference, resized(exemplars[number].shares, shape) / 255)
        )
        for seen_there, share_there in zip(_around(seen), _around(share), strict=True):
            unlike = ndimage.gaussian_filter((seen_there - target) ** 2, _ALIKE_SIGMA_PX)
            weight = exemplars[number].trust * near[number] * np.exp(-unlike / _ALIKE)
            voted += weight * share_there
            total += weight
    return (voted / total).astype(np.float32)


def _around(plane: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the plane moved by up to `_SEARCH_PX` each way."""
    padded = np.pad(plane, _SEARCH_PX, mode="edge")
    for y, x in np.ndindex(2 * _SEARCH_PX + 1, 2 * _SEARCH_PX + 1):
        yield padded[y : y + plane.shape[0], x : x + plane.shape[1]]


def _nearness(target: np.ndarray, placed: list[np.ndarray]) -> np.ndarray:
    """Return how much each picture looks like the target as a whole, (pictures,); 1 for the one most like it."""
    smooth = ndimage.gaussian_filter(target, _LOOK_SIGMA_PX)
    unlike = np.array([((ndimage.gaussian_filter(p, _LOOK_SIGMA_PX) - smooth) ** 2).mean() for p in placed])
    return np.asarray(np.exp(-(unlike - unlike.min(initial=np.inf)) / _SAME_LOOK))


def _evened(picture: np.ndarray) -> np.ndarray:
    """Return a picture whose mean and contrast are alike everywhere."""
    deviation = picture - ndimage.gaussian_filter(picture, _CONTRAST_SIGMA_PX)
    contrast = np.sqrt(ndimage.gaussian_filter(deviation**2, _CONTRAST_SIGMA_PX))
    return np.asarray(deviation / (contrast + _LEAST_CONTRAST), np.float32)


def _flow(target: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return where in `reference` each pixel of `target` is, as rows and columns to add, (2, rows, columns)."""
    if min(target.shape) <= _FLOW_RADIUS_PX:
        return np.zeros((2, *target.shape), np.float32)
    found = optical_flow_ilk(
        target, reference, radius=_FLOW_RADIUS_PX, num_warp=_FLOW_WARPS, gaussian=True, dtype=np.float32
    )
    return np.asarray(np.nan_to_num(found), np.float32)
