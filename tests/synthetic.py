"""Pictures with known shapes, and models that really find them by intensity: contracts without weights."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from napari_medclipsam.errors import ImageError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import Embedding, MaskResult, PromptSet, SaliencyMap

BACKGROUND = 30
LEVELS = {"disk": 220, "square": 140, "bar": 90}
_TOLERANCE = 20


def picture(*shapes: str, size: int = 64) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return a gray picture, uint8, and the mask of each of its shapes."""
    y, x = np.mgrid[:size, :size]
    masks = {
        "disk": np.hypot(y - 18, x - 20) <= 9,
        "square": (abs(y - 44) <= 7) & (abs(x - 46) <= 7),
        "bar": (abs(y - 44) <= 3) & (abs(x - 16) <= 12),
    }
    pixels = np.full((size, size), BACKGROUND, np.uint8)
    for shape in shapes:
        pixels[masks[shape]] = LEVELS[shape]
    # A known contrast in every picture, for a constant image is refused as such; and more grays than a mask has.
    pixels[0, :3] = 0, 255, 60
    return pixels, {shape: masks[shape] for shape in shapes}


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def _gray(image: Slice) -> np.ndarray:
    return image.pixels if image.pixels.ndim == 2 else image.pixels.mean(axis=2).astype(np.uint8)


class IntensityGrounder:
    """Knows three words; each is a gray level."""

    name = "intensity"

    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        word = text.lower().split()[-1]
        if word not in LEVELS:
            nearest = difflib.get_close_matches(word, LEVELS, n=1, cutoff=0.0)[0]
            return SaliencyMap(
                np.zeros(image.shape_yx, np.float32), text, 0.0, False, known=False, nearest_phrase=nearest
            )
        near = abs(_gray(image).astype(int) - LEVELS[word]) <= _TOLERANCE
        near &= ndimage.uniform_filter(near.astype(np.float32), 5) > 0.3
        values = np.clip(ndimage.gaussian_filter(near.astype(np.float32), 0.8), 0, 1)
        presence = float(min(1.0, near.sum() / 60))
        return SaliencyMap(values, text, presence, presence >= 0.5)


class RegionGrower:
    """Grows a region of like intensity from the seed that the prompts give, inside the box and a little beyond."""

    name = "grower"

    def __init__(self) -> None:
        self.n_embedded = 0
        self.prompts: list[PromptSet] = []

    def embed(self, image: Slice) -> Embedding:
        self.n_embedded += 1
        return Embedding(_gray(image), image.shape_yx, "key")

    def masks(self, embedding: Embedding, prompts: PromptSet) -> MaskResult:
        self.prompts.append(prompts)
        gray = embedding.features.astype(int)
        seed = np.zeros(gray.shape, bool)
        if prompts.mask_logits_yx is not None:
            seed |= prompts.mask_logits_yx > 0
        for x, y in prompts.points_xy[prompts.point_labels == 1].astype(int):
            seed[y, x] = True
        x0, y0, x1, y1 = (round(v) for v in prompts.box_xyxy or (0, 0, gray.shape[1] - 1, gray.shape[0] - 1))
        if not seed.any():
            seed[(y0 + y1) // 2, (x0 + x1) // 2] = True
        like = abs(gray - np.median(gray[seed])) <= _TOLERANCE
        labels, _ = ndimage.label(like)
        inside = np.isin(labels, np.unique(labels[seed & like])) & like
        allowed = np.zeros(gray.shape, bool)
        allowed[max(0, y0 - 2) : y1 + 3, max(0, x0 - 2) : x1 + 3] = True
        return MaskResult(np.where(inside & allowed, 6, -6).astype(np.float32), 0.9)


class Both(IntensityGrounder, RegionGrower):
    """Grounder and segmenter in one, as `lite` is."""

    name = "both"


class WithoutCt(Both):
    """Was never shown CT, as `lite` was not."""

    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        return replace(super().saliency(image, text), knows_ct=False)


class PooledGrays:
    """A region encoder: how much of a region has the gray of each shape, in a space turned by a fixed rotation."""

    name = "grays"
    scale = 20.0

    def __init__(self, version: str = "grays-1") -> None:
        self.version = version
        self.n_embedded = 0
        self._turn = np.linalg.qr(np.random.default_rng(7).normal(size=(8, 8)))[0].astype(np.float32)

    def embed_image(self, image: Slice) -> np.ndarray:
        self.n_embedded += 1
        return self._pooled(image, np.ones((1, *image.shape_yx), bool))[0]

    def embed_regions(self, image: Slice, masks_nyx: np.ndarray) -> np.ndarray:
        self.n_embedded += 1
        return self._pooled(image, masks_nyx)

    def embed_text(self, texts) -> np.ndarray:
        named = [[float(shape in text.lower().split()) for shape in LEVELS] for text in texts]
        shares = [[*names, float(not any(names))] for names in named]
        return self._unit(np.array(shares, np.float32).reshape(len(texts), -1))

    def _pooled(self, image: Slice, masks_nyx: np.ndarray) -> np.ndarray:
        gray = _gray(image).astype(int)
        if gray.min() == gray.max():
            raise ImageError("There is nothing to see in this slice.")
        near = np.stack([abs(gray - level) <= _TOLERANCE for level in LEVELS.values()])
        shares = np.stack([near[:, mask].mean(axis=1) for mask in masks_nyx]) if len(masks_nyx) else np.zeros((0, 3))
        return self._unit(np.hstack([shares, 0.05 * (1 - shares.sum(axis=1, keepdims=True)) + 0.01]))

    def _unit(self, shares: np.ndarray) -> np.ndarray:
        turned = np.pad(shares, ((0, 0), (0, 4))).astype(np.float32) @ self._turn
        return turned / np.linalg.norm(turned, axis=1, keepdims=True)
