"""Where each taught structure is, read from the picture itself: the second opinion beside the grounding head.

A U-Net (Ronneberger et al. 2015) on EfficientNet-Lite0 (Tan and Le 2019; TensorFlow's Lite variant, ImageNet weights),
trained from end to end. The grounding head reads an encoder that is frozen; this one may look for what it needs.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from napari_medclipsam.models.lite.region import STRUCTURE_REGIONS

_WIDTHS = (128, 96, 64, 32)
_STRONGEST = 32


class Up(nn.Module):
    """Twice the side: what comes from below and what the encoder saw at this side, added and smoothed."""

    def __init__(self, below: int, beside: int, width: int) -> None:
        super().__init__()
        self.below, self.beside = nn.Conv2d(below, width, 1, bias=False), nn.Conv2d(beside, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.smooth = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, x: torch.Tensor, beside: torch.Tensor) -> torch.Tensor:
        """(b, below, h, w), (b, beside, 2h, 2w) → (b, width, 2h, 2w)."""
        wide = F.interpolate(self.below(x), scale_factor=2.0, mode="bilinear")
        smoothed: torch.Tensor = self.smooth(F.relu(self.norm(wide + self.beside(beside))))
        return smoothed


class StructureNet(nn.Module):
    """Canvas (3, 256, 256) in [0, 1] to logits (n, 128, 128) and presence logits (n,), one for each structure.

    The order is that of `region.STRUCTURE_REGIONS`.
    """

    def __init__(self) -> None:
        import timm

        super().__init__()
        count = len(STRUCTURE_REGIONS)
        self.encoder = timm.create_model("tf_efficientnet_lite0", features_only=True, pretrained=False)
        *beside, deepest = self.encoder.feature_info.channels()
        below = (deepest, *_WIDTHS[:-1])
        self.ups = nn.ModuleList(map(Up, below, reversed(beside), _WIDTHS))
        self.read = nn.Conv2d(_WIDTHS[-1], count, 1)
        self.whole = nn.Sequential(nn.Linear(deepest, 64), nn.ReLU(), nn.Linear(64, count))
        self.strength = nn.Parameter(torch.full((count,), 0.3))

    def forward(self, canvas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(b, 3, 256, 256) → (b, n, 128, 128), (b, n)."""
        *beside, x = self.encoder(canvas * 2.0 - 1.0)
        seen = self.whole(x.mean((2, 3)))
        for up, features in zip(self.ups, reversed(beside), strict=True):
            x = up(x, features)
        logits = self.read(x)
        strongest = F.avg_pool2d(logits, 2).flatten(2).topk(_STRONGEST, dim=2).values.mean(2)
        return logits, seen + self.strength * strongest
