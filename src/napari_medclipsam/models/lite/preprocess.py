"""A slice as medclipsam-lite's encoder takes it, and back again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from napari_medclipsam.errors import ImageError

CANVAS = 256
"""Side of the encoder's square input, in pixels."""

VERSION = "lite-canvas-2"
"""Changes whenever what is kept of a slice does: it is part of every embedding's cache key."""


@dataclass(frozen=True)
class Fit:
    """How an image of `shape_yx` lies in the canvas: scaled by `scale`, top left, `inner_yx` pixels large."""

    shape_yx: tuple[int, int]
    inner_yx: tuple[int, int]
    scale: float

    @classmethod
    def of(cls, shape_yx: tuple[int, int]) -> Fit:
        """Longest side to 256, aspect ratio kept."""
        height, width = shape_yx
        scale = CANVAS / max(height, width)
        inner = (max(1, round(height * scale)), max(1, round(width * scale)))
        return cls((height, width), inner, scale)

    def points_to_canvas(self, points_xy: np.ndarray) -> np.ndarray:
        """Map pixel coordinates of the image to those of the canvas; pixel centres are whole numbers in both."""
        sizes = np.array([self.inner_yx[1] / self.shape_yx[1], self.inner_yx[0] / self.shape_yx[0]], np.float32)
        return (np.asarray(points_xy, np.float32) + 0.5) * sizes - 0.5


def to_canvas(pixels: np.ndarray) -> np.ndarray:
    """Fit a picture into the encoder's square.

    As LiteMedSAM was trained: longest side to 256, values min-max scaled to [0, 1], zero padding right and below.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8, (height, width) or (height, width, 3).

    Returns
    -------
    numpy.ndarray
        float32 (3, 256, 256).

    Raises
    ------
    ImageError
        If every pixel has the same value.
    """
    low, high = int(pixels.min()), int(pixels.max())
    if low == high:
        raise ImageError(
            f"Every pixel of this slice has the value {low}, so there is nothing to see in it. "
            "Choose another slice or intensity window."
        )
    inner = Fit.of((pixels.shape[0], pixels.shape[1])).inner_yx
    planes = [pixels] if pixels.ndim == 2 else [pixels[..., c] for c in range(3)]
    canvas = np.zeros((3, CANVAS, CANVAS), np.float32)
    for channel in range(3):
        plane = planes[channel % len(planes)]
        if channel < len(planes):
            # Pillow's filter widens its support when it shrinks, so thin structures do not alias away.
            image = Image.fromarray(plane.astype(np.float32))
            resized = np.asarray(image.resize((inner[1], inner[0]), Image.Resampling.BILINEAR), np.float32)
        canvas[channel, : inner[0], : inner[1]] = np.clip((resized - low) / (high - low), 0.0, 1.0)
    return canvas


def from_canvas(values_yx: np.ndarray, fit: Fit) -> np.ndarray:
    """Bring a map on the canvas back to the image, bilinearly.

    Parameters
    ----------
    values_yx : numpy.ndarray
        float32 (n, n), a map of the whole canvas at any resolution that divides it.
    fit : Fit
        Where the image lies in the canvas.

    Returns
    -------
    numpy.ndarray
        float32 at image size.
    """
    step = CANVAS / values_yx.shape[0]
    box = (0.0, 0.0, fit.inner_yx[1] / step, fit.inner_yx[0] / step)
    size = (fit.shape_yx[1], fit.shape_yx[0])
    image = Image.fromarray(np.ascontiguousarray(values_yx, np.float32))
    return np.array(image.resize(size, Image.Resampling.BILINEAR, box=box), np.float32)
