"""Changes that another scanner, another export or another reader would make to a picture.

Geometry moves picture and masks together; the rest touches the picture alone.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from napari_medclipsam.learning.lite_samples import Sample


def augment(sample: Sample, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a changed (pixels, bits) pair of a sample, uint8 and uint16.

    Parameters
    ----------
    sample : Sample
        What to change; it is left as it is.
    rng : numpy.random.Generator
        Chooses the changes.
    """
    pixels, bits = _geometry(sample, rng)
    return restyled(pixels, rng), bits


def restyled(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture, uint8, with every pixel where it was but other gray levels, noise, sharpness and colours."""
    values = pixels.astype(np.float32) / 255.0
    for change, chance in (
        (_gamma, 0.5),
        (_contrast, 0.4),
        (_bias_field, 0.25),
        (_speckle, 0.25),
        (_noise, 0.25),
        (_blur, 0.2),
        (_coarser, 0.2),
        (_colour, 0.5),
        (_invert, 0.08),
    ):
        if rng.random() < chance:
            values = change(values, rng)
    pixels = (np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    if rng.random() < 0.2:
        pixels = _overlay(pixels, rng)
    if rng.random() < 0.3:
        pixels = _jpeg(pixels, rng)
    if pixels.ndim == 3 and rng.random() < 0.08:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    return pixels


def _geometry(sample: Sample, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Flip, turn, scale, shift; a crop that would lose most of the masks is not taken."""
    pixels, bits = sample.pixels, sample.bits
    # Left and right mean something on a chest film, so that one is never mirrored.
    if sample.dataset not in ("chest_xray", "chest_structures") and rng.random() < 0.5:
        pixels, bits = pixels[:, ::-1], bits[:, ::-1]
    if sample.dataset in ("polyps", "spinal_cord") and rng.random() < 0.5:
        pixels, bits = pixels[::-1], bits[::-1]
    if rng.random() < 0.25:
        return np.ascontiguousarray(pixels), np.ascontiguousarray(bits)
    height, width = bits.shape
    before = np.count_nonzero(bits)
    for _ in range(3):
        zoom = float(np.exp(rng.uniform(-0.3, 0.35)))
        angle = np.deg2rad(rng.uniform(-20, 20))
        stretch = float(np.exp(rng.uniform(-0.12, 0.12)))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn @ np.diag([stretch / zoom, 1 / (stretch * zoom)])
        centre = np.array([height, width]) / 2
        offset = centre - matrix @ (centre + rng.uniform(-0.12, 0.12, 2) * [height, width])
        moved = ndimage.affine_transform(bits, matrix, offset, order=0)
        if np.count_nonzero(moved) >= 0.6 * before * min(zoom**2, 1.0):
            planes = pixels[..., None] if pixels.ndim == 2 else pixels
            turned = [ndimage.affine_transform(planes[..., c], matrix, offset, order=1) for c in range(planes.shape[2])]
            return (turned[0] if pixels.ndim == 2 else np.stack(turned, -1)), moved
    return np.ascontiguousarray(pixels), np.ascontiguousarray(bits)


def _gamma(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(values, 0, 1) ** float(np.exp(rng.uniform(-0.6, 0.6)))


def _contrast(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (values - 0.5) * rng.uniform(0.6, 1.5) + 0.5 + rng.uniform(-0.15, 0.15)


def _bias_field(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth gain, as a surface coil leaves it."""
    coarse = Image.fromarray(rng.uniform(0.6, 1.4, (3, 3)).astype(np.float32))
    field = np.asarray(coarse.resize((values.shape[1], values.shape[0]), Image.Resampling.BICUBIC))
    return values * (field if values.ndim == 2 else field[..., None])


def _speckle(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grain = rng.standard_normal(values.shape[:2]).astype(np.float32)
    grain = ndimage.gaussian_filter(grain, rng.uniform(0.0, 1.2))
    grain *= rng.uniform(0.08, 0.3) / max(float(grain.std()), 1e-6)
    return values * (1 + (grain if values.ndim == 2 else grain[..., None]))


def _noise(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return values + rng.standard_normal(values.shape).astype(np.float32) * rng.uniform(0.01, 0.1)


def _blur(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sigma = rng.uniform(0.5, 2.0) * max(values.shape[:2]) / 256
    return ndimage.gaussian_filter(values, (sigma, sigma) if values.ndim == 2 else (sigma, sigma, 0))


def _coarser(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fewer pixels, brought back to the old size."""
    image = Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))
    factor = rng.uniform(0.3, 0.7)
    small = image.resize((max(8, int(image.width * factor)), max(8, int(image.height * factor))))
    return np.asarray(small.resize(image.size, Image.Resampling.BILINEAR), np.float32) / 255


def _colour(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if values.ndim == 2:
        return values
    gray = values.mean(2, keepdims=True)
    return (gray + (values - gray) * rng.uniform(0.5, 1.5)) * rng.uniform(0.8, 1.2, 3).astype(np.float32)


def _invert(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 1 - np.clip(values, 0, 1)


def _overlay(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Annotations burnt into the picture: letters, a ruler, caliper crosses."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    bright = int(rng.integers(170, 256))
    ink = bright if pixels.ndim == 2 else (bright, bright, int(rng.integers(60, 256)))
    for _ in range(int(rng.integers(1, 5))):
        at = (float(rng.uniform(0, image.width * 0.9)), float(rng.uniform(0, image.height * 0.95)))
        draw.text(at, "".join(rng.choice(list("LRAPH0123456789.cmx+ "), int(rng.integers(1, 9)))), fill=ink)
    if rng.random() < 0.5:
        x = int(rng.choice([2, image.width - 6]))
        for y in range(0, image.height, max(4, image.height // 20)):
            draw.line((x, y, x + 4, y), fill=ink)
    return np.asarray(image)


def _jpeg(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    store = io.BytesIO()
    Image.fromarray(pixels).save(store, "JPEG", quality=int(rng.integers(15, 75)))
    return np.asarray(Image.open(store))
