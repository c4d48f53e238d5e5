"""The text–image encoder of medclipsam-lite: slices, their regions and texts in one space, on the frozen encoders.

The idea of RegionMed-CLIP (arXiv 2508.05244), made concrete: ``f = g·f_global + (1-g)·f_ROI`` with ``g =
σ(MLP[f_global; f_ROI])``. f_ROI is pooled from the embedding's places under the mask, looks around it, and asks the
rest of the slice by cross-attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from napari_medclipsam.errors import ModelError, PromptError
from napari_medclipsam.models.contracts import Embedding
from napari_medclipsam.models.lite.few_tokens import CHANNELS
from napari_medclipsam.models.lite.preprocess import CANVAS, VERSION, Fit
from napari_medclipsam.models.lite.text import WIDTH as TEXT_WIDTH
from napari_medclipsam.models.lite.text import TextEncoder

WIDTH = 256
"""Numbers of a vector."""

PLACES = 64
"""Side of the grid of places that a region is pooled from."""

TOKENS = 16
"""Side of the grid of tokens that a region asks for its context."""

SEEN = CHANNELS + 2
"""Channels of a place: the encoder's, and the picture's own brightness and unevenness there."""

REGION_NUMBERS = 3 * SEEN + 7
GLOBAL_NUMBERS = 2 * SEEN

_RING = 9
"""How far the surroundings of a region reach: (9 - 1) / 2 places, 16 pixels of the canvas."""


def places(features: torch.Tensor) -> torch.Tensor:
    """Return what is seen at each place: (batch, 304, 64, 64) of `LiteModel.embed` to (batch, 258, 64, 64)."""
    picture = features[:, CHANNELS:]
    own = torch.stack([picture.mean(1), picture.std(1)], 1)
    return torch.cat([features[:, :CHANNELS], own], 1)


def tokens(seen: torch.Tensor) -> torch.Tensor:
    """Return the coarse grid of `places`: (batch, 256, 258)."""
    return F.adaptive_avg_pool2d(seen, TOKENS).flatten(2).transpose(1, 2)


def whole(seen: torch.Tensor) -> torch.Tensor:
    """Return mean and spread of each channel over a slice: (batch, 516)."""
    return torch.cat([seen.mean((2, 3)), seen.std((2, 3))], 1)


def shares(mask_yx: np.ndarray, fit: Fit) -> np.ndarray:
    """Return how much of each place a mask covers: float32 (64, 64), above 0 somewhere if the mask is not empty."""
    height, width = fit.inner_yx
    # A box filter lets nothing slip through between two pixels, however thin it is.
    small = Image.fromarray(mask_yx.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    canvas = np.zeros((CANVAS, CANVAS), np.float32)
    canvas[:height, :width] = np.asarray(small)
    step = CANVAS // PLACES
    return canvas.reshape(PLACES, step, PLACES, step).mean((1, 3))


def pooled(seen: torch.Tensor, weights: torch.Tensor, inner_yx: tuple[int, int]) -> torch.Tensor:
    """Return what regions of one slice look like: inside, around, and their place and shape.

    Parameters
    ----------
    seen : torch.Tensor
        (258, 64, 64) of `places`.
    weights : torch.Tensor
        (n, 64, 64) of `shares`.
    inner_yx : tuple of int
        How much of the canvas the picture takes.

    Returns
    -------
    torch.Tensor
        (n, 781): mean and spread of each channel inside, mean around, centre y and x, spread y and x, their
        covariance, share of the picture's area (its root), share of the bounding box.
    """
    step = CANVAS // PLACES
    flat, inside = seen.flatten(1).T, weights.flatten(1)
    inside = inside / inside.sum(1, keepdim=True)
    mean = inside @ flat
    spread = (inside @ flat.square() - mean.square()).clamp(min=0).sqrt()
    ring = F.max_pool2d(weights[:, None], _RING, 1, _RING // 2)[:, 0] - weights
    ring[:, -(-inner_yx[0] // step) :] = 0
    ring[:, :, -(-inner_yx[1] // step) :] = 0
    around = ring.flatten(1)
    beside = around @ flat / around.sum(1, keepdim=True).clamp(min=1e-6)
    # A region without surroundings is its own.
    beside = torch.where(around.sum(1, keepdim=True) > 0.5, beside, mean)
    return torch.cat([mean, spread, beside, _form(weights, inside, inner_yx)], 1)


def _form(weights: torch.Tensor, inside: torch.Tensor, inner_yx: tuple[int, int]) -> torch.Tensor:
    """Place and shape of each region, in parts of the picture: (n, 7)."""
    step = CANVAS / PLACES
    rows, columns = torch.meshgrid(torch.arange(PLACES), torch.arange(PLACES), indexing="ij")
    y = ((rows.flatten() + 0.5) * step / inner_yx[0]).to(weights)
    x = ((columns.flatten() + 0.5) * step / inner_yx[1]).to(weights)
    centre_y, centre_x = inside @ y, inside @ x
    var_y = (inside @ y.square() - centre_y.square()).clamp(min=0)
    var_x = (inside @ x.square() - centre_x.square()).clamp(min=0)
    covariance = inside @ (x * y) - centre_y * centre_x
    area = weights.sum((1, 2)) * step**2
    covered = weights > 0
    box = covered.any(2).sum(1) * covered.any(1).sum(1) * step**2
    share = (area / (inner_yx[0] * inner_yx[1])).sqrt()
    return torch.stack([centre_y, centre_x, var_y.sqrt(), var_x.sqrt(), covariance * 10, share, area / box], 1)


_HIDDEN, _TOKEN, _HEADS = 256, 96, 4


def _out() -> nn.Sequential:
    """What was pooled and what attention found, to a vector."""
    return nn.Sequential(
        nn.Dropout(0.2), nn.Linear(_HIDDEN + _HEADS * _TOKEN, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, WIDTH)
    )


class Standard(nn.Module):
    """Bring numbers to mean 0 and spread 1, as measured on the training views; outliers are cut off."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.centre: torch.Tensor
        self.spread: torch.Tensor
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the shape (…, width)."""
        return ((x - self.centre) / self.spread).clamp(-6, 6)


class Attend(nn.Module):
    """Attention of several heads in which queries are as wide as tokens: nothing is computed for each token but them.

    The usual projections of keys and values are absorbed into the query and into the layer that follows.
    """

    def forward(self, queries: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """(batch, n, heads · width) asked of (batch, tokens, width): (batch, n, heads · width)."""
        batch, n, _ = queries.shape
        width = context.shape[2]
        rows = queries.reshape(batch, -1, width) * width**-0.5
        found = (rows @ context.transpose(1, 2)).softmax(2) @ context
        return found.reshape(batch, n, -1)


class RegionHeads(nn.Module):
    """All that is trained: the global and the region branch, the gate between them, and the text head."""

    def __init__(self) -> None:
        super().__init__()
        self.of_region, self.of_whole, self.of_token = (
            Standard(REGION_NUMBERS),
            Standard(GLOBAL_NUMBERS),
            Standard(SEEN),
        )
        self.token = nn.Linear(SEEN, _TOKEN)
        self.where = nn.Parameter(torch.zeros(TOKENS**2, _TOKEN))
        self.token_norm = nn.LayerNorm(_TOKEN)
        self.attend = Attend()
        self.asked = nn.Parameter(torch.randn(1, _HEADS * _TOKEN))
        self.whole_in = nn.Sequential(nn.Dropout(0.2), nn.Linear(GLOBAL_NUMBERS, _HIDDEN), nn.GELU())
        self.whole_out = _out()
        self.region_in = nn.Sequential(nn.Dropout(0.2), nn.Linear(REGION_NUMBERS, _HIDDEN), nn.GELU())
        self.region_asks = nn.Linear(_HIDDEN, _HEADS * _TOKEN)
        self.region_out = _out()
        self.gate = nn.Sequential(nn.Linear(2 * WIDTH, 64), nn.GELU(), nn.Linear(64, 1))
        self.text_linear = nn.Linear(TEXT_WIDTH, WIDTH)
        self.text_more = nn.Sequential(nn.Linear(TEXT_WIDTH, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, WIDTH))

    def context(self, coarse: torch.Tensor) -> torch.Tensor:
        """Return the tokens as both branches ask them: (batch, 256, 258) to (batch, 256, 96)."""
        placed: torch.Tensor = self.token_norm(self.token(self.of_token(coarse)) + self.where)
        return placed

    def image(self, numbers: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """f_global, unit vectors (batch, WIDTH), of `whole` and `context`."""
        found = self.attend(self.asked.expand(len(context), 1, -1), context)[:, 0]
        return F.normalize(self.whole_out(torch.cat([self.whole_in(self.of_whole(numbers)), found], 1)), dim=1)

    def region(self, numbers: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """f_ROI, unit vectors (batch, n, WIDTH), of `pooled` (batch, n, 781) and `context`."""
        own = self.region_in(self.of_region(numbers))
        found = self.attend(self.region_asks(own), context)
        return F.normalize(self.region_out(torch.cat([own, found], 2)), dim=2)

    def fused(self, image: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
        """Unit vectors (batch, n, WIDTH) of g·f_global + (1-g)·f_ROI."""
        image = image[:, None].expand_as(region)
        gate = self.gate(torch.cat([image, region], 2)).sigmoid()
        return F.normalize(gate * image + (1 - gate) * region, dim=2)

    def text(self, vectors: torch.Tensor) -> torch.Tensor:
        """Unit vectors (n, WIDTH) of the text encoder's (n, 384)."""
        return F.normalize(self.text_linear(vectors) + self.text_more(vectors), dim=1)


class RegionReader:
    """Embeddings of slices to vectors, with the heads that ship.

    Parameters
    ----------
    weights : pathlib.Path
        Safetensors of `RegionHeads`; its metadata says for which encoder and preprocessing, and the scale.
    texts : TextEncoder
        The frozen text encoder.
    encoder_hash : str
        SHA-256 of the image encoder's weights.

    Raises
    ------
    ModelError
        If the heads were trained on another encoder or preprocessing.
    """

    def __init__(self, weights: Path, texts: TextEncoder, encoder_hash: str) -> None:
        from safetensors import safe_open

        with safe_open(str(weights), "pt") as stored:
            about = stored.metadata() or {}
            state = {key: stored.get_tensor(key).float() for key in stored.keys()}  # noqa: SIM118 - not a dict
        if (about.get("encoder"), about.get("preprocessing")) != (encoder_hash, VERSION):
            raise ModelError(
                "The files of medclipsam-lite do not fit together: the region heads belong to another image encoder. "
                "Reinstall napari-medclipsam."
            )
        self.scale = float(about["scale"])
        self._texts = texts
        self._heads = RegionHeads()
        self._heads.load_state_dict(state)
        self._heads.eval().requires_grad_(False)

    @torch.inference_mode()
    def image(self, embedding: Embedding) -> np.ndarray:
        """Return the unit vector of a slice, float32 (WIDTH,)."""
        seen = places(torch.from_numpy(embedding.features)[None])
        vector = self._heads.image(whole(seen), self._heads.context(tokens(seen)))
        return np.asarray(vector[0].numpy(), np.float32)

    @torch.inference_mode()
    def regions(self, embedding: Embedding, masks_nyx: np.ndarray) -> np.ndarray:
        """Return unit vectors of regions of a slice, float32 (n, WIDTH); see `contracts.RegionEncoder`."""
        masks = checked_masks(masks_nyx, embedding.shape_yx)
        if not len(masks):
            return np.zeros((0, WIDTH), np.float32)
        fit = Fit.of(embedding.shape_yx)
        seen = places(torch.from_numpy(embedding.features)[None])
        context = self._heads.context(tokens(seen))
        numbers = pooled(seen[0], torch.from_numpy(np.stack([shares(mask, fit) for mask in masks])), fit.inner_yx)
        own = self._heads.region(numbers[None], context)
        fused = self._heads.fused(self._heads.image(whole(seen), context), own)
        return np.asarray(fused[0].numpy(), np.float32)

    @torch.inference_mode()
    def text(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors of texts, float32 (n, WIDTH)."""
        phrases = [" ".join(text.split()) for text in texts]
        if not all(phrases):
            raise PromptError("The text is empty. Type what to look for, for example: brain tumor")
        if not phrases:
            return np.zeros((0, WIDTH), np.float32)
        return np.asarray(self._heads.text(torch.from_numpy(self._texts(phrases))).numpy(), np.float32)


def checked_masks(masks_nyx: np.ndarray, shape_yx: tuple[int, int]) -> np.ndarray:
    """Return masks as bool (n, height, width); raise PromptError if one is empty or not of the image's shape."""
    masks = np.asarray(masks_nyx)
    if masks.ndim != 3 or masks.shape[1:] != tuple(shape_yx):
        raise PromptError(
            f"Regions are masks of shape (n, {shape_yx[0]}, {shape_yx[1]}), one for each region of the image; "
            f"got {masks.shape}."
        )
    masks = masks.astype(bool)
    empty = np.flatnonzero(~masks.any((1, 2)))
    if len(empty):
        raise PromptError(f"Region {empty[0] + 1} of {len(masks)} has no pixel. Draw it, or leave it out.")
    return masks


def parts_of(pixels: np.ndarray) -> np.ndarray:
    """Return the masks of a slice that a search looks at: overlapping squares of two sizes that are not background.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8 (height, width) or (height, width, 3).

    Returns
    -------
    numpy.ndarray
        bool (n, height, width), n from 1 to 34; the whole slice where all is background.
    """
    gray = pixels if pixels.ndim == 2 else pixels.mean(2)
    height, width = gray.shape
    limit = float(gray.min()) + 0.06 * float(gray.max() - gray.min())
    masks = []
    for cells in (3, 5):
        # Neighbours overlap by half.
        tops, lefts = (np.linspace(0, n - n / (cells + 1) * 2, cells).round().astype(int) for n in (height, width))
        size_y, size_x = max(1, 2 * height // (cells + 1)), max(1, 2 * width // (cells + 1))
        for top in tops:
            for left in lefts:
                square = np.zeros((height, width), bool)
                square[top : top + size_y, left : left + size_x] = True
                if (gray[square] > limit).mean() > 0.25:
                    masks.append(square)
    return np.stack(masks) if masks else np.ones((1, height, width), bool)


def slice_score(cosines_n: np.ndarray) -> float:
    """Return how well a slice answers a text, from the cosines of its `parts_of` with it: the mean of the best three.

    Of the ways that were tried on training patients (benchmarks/regions.py) it found slices with a tumour best: one
    part alone is right by chance too often, and the whole slice hides what is small.
    """
    return float(np.sort(np.asarray(cosines_n, np.float32))[-3:].mean())
