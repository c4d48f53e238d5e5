"""Small pictures to learn from: a tumour of brain_mri in its surroundings, or a disk that is never twice alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from napari_medclipsam.evaluation.datasets import open_dataset, read_sample
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.contracts import Example, Label, LearningCancelled, Provenance
from synthetic import picture

SIDE = 64


class Watcher:
    """Looks on, and may end the fit when it is so far."""

    def __init__(self, end_at: float = 2.0) -> None:
        self.fractions: list[float] = []
        self.losses: list[float] = []
        self._end_at = end_at

    def step(self, fraction: float, **figures: float) -> None:
        self.fractions.append(fraction)
        self.losses += [figures["loss"]] if "loss" in figures else []
        if fraction >= self._end_at:
            raise LearningCancelled


def disk(seed: int, provenance: Provenance = "drawn", name: str = "disk", there: bool = True) -> Example:
    """A slice with a disk, a square and a bar, moved and noisy; of one class the mask is known."""
    rng = np.random.default_rng(seed)
    shapes = ("disk", "square", "bar") if there else ("square", "bar")
    pixels, masks = picture(*shapes, size=SIDE)
    move = tuple(int(d) for d in rng.integers(-6, 12, 2))
    pixels = np.roll(pixels, move, (0, 1)) + rng.normal(0, 6, pixels.shape)
    image = Slice(np.clip(pixels, 0, 255).astype(np.uint8))
    mask = np.roll(masks["disk"], move, (0, 1)) if there else np.zeros((SIDE, SIDE), bool)
    return Example(f"c{seed}", (seed, None, None), f"p{seed}", lambda: image, {name: Label(mask, provenance)})


def bare(example: Example, **present: bool) -> Example:
    """The slice without its masks."""
    return replace(example, labels={}, present=present)


def tumours(data: Path, n: int) -> list[Example]:
    """Cut-outs of 128 pixels around tumours of the training rows of brain_mri, halved in size."""
    found = []
    for sample in open_dataset(data / "brain_mri", "train").samples[:: 1000 // n][:n]:
        image, mask = read_sample(sample)
        rows, columns = np.nonzero(mask)
        top = int(np.clip(rows.mean() - 64 + len(found) * 3, 0, mask.shape[0] - 128))
        left = int(np.clip(columns.mean() - 64, 0, mask.shape[1] - 128))
        part = (slice(top, top + 128), slice(left, left + 128))
        pixels = np.asarray(Image.fromarray(image.pixels[part]).resize((SIDE, SIDE)))
        small = Slice(np.ascontiguousarray(pixels))
        label = Label(np.ascontiguousarray(mask[part][::2, ::2]), "drawn")
        found.append(Example(sample.name, (None, None), sample.name, lambda s=small: s, {"tumour": label}))
    return found
