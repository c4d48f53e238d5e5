"""Rows of brain_mri as patients would give them: the folder has no ids, so blocks of 50 consecutive numbers stand for
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from learners_few import mixed, picture
from napari_medclipsam.evaluation.datasets import Sample, open_dataset
from napari_medclipsam.learning.contracts import Example, Label

BLOCK = 50
APART = 25
NAME = "brain tumor"


def block_of(sample: Sample) -> str:
    """Name what stands for the patient of a row."""
    return f"block {int(sample.name) // BLOCK}"


def teaching_rows(data: Path, n_blocks: int, of_each: int, seed: int) -> list[Sample]:
    """Return rows of the training split, block after block; kinds of tumour take turns."""
    rng = np.random.default_rng(seed)
    order = mixed(list(open_dataset(data / "brain_mri", "train").samples), rng)
    blocks: dict[str, list[Sample]] = {}
    for sample in order:
        blocks.setdefault(block_of(sample), []).append(sample)
    full = [rows[:of_each] for rows in blocks.values() if len(rows) >= of_each]
    return [sample for rows in full[:n_blocks] for sample in rows]


def apart_from(taught: Sequence[Sample], data: Path, split: str, most: int, seed: int = 0) -> list[Sample]:
    """Return rows of a split that are far from every number that is learnt from; kinds take turns."""
    numbers = np.array([int(s.name) for s in taught])
    rows = mixed(list(open_dataset(data / "brain_mri", split).samples), np.random.default_rng(seed))
    used = {block_of(s) for s in taught}
    far = [s for s in rows if block_of(s) not in used and abs(numbers - int(s.name)).min() > APART]
    return far[:most]


def example(sample: Sample, label: Label | None) -> Example:
    """Return a row to learn from."""
    labels = {} if label is None else {NAME: label}
    return Example(block_of(sample), (int(sample.name), None), block_of(sample), partial(picture, sample), labels)
