"""Weights to disk, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from napari_medclipsam.files import atomic_path


def halved(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights in half precision; the Fourier features that place a click are kept exact."""
    exact = "gaussian_matrix"
    return {k: v.half() if v.dtype == torch.float32 and exact not in k else v for k, v in state.items()}


def save_tensors(path: Path, state: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file; raises `OutputError` where that is not possible, and leaves what was there."""
    with atomic_path(path) as temporary:
        save_file({k: v.cpu().contiguous().clone() for k, v in state.items()}, temporary, metadata)
