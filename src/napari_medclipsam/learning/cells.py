"""What one cell of an embedding is known by: what the instant learner's kernel is laid over."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from napari_medclipsam.models.contracts import Embedding
from napari_medclipsam.models.lite.few_tokens import CHANNELS, FOLD
from napari_medclipsam.models.lite.model import LiteModel
from napari_medclipsam.models.lite.preprocess import CANVAS, Fit

VERSION = "cells-1"
"""Changes whenever the features below do: a kernel fits only those it was learnt on."""

SIDE = CANVAS // FOLD

_AROUND = 5
_SIGMAS_PX = (1.0, 2.0, 4.0, 8.0, 16.0)
_TISSUE = 0.08


@torch.inference_mode()
def cell_features(base: LiteModel, embedding: Embedding, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of the cells that the picture covers.

    Parameters
    ----------
    base : LiteModel
        Made the embedding.
    embedding : Embedding
        Of a slice.
    name : str
        Of the class: the grounding head looks for these words, whether it knows them or not.

    Returns
    -------
    features : numpy.ndarray
        float32 (cells, features): the encoder's channels, by themselves and averaged around; what the grounding head
        makes of them before and after it hears the name; gray values, edges and blobs at five scales; the place.
    inside : numpy.ndarray
        bool (64, 64): which cells these are.
    """
    fit = Fit.of(embedding.shape_yx)
    encoded = torch.from_numpy(embedding.features[None, :CHANNELS])
    around = F.avg_pool2d(encoded, _AROUND, 1, _AROUND // 2, count_include_pad=False)
    trunk = [_at_side(part.cpu())[0] for part in base.seen(embedding).trunk]
    planes = [encoded[0], around[0], *trunk, base.told(embedding, name)]
    inside = np.zeros((SIDE, SIDE), bool)
    inside[: -(-fit.inner_yx[0] // FOLD), : -(-fit.inner_yx[1] // FOLD)] = True
    found = [plane.numpy() for plane in planes] + [_intensities(embedding, fit), _places(fit)]
    return np.concatenate([plane[:, inside] for plane in found]).T.astype(np.float32), inside


def cell_shares(mask: np.ndarray) -> np.ndarray:
    """Return how much of each cell a canvas mask (256, 256) covers, float32 (64, 64)."""
    return np.asarray(mask.reshape(SIDE, FOLD, SIDE, FOLD).mean((1, 3)), np.float32)


def _at_side(cells: torch.Tensor) -> torch.Tensor:
    return cells if cells.shape[-1] == SIDE else F.interpolate(cells, size=(SIDE, SIDE), mode="bilinear")


def _intensities(embedding: Embedding, fit: Fit) -> np.ndarray:
    """Gray values, plain and against the tissue of the picture, edges and blobs, (features, 64, 64)."""
    gray = F.pixel_shuffle(torch.from_numpy(embedding.features[None, CHANNELS:]), FOLD)[0].mean(0).numpy()
    tissue = gray[: fit.inner_yx[0], : fit.inner_yx[1]]
    tissue = tissue[tissue > _TISSUE]
    middle, spread = (float(tissue.mean()), float(tissue.std()) + 1e-3) if tissue.size else (0.0, 1.0)
    planes = []
    for sigma in _SIGMAS_PX:
        smooth = ndimage.gaussian_filter(gray, sigma)
        against = (smooth - middle) / spread
        edge = np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)) * sigma
        planes += [smooth, against, np.maximum(against - 1, 0), edge, ndimage.laplace(smooth) * sigma**2]
    return np.stack([plane.reshape(SIDE, FOLD, SIDE, FOLD).mean((1, 3)) for plane in planes])


def _places(fit: Fit) -> np.ndarray:
    """Row and column from -1 to 1 over the picture, with their squares and product, (5, 64, 64)."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    y = (rows + 0.5) * FOLD / fit.inner_yx[0] * 2 - 1
    x = (columns + 0.5) * FOLD / fit.inner_yx[1] * 2 - 1
    return np.stack([y, x, y * y, x * x, x * y])
