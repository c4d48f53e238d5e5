"""What the parts of medclipsam-lite are trained with: a warm-up, a fall along a cosine, and averaged weights."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

Network = TypeVar("Network", bound=torch.nn.Module)

Told = Callable[[dict[str, float]], None]
"""Told a row of figures now and then."""


@dataclass(frozen=True)
class Schedule:
    """How a part is trained.

    Parameters
    ----------
    steps : int
        Batches.
    batch : int
        Pictures a batch.
    learning_rate : float
        Its peak, after a warm-up and before a fall along a cosine.
    weight_decay : float
        Of AdamW.
    averaging : float
        How much of the averaged weights, which are the ones kept, stays at each step.
    seed : int
        Chooses weights, pictures, changes and what is asked of them.
    """

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    averaging: float
    seed: int = 0


def train_averaged(
    net: Network,
    settings: Schedule,
    loss: Callable[[], torch.Tensor],
    log: Told,
    every: int = 25,
    groups: list[dict[str, Any]] | None = None,
) -> Network:
    """Train a network in place and return a copy with its averaged weights, in evaluation mode.

    Parameters
    ----------
    net : torch.nn.Module
        In training mode.
    settings : Schedule
        Steps and rates.
    loss : callable
        Draws a batch and returns its loss.
    log : callable
        Told step, mean loss and seconds.
    every : int
        Steps between two such rows.
    groups : list of dict, optional
        Of AdamW; by default all weights that are not frozen, decayed alike.
    """
    weights: Any = groups or [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, settings.learning_rate, weight_decay=settings.weight_decay)
    average = copy.deepcopy(net)
    started, running = time.monotonic(), 0.0
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * _share(step, settings.steps)
        value = loss()
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        _follow(average, net, min(settings.averaging, (step + 1) / (step + 10)))
        running += float(value.detach())
        if step % every == every - 1:
            log({"step": step + 1, "loss": running / every, "seconds": time.monotonic() - started})
            running = 0.0
    return average.eval()


def _share(step: int, steps: int) -> float:
    """Warm up over 60 steps, then fall along a cosine."""
    return min((step + 1) / 60, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)


@torch.no_grad()
def _follow(average: torch.nn.Module, current: torch.nn.Module, keep: float) -> None:
    """Move the averaged weights, and what layers know of their batches, towards the current ones."""
    for old, new in zip(average.state_dict().values(), current.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - keep)
