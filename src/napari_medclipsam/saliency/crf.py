"""Dense CRF on a saliency map: one mean-field step, two classes (Krähenbühl and Koltun 2011), as MedCLIP-SAM has it.

No lattice library is needed: the smoothness kernel is a Gaussian filter, and the bilateral one is summed on a sparse
grid over position and colour (Chen, Paris and Durand 2007), with a cell of one standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage, sparse

from napari_medclipsam.errors import ImageError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import SaliencyMap


@dataclass(frozen=True)
class CrfSettings:
    """The values of MedCLIP-SAM; distances in pixels, colours in 0 to 255.

    Parameters
    ----------
    temperature : float
        τ of the unary term.
    smooth_sigma_px, smooth_weight : float
        Neighbours should have the same label.
    bilateral_sigma_px, bilateral_sigma_gray, bilateral_weight : float
        Pixels of like colour not too far away should have the same label.
    longest_side_px : int
        Larger images are worked on at this size: the values are meant for images of a few hundred pixels.
    """

    temperature: float = 1.05
    smooth_sigma_px: float = 3.0
    smooth_weight: float = 3.0
    bilateral_sigma_px: float = 60.0
    bilateral_sigma_gray: float = 5.0
    bilateral_weight: float = 5.0
    longest_side_px: int = 256


_EPSILON = 1e-8
# Splatting to and reading from a grid by linear interpolation blur by a third of a cell squared; the rest of the
# kernel's variance of one cell squared is left to the blur between cells, cut off at two cells.
_STEPS = (-2, -1, 1, 2)
_BLUR = np.exp(-0.5 * np.square(_STEPS) / (2 / 3))


def refined(saliency: SaliencyMap, image: Slice) -> SaliencyMap:
    """Return the map as the probability of the foreground after the CRF, for the coarse method "crf"."""
    return replace(saliency, values_yx=crf_probability(saliency.values_yx, image.pixels))


def crf_probability(values_yx: np.ndarray, pixels: np.ndarray, settings: CrfSettings | None = None) -> np.ndarray:
    """Return the probability of the foreground after one mean-field step.

    Parameters
    ----------
    values_yx : numpy.ndarray
        Saliency in [0, 1].
    pixels : numpy.ndarray
        uint8 (rows, columns) or (rows, columns, 3): the image as the reader sees it.
    settings : CrfSettings, optional
        Those of the paper by default.

    Returns
    -------
    numpy.ndarray
        float32 (rows, columns); the mask is where it is above 0.5. Zero everywhere for a constant map, which has no
        foreground.

    Raises
    ------
    ImageError
        If map and image differ in size.
    """
    settings = settings or CrfSettings()
    if values_yx.shape != pixels.shape[:2]:
        raise ImageError(
            f"The map has shape {values_yx.shape} and the image {pixels.shape[:2]}; they must be the same."
        )
    if float(np.ptp(values_yx)) < 1e-6:
        return np.zeros(values_yx.shape, np.float32)
    zoom = settings.longest_side_px / max(values_yx.shape)
    if zoom >= 1:
        return _one_step(values_yx, pixels, settings)
    small_yx = tuple(max(1, round(zoom * n)) for n in values_yx.shape)
    small = _one_step(_resized(values_yx, small_yx), _resized(pixels, small_yx), settings)
    return np.clip(_resized(small, values_yx.shape), 0, 1).astype(np.float32)


def _one_step(values_yx: np.ndarray, pixels: np.ndarray, settings: CrfSettings) -> np.ndarray:
    """Both labels send each other the message of both kernels; Potts compatibility, so that only like labels count."""
    p = values_yx.astype(np.float64)
    gap = _unary(1 - p, settings.temperature) - _unary(p, settings.temperature)
    foreground = 1 / (1 + np.exp(-gap))
    votes = 2 * foreground - 1
    message = settings.smooth_weight * _normalized(votes, lambda v: _smooth(v, settings.smooth_sigma_px))
    grid = _bilateral_grid(pixels, settings)
    message += settings.bilateral_weight * _normalized(votes, lambda v: _on_grid(v, *grid))
    return np.asarray(1 / (1 + np.exp(-np.clip(gap + message, -60, 60))), np.float32)


def _unary(p: np.ndarray, temperature: float) -> np.ndarray:
    """Return -log(p + ε) / (τ σ(p)), the cost of a label of probability `p`."""
    return -np.log(p + _EPSILON) / (temperature / (1 + np.exp(-p)))


def _normalized(votes: np.ndarray, kernel: Any) -> np.ndarray:
    """Apply a kernel divided by the roots of its row and column sums, as dense CRFs commonly do."""
    root = np.sqrt(kernel(np.ones_like(votes)))
    return np.asarray(kernel(votes / root) / root)


def _smooth(values_yx: np.ndarray, sigma_px: float) -> np.ndarray:
    return ndimage.gaussian_filter(values_yx, sigma_px, mode="constant", truncate=5)


def _on_grid(values_yx: np.ndarray, splat: Any, neighbours: np.ndarray) -> np.ndarray:
    cells = splat.T @ values_yx.ravel()
    for along in neighbours:
        # A last cell of zero stands for all that are not there.
        padded = np.append(cells, 0.0)
        for weight, other in zip(_BLUR, along, strict=True):
            cells = cells + weight * padded[other]
    return np.asarray(splat @ cells).reshape(values_yx.shape)


def _bilateral_grid(pixels: np.ndarray, settings: CrfSettings) -> tuple[Any, np.ndarray]:
    """Return the share of each pixel in each cell, (pixels, cells), and for each axis and step each cell's neighbour.

    Only cells that a pixel touches exist; a neighbour that does not has the number after the last.
    """
    features = _features(pixels, settings)
    lower = np.floor(features).astype(np.int64)
    n_axes = features.shape[1]
    # Room for the blur's steps on both sides: neighbours never wrap around into another row of cells.
    sizes = lower.max(axis=0) + 6
    strides = np.concatenate([[1], np.cumprod(sizes[:-1])])
    # Many pixels share a cell: the corners are looked up once for each cell, and not for each pixel.
    cells, cell_of_pixel = np.unique((lower + 2) @ strides, return_inverse=True)
    corners = np.array(list(np.ndindex(*(2,) * n_axes)))
    occupied, places = np.unique(cells[:, None] + corners @ strides, return_inverse=True)
    columns = places.reshape(len(cells), len(corners))[cell_of_pixel]
    beyond = features - lower
    shares = np.stack([np.where(corner, beyond, 1 - beyond).prod(axis=1) for corner in corners], axis=1)
    starts = np.arange(len(features) + 1) * len(corners)
    splat = sparse.csr_matrix((shares.ravel(), columns.ravel(), starts), shape=(len(features), len(occupied)))
    neighbours = [[_positions(occupied, occupied + step * stride) for step in _STEPS] for stride in strides]
    return splat, np.array(neighbours)


def _positions(occupied: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    found = np.searchsorted(occupied, wanted).clip(max=len(occupied) - 1)
    return np.where(occupied[found] == wanted, found, len(occupied)).astype(np.int32)


def _features(pixels: np.ndarray, settings: CrfSettings) -> np.ndarray:
    """Return position and colour of each pixel in standard deviations, (pixels, 3) for gray and (pixels, 5) for colour.

    The three equal channels of a gray image are one axis, √3 times as long.
    """
    gray = pixels if pixels.ndim == 2 else pixels[..., 0]
    is_gray = pixels.ndim == 2 or bool((pixels == gray[..., None]).all())
    y, x = np.indices(gray.shape)
    colors = [np.sqrt(3) * gray] if is_gray else list(np.moveaxis(pixels, -1, 0))
    axes = [y / settings.bilateral_sigma_px, x / settings.bilateral_sigma_px]
    axes += [color / settings.bilateral_sigma_gray for color in colors]
    return np.stack([axis.ravel().astype(np.float64) for axis in axes], axis=1)


def _resized(values: np.ndarray, shape_yx: tuple[int, ...]) -> np.ndarray:
    """Return an image or map at another size, by linear interpolation after a blur where it shrinks."""
    from skimage.transform import resize

    out = resize(values, (*shape_yx, *values.shape[2:]), order=1, anti_aliasing=True, preserve_range=True)
    return np.asarray(np.rint(out) if values.dtype == np.uint8 else out)
