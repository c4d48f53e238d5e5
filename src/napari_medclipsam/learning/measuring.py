"""Dice of models with what was accepted, slice by slice: what the gate judges by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.learning.contracts import Example
from napari_medclipsam.learning.gate import Pair
from napari_medclipsam.learning.loading import Pair as Models
from napari_medclipsam.models.contracts import PromptSet
from napari_medclipsam.pipeline import segment_slice

#: Slices of one patient are alike: more of them say little and cost time.
MOST_SLICES_PER_PATIENT = 40

_JUDGED = ("drawn", "accepted", "propagated")


def is_accepted(example: Example) -> bool:
    """Tell whether a reader has accepted some class of it."""
    return any(label.provenance in _JUDGED for label in example.labels.values())


def measured_examples(examples: Sequence[Example]) -> list[Example]:
    """Return the examples that a reader has accepted, at most `MOST_SLICES_PER_PATIENT` of each patient by a hash."""
    patients: dict[str, list[Example]] = {}
    for example in examples:
        if is_accepted(example):
            patients.setdefault(example.patient, []).append(example)
    return [e for found in patients.values() for e in sorted(found, key=_drawn)[:MOST_SLICES_PER_PATIENT]]


def _drawn(example: Example) -> bytes:
    return hashlib.sha256(f"{example.case}{example.position}".encode()).digest()


def measure_unseen(
    examples: Sequence[Example],
    parts: Callable[[Example], tuple[str, str] | None],
    before: Callable[[str], Models],
    after: Callable[[str], Models],
    step: Callable[[float], None],
) -> list[Pair]:
    """Return the pairs of examples, each measured with parts of two versions that have not seen its patient.

    Parameters
    ----------
    examples : sequence of Example
        See `measured_examples`.
    parts : callable
        Returns the names of the two parts for an example; None leaves it out.
    before, after : callable
        Return the models of a part; those of one part are asked for once.
    step : callable
        Told the fraction that is done.
    """
    groups: dict[tuple[str, str], list[Example]] = {}
    for example in examples:
        if (chosen := parts(example)) is not None:
            groups.setdefault(chosen, []).append(example)
    pairs: list[Pair] = []
    n_slices, n_done = sum(map(len, groups.values())), 0
    for (first, second), found in groups.items():

        def told(fraction: float, done: int = n_done, n: int = len(found)) -> None:
            step((done + fraction * n) / n_slices)

        pairs += measure(found, before(first), after(second), told)
        n_done += len(found)
    return pairs


def measure(
    examples: Sequence[Example], before: Models, after: Models, step: Callable[[float], None]
) -> Iterator[Pair]:
    """Yield how well two models draw each accepted class of each example: from its name, and from one click inside.

    Parameters
    ----------
    examples : sequence of Example
        That neither has learnt from.
    before, after : tuple
        (TextGrounder, PromptableSegmenter) in use, and of the candidate.
    step : callable
        Told the fraction that is done, before each slice.
    """
    for number, example in enumerate(examples):
        step(number / len(examples))
        image = example.read()
        at = (example.case, example.position)
        judged = {name: label for name, label in example.labels.items() if label.provenance in _JUDGED}
        for structure, label in judged.items():
            drawn = [segment_slice(image, structure, *models).structures[0].mask_yx for models in (before, after)]
            yield Pair(example.patient, at, structure, "text", *(dice(mask, label.mask_yx) for mask in drawn))
            if not label.mask_yx.any():
                continue
            if before[1] is after[1]:
                # One who answers clicks for both answers them alike.
                continue
            click = _click(label.mask_yx)
            clicked = [models[1].masks(models[1].embed(image), click).mask_yx for models in (before, after)]
            yield Pair(example.patient, at, structure, "click", *(dice(mask, label.mask_yx) for mask in clicked))


def _click(mask_yx: np.ndarray) -> PromptSet:
    # Here, for it brings torch.
    from napari_medclipsam.learning.lite_clicks import central_pixel

    return PromptSet(np.array([central_pixel(mask_yx)], np.float32), np.ones(1, np.int64))
