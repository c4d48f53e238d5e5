"""The grounding head of medclipsam-lite: a slice's embedding and a phrase's vector to saliency and presence.

A small U-shaped trunk reads the 64×64 embedding once per slice; the phrase then modulates a light decoder (FiLM, Perez
et al. 2018) whose last layer is a kernel made from the phrase. Several phrases on one slice share the trunk.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from napari_medclipsam.models.lite.region import RegionProbe
from napari_medclipsam.models.lite.text import WIDTH as TEXT_WIDTH

GRID = 128
"""Side of the saliency logits."""

_FINE, _MIDDLE, _COARSE, _TEXT = 64, 128, 192, 160


class Pointwise(nn.Linear):
    """A 1×1 convolution as a matrix product over the channels-last layout, which is the faster one on CPUs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, in, h, w) → (batch, out, h, w)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each place.

    Batches mix organs and scanners, so the statistics of a batch are not those of the one slice that is asked later;
    each place normalised by itself is the same in training and in use.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the shape (batch, channels, h, w)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Depthwise convolution, then two pointwise ones, added to the input (ConvNeXt, Liu et al. 2022)."""

    def __init__(self, width: int, kernel: int, spread: int = 2) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False),
            ChannelNorm(width),
            Pointwise(width, spread * width),
            nn.ReLU(inplace=True),
            Pointwise(spread * width, width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the shape."""
        return x + self.body(x)


class SelfAttention(nn.Module):
    """All places of the coarse grid look at each other; learned places tell left from right."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(1, side * side, width))
        self.norm = nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, 6, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the shape (batch, width, side, side)."""
        rows = x.permute(0, 2, 3, 1)
        tokens = self.norm(rows.flatten(1, 2)) + self.places
        mixed, _ = self.attend(tokens, tokens, tokens, need_weights=False)
        return (rows + mixed.view(rows.shape)).permute(0, 3, 1, 2)


class Film(nn.Module):
    """Normalise, then scale and shift channels as the phrase asks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.make = nn.Linear(_TEXT, 2 * width)

    def forward(self, x: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Keep the shape of `x`."""
        scale, shift = self.make(text)[..., None, None].chunk(2, dim=1)
        return self.norm(x) * (1 + scale) + shift


def _shuffle(cells: torch.Tensor) -> torch.Tensor:
    """(batch, 64·64, 4) → (batch, 128, 128): each coarse cell holds a 2×2 square of fine ones."""
    side = GRID // 2
    square = cells.view(-1, side, side, 2, 2).transpose(2, 3)
    return square.reshape(-1, GRID, GRID)


class GroundingHead(nn.Module):
    """Embedding (256, 64, 64) and phrase vector (384,) to saliency logits (128, 128) and a presence logit.

    Its `region` is fitted apart and says what part of the body the embedding shows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.region = RegionProbe()
        self.stem = Pointwise(256, _FINE)
        self.down_middle = nn.Conv2d(_FINE, _MIDDLE, 2, stride=2)
        self.pooled = Pointwise(256, _MIDDLE)
        self.middle = nn.Sequential(ChannelNorm(_MIDDLE), Block(_MIDDLE, 7), Block(_MIDDLE, 7), Block(_MIDDLE, 7))
        self.down_coarse = nn.Conv2d(_MIDDLE, _COARSE, 2, stride=2)
        self.coarse = nn.Sequential(
            ChannelNorm(_COARSE),
            Block(_COARSE, 7),
            SelfAttention(_COARSE, 16),
            Block(_COARSE, 7),
            SelfAttention(_COARSE, 16),
        )
        self.text = nn.Sequential(
            nn.Linear(TEXT_WIDTH, 256), nn.ReLU(inplace=True), nn.Linear(256, _TEXT), nn.LayerNorm(_TEXT)
        )
        self.film_coarse, self.film_middle = Film(_COARSE), Film(96)
        self.told_coarse, self.told_middle = Block(_COARSE, 5), Block(96, 5)
        self.coarse_to_middle, self.skip_middle = Pointwise(_COARSE, 96), Pointwise(_MIDDLE, 96)
        self.middle_to_fine, self.skip_fine = Pointwise(96, 64), Pointwise(_FINE, 64)
        self.kernel = nn.Linear(_TEXT, 4 * 64)
        self.bias = nn.Parameter(torch.full((1,), -3.0))
        self.presence = nn.Sequential(
            nn.Linear(_COARSE + 96 + _TEXT + 2, 128), nn.ReLU(inplace=True), nn.Linear(128, 1)
        )

    def trunk(self, embedding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What does not depend on the phrase: features at 64, 32 and 16 cells a side."""
        fine = F.relu(self.stem(embedding))
        middle = self.middle(self.down_middle(fine) + self.pooled(F.avg_pool2d(embedding, 2)))
        coarse = self.coarse(self.down_coarse(middle))
        return self.skip_fine(fine), self.skip_middle(middle), coarse

    def told(
        self, features: tuple[torch.Tensor, torch.Tensor, torch.Tensor], text: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the features under `self.text` of a phrase: 192, 96 and 64 channels at 16, 32 and 64 cells a side."""
        fine, middle, coarse = features
        coarse = self.told_coarse(F.relu(self.film_coarse(coarse, text)))
        x = middle + F.interpolate(self.coarse_to_middle(coarse), scale_factor=2.0, mode="bilinear")
        x = self.told_middle(F.relu(self.film_middle(x, text)))
        y = F.relu(fine + F.interpolate(self.middle_to_fine(x), scale_factor=2.0, mode="bilinear"))
        return coarse, x, y

    def answer(
        self, features: tuple[torch.Tensor, torch.Tensor, torch.Tensor], phrase: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Saliency logits (batch, 128, 128) and presence logits (batch,) for one phrase vector per image."""
        text = self.text(phrase)
        coarse, x, y = self.told(features, text)
        kernels = self.kernel(text).view(-1, 4, 64) / 8.0
        cells = y.permute(0, 2, 3, 1).flatten(1, 2) @ kernels.transpose(1, 2)
        logits = _shuffle(cells) + self.bias
        # Presence looks at the place that answers best, at the whole, and at how strongly the map answers.
        weights = F.avg_pool2d(logits[:, None], 4).flatten(2).softmax(-1)
        seen = (weights @ x.permute(0, 2, 3, 1).flatten(1, 2))[:, 0]
        flat = logits.flatten(1)
        strength = torch.stack([flat.topk(32, dim=1).values.mean(1), flat.sigmoid().mean(1) * 10], 1)
        evidence = torch.cat([coarse.mean((2, 3)), seen, text, strength], 1)
        return logits, self.presence(evidence)[:, 0]

    def forward(self, embedding: torch.Tensor, phrases: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Answer several phrases a picture: (b, 256, 64, 64), (b, n, 384) → (b, n, 128, 128), (b, n)."""
        batch, count = phrases.shape[:2]
        features = [f.repeat_interleave(count, 0) for f in self.trunk(embedding)]
        logits, presence = self.answer((features[0], features[1], features[2]), phrases.flatten(0, 1))
        return logits.view(batch, count, GRID, GRID), presence.view(batch, count)
