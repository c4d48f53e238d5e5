"""What other scanners, exports and monitors do to a picture: fixed changes, to measure how much quality they cost.

Each takes uint8 (height, width[, 3]) and a generator, keeps the shape, and leaves the anatomy where it is, so that the
masks stay true.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Corruption = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _bytes(values: np.ndarray) -> np.ndarray:
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)


def gamma_dark(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _bytes((pixels / 255.0) ** 1.8)


def gamma_bright(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _bytes((pixels / 255.0) ** 0.55)


def low_contrast(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _bytes(0.3 + 0.4 * pixels / 255.0)


def gaussian_noise(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _bytes(pixels / 255.0 + rng.normal(0, 0.08, pixels.shape))


def speckle(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grain = rng.normal(1, 0.25, pixels.shape[:2])
    return _bytes(pixels / 255.0 * (grain if pixels.ndim == 2 else grain[..., None]))


def blur(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sigma = max(pixels.shape[:2]) / 256 * 1.5
    return _bytes(ndimage.gaussian_filter(pixels / 255.0, (sigma, sigma, 0)[: pixels.ndim]))


def jpeg(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    store = io.BytesIO()
    Image.fromarray(pixels).save(store, "JPEG", quality=15)
    return np.asarray(Image.open(store))


def half_resolution(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    image = Image.fromarray(pixels)
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.BICUBIC))


def burnt_in_text(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    image = Image.fromarray(pixels)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(max(10, image.height // 18))
    ink = 255 if pixels.ndim == 2 else (255, 255, 120)
    draw.text((4, 4), "SERIES 3  IM 17", fill=ink, font=font)
    draw.text((4, image.height - image.height // 12), "W 400 L 40  R", fill=ink, font=font)
    for y in range(0, image.height, image.height // 16):
        draw.line((image.width - 8, y, image.width - 2, y), fill=ink)
    return np.asarray(image)


def inverted(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 255 - pixels


CORRUPTIONS: dict[str, Corruption] = {
    function.__name__: function
    for function in (
        gamma_dark,
        gamma_bright,
        low_contrast,
        gaussian_noise,
        speckle,
        blur,
        jpeg,
        half_resolution,
        burnt_in_text,
        inverted,
    )
}
