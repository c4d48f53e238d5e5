"""What every saliency method does with its map in the end: to image size, to [0, 1], and how alike two maps are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# A map that varies by less than this share of its size is rounding error and no finding.
_FLAT = 1e-6


def min_max(maps: torch.Tensor) -> torch.Tensor:
    """Stretch each map (..., rows, columns) to [0, 1]; one that is constant, or not finite, becomes zero everywhere."""
    import torch

    flat = maps.flatten(-2)
    low, high = flat.amin(-1)[..., None, None], flat.amax(-1)[..., None, None]
    is_flat = (high - low) <= _FLAT * torch.maximum(high.abs(), low.abs())
    is_flat |= ~torch.isfinite(high - low)
    return torch.where(is_flat, torch.zeros_like(maps), (maps - low) / torch.where(is_flat, 1, high - low))


def at_size(maps: torch.Tensor, shape_yx: tuple[int, int]) -> torch.Tensor:
    """Resize maps (n, rows, columns) bilinearly."""
    from torch.nn import functional

    return functional.interpolate(maps[:, None], shape_yx, mode="bilinear", align_corners=False)[:, 0]


def at_image_size(grid_map: torch.Tensor, shape_yx: tuple[int, int]) -> np.ndarray:
    """Return a map of the token grid at image size, float32 in [0, 1]; zero everywhere for a constant one."""
    return np.asarray(min_max(at_size(min_max(grid_map)[None], shape_yx))[0].cpu().numpy(), np.float32)


def likeness(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the correlation of two maps, in [0, 1] (less than 0 counts as 0); 0 where one of them is constant."""
    a, b = (np.asarray(min_max(m).cpu().numpy(), np.float64).ravel() for m in (first, second))
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.clip(np.corrcoef(a, b)[0, 1], 0, 1))
