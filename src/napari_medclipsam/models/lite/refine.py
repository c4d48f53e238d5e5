"""The last step from clicks to an outline: a small network that sees the picture itself, the clicks and the mask.

The embedding has one cell for 4×4 pixels and knows a click only through attention, so a decoder on it misses fine edges
and answers a third click much like a second. Here the picture, the clicks as blobs and the decoder's answer meet at
full size, as in the click networks of Sofiiuk et al. 2022 ("Reviving iterative training with mask guidance").
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from napari_medclipsam.models.lite.preprocess import CANVAS

DECODER_WIDTH = 32
"""Channels of the mask decoder's upscaled features."""

_BLOB_SIGMAS = (3.0, 12.0)
_FULL, _HALF, _QUARTER, _EIGHTH, _SIXTEENTH = 12, 32, 64, 96, 128


def click_blobs(points_xy: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Clicks as Gaussian blobs and the box as an area.

    Parameters
    ----------
    points_xy : torch.Tensor
        (batch, n, 2), canvas pixels.
    labels : torch.Tensor
        (batch, n): 1 inside, 0 outside, 2 and 3 the corners of a box, -1 padding.

    Returns
    -------
    torch.Tensor
        (batch, 5, 256, 256): inside narrow and wide, outside narrow and wide, box.
    """
    axis = torch.arange(CANVAS, dtype=points_xy.dtype, device=points_xy.device)
    x_apart = (axis[None, None] - points_xy[..., :1]) ** 2
    y_apart = (axis[None, None] - points_xy[..., 1:]) ** 2
    planes = []
    for label in (1, 0):
        chosen = (labels == label)[..., None]
        for sigma in _BLOB_SIGMAS:
            # A Gaussian is the product of its rows and columns.
            wide = torch.exp(-x_apart / (2 * sigma**2)) * chosen
            high = torch.exp(-y_apart / (2 * sigma**2)) * chosen
            planes.append((high[..., :, None] * wide[..., None, :]).amax(1))
    first, last = (labels == 2)[..., None], (labels == 3)[..., None]
    low = (points_xy * first).sum(1)
    high_corner = (points_xy * last).sum(1)
    inside_x = (axis >= low[:, :1]) & (axis <= high_corner[:, :1])
    inside_y = (axis >= low[:, 1:]) & (axis <= high_corner[:, 1:])
    boxed = inside_y[:, :, None] & inside_x[:, None, :] & first.any(1)[..., None]
    planes.append(boxed.to(points_xy.dtype))
    return torch.stack(planes, 1)


def _conv(width_in: int, width_out: int, stride: int = 1) -> nn.Sequential:
    # Group normalisation works picture by picture, so training and use see the same numbers.
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False), nn.GroupNorm(4, width_out), nn.ReLU(inplace=True)
    )


class Refiner(nn.Module):
    """Correct the decoder's logits; a U-Net (Ronneberger et al. 2015) whose last layer starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.to_full = _conv(3 + 2 + 5, _HALF, 2)
        self.decoded = nn.Conv2d(DECODER_WIDTH, _HALF, 1)
        self.to_half = _conv(_HALF, _HALF)
        self.to_quarter = nn.Sequential(_conv(_HALF, _QUARTER, 2), _conv(_QUARTER, _QUARTER))
        self.to_eighth = nn.Sequential(_conv(_QUARTER, _EIGHTH, 2), _conv(_EIGHTH, _EIGHTH))
        self.to_sixteenth = nn.Sequential(
            _conv(_EIGHTH, _SIXTEENTH, 2), _conv(_SIXTEENTH, _SIXTEENTH), nn.Conv2d(_SIXTEENTH, _EIGHTH, 1)
        )
        self.up_eighth = nn.Sequential(_conv(_EIGHTH, _EIGHTH), nn.Conv2d(_EIGHTH, _QUARTER, 1))
        self.up_quarter = nn.Sequential(_conv(_QUARTER, _QUARTER), nn.Conv2d(_QUARTER, _HALF, 1))
        self.up_half = nn.Sequential(_conv(_HALF, _HALF), nn.Conv2d(_HALF, 4 * _FULL, 1), nn.PixelShuffle(2))
        self.edge = _conv(_FULL + 4, _FULL)
        self.change = nn.Conv2d(_FULL, 1, 3, padding=1)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)

    def forward(
        self,
        canvas: torch.Tensor,
        logits: torch.Tensor,
        decoded: torch.Tensor,
        points_xy: torch.Tensor,
        labels: torch.Tensor,
    ) -> torch.Tensor:
        """Return better logits.

        Parameters
        ----------
        canvas : torch.Tensor
            (batch, 3, 256, 256), the picture, values in [0, 1].
        logits : torch.Tensor
            (batch, 256, 256), the decoder's answer.
        decoded : torch.Tensor
            (batch, 32, 256, 256), the decoder's features under the prompts.
        points_xy, labels : torch.Tensor
            As for `click_blobs`.
        """
        told = self.decoded(F.avg_pool2d(decoded, 2))
        return self.refine(canvas, logits, told, points_xy, labels)

    def refine(
        self,
        canvas: torch.Tensor,
        logits: torch.Tensor,
        told: torch.Tensor,
        points_xy: torch.Tensor,
        labels: torch.Tensor,
    ) -> torch.Tensor:
        """As `forward`, with `told` (batch, 32, 128, 128): what `decoded` made of the decoder's features."""
        bounded = logits.clamp(-16, 16)[:, None] / 8
        answer = logits.sigmoid()[:, None]
        seen = torch.cat([canvas, answer, bounded, click_blobs(points_xy, labels)], 1)
        half = self.to_half(self.to_full(seen) + told)
        quarter = self.to_quarter(half)
        eighth = self.to_eighth(quarter)
        eighth = eighth + _grown(self.to_sixteenth(eighth))
        quarter = quarter + _grown(self.up_eighth(eighth))
        half = half + _grown(self.up_quarter(quarter))
        edge = self.edge(torch.cat([self.up_half(half), canvas, bounded], 1))
        return logits + self.change(edge)[:, 0]


def _grown(cells: torch.Tensor) -> torch.Tensor:
    """Twice the size, bilinearly."""
    return F.interpolate(cells, scale_factor=2.0, mode="bilinear")
