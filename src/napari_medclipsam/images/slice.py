"""One 2D picture, as the user sees it: what every model in this package takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_medclipsam.errors import ImageError


@dataclass(frozen=True, eq=False)
class Slice:
    """A displayed 2D image.

    The models see what the reader sees: intensities are already windowed (``images.intensity``).

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8, shape (height, width) for gray or (height, width, 3) for RGB.
    spacing_mm : tuple of float, optional
        (row, column) distance between pixel centres in mm; None where it is unknown.

    Raises
    ------
    ImageError
        If the dtype is not uint8 or the shape is not one of the two.
    """

    pixels: np.ndarray
    spacing_mm: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        p = self.pixels
        gray = p.ndim == 2
        rgb = p.ndim == 3 and p.shape[2] == 3
        if p.dtype != np.uint8 or not (gray or rgb) or 0 in p.shape:
            raise ImageError(
                f"A slice is uint8 with shape (height, width) or (height, width, 3); got {p.dtype} {p.shape}. "
                "Window the image with images.intensity.to_uint8 first."
            )

    @property
    def shape_yx(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return (int(self.pixels.shape[0]), int(self.pixels.shape[1]))

    def drawn_size_xy(self, longest_px: int) -> tuple[int, int]:
        """Return (width, height) of a drawing with square millimetres (or pixels) whose longer side is `longest_px`."""
        height, width = self.shape_yx
        row_mm, column_mm = self.spacing_mm or (1.0, 1.0)
        tall, wide = height * row_mm, width * column_mm
        scale = longest_px / max(tall, wide)
        return (max(1, round(wide * scale)), max(1, round(tall * scale)))
