"""What every learner on torch does with its settings: memory, seed, the same result each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from napari_medclipsam.learning.contracts import Settings

#: Of the memory there is, what a fit may fill: the rest is for fragments, and on a CPU for everybody else.
_SHARE = {"cuda": 0.8, "mps": 0.6, "cpu": 0.3}


def most_at_once(settings: Settings, most: int, slice_bytes: int) -> int:
    """Return how many slices to have in memory at once.

    Parameters
    ----------
    settings : Settings
        Device, and its memory where the budget says so; else what is free now.
    most : int
        Not more than so many.
    slice_bytes : int
        What a slice takes, about.
    """
    kind = torch.device(settings.device).type
    there = settings.budget.memory_bytes
    if there is None:
        there = torch.cuda.mem_get_info(settings.device)[0] if kind == "cuda" else psutil.virtual_memory().available
    return max(1, min(most, int(there * _SHARE.get(kind, 0.3)) // slice_bytes))


def most_in_host_memory(settings: Settings, most: int, slice_bytes: int) -> int:
    """Return the same of slices that wait beside the processor, whatever the device."""
    return most_at_once(settings, most, slice_bytes) if settings.device == "cpu" else most


@contextmanager
def seeded(settings: Settings) -> Iterator[None]:
    """Seed torch, and make it deterministic where that is asked for; how it was set comes back."""
    was, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.manual_seed(settings.seed)
    if settings.deterministic:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was)
        torch.backends.cudnn.benchmark = benchmark
