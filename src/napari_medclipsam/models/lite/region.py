"""Which part of the body a slice shows, so that a brain tumour is never found in a breast.

Lesions look alike to the grounding head, and "mass" or "tumour" is most of what a phrase says; what tells a cerebral
from a mammary mass is the picture around it.
"""

from __future__ import annotations

import torch
from torch import nn

REGIONS = ("neuro", "breast", "colon", "chest")

STRUCTURE_REGIONS = {
    "brain_tumor": "neuro",
    "breast_lesion": "breast",
    "polyp": "colon",
    "lungs": "chest",
    "left_lung": "chest",
    "right_lung": "chest",
    "cardiomediastinum": "chest",
    "airways": "chest",
    "ground_glass_opacities": "chest",
    "consolidation": "chest",
    "spinal_cord": "neuro",
    "hippocampus": "neuro",
    "anterior_hippocampus": "neuro",
    "posterior_hippocampus": "neuro",
}

LEAST_PROBABILITY = 0.05
"""A structure whose region is less probable than this is not in the slice, whatever the saliency says."""


def believed(presence: float, region_probability: float) -> float:
    """Return the presence of a structure, given how probable it is that the slice shows its part of the body."""
    return min(presence, region_probability) if region_probability < LEAST_PROBABILITY else presence


class RegionProbe(nn.Module):
    """A linear reading of the mean and the spread of each channel of an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.centre: torch.Tensor
        self.spread: torch.Tensor
        self.register_buffer("centre", torch.zeros(512))
        self.register_buffer("spread", torch.ones(512))
        self.read = nn.Linear(512, len(REGIONS))

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """(batch, 256, 64, 64) to logits (batch, 4), in the order of `REGIONS`."""
        return self.judge(summary(embedding))

    def judge(self, summaries: torch.Tensor) -> torch.Tensor:
        """(batch, 512) of `summary` to logits."""
        return self.read((summaries - self.centre) / self.spread)

    def probabilities(self, embedding: torch.Tensor) -> dict[str, float]:
        """Probability of each region for one slice, (1, 256, 64, 64)."""
        return dict(zip(REGIONS, self(embedding)[0].softmax(0).tolist(), strict=True))


def summary(embedding: torch.Tensor) -> torch.Tensor:
    """Mean and standard deviation of each channel: (batch, 256, 64, 64) to (batch, 512)."""
    return torch.cat([embedding.mean((2, 3)), embedding.std((2, 3))], 1)
