"""Slices that the parts of medclipsam-lite practise on: encoded once, some of them kept aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_medclipsam.learning.contracts import Example, Settings, Watch
from napari_medclipsam.learning.encoded import TRUST, CanvasLabel, canvas_label, encode, require_same_size
from napari_medclipsam.learning.settings import most_in_host_memory
from napari_medclipsam.learning.split import hash_share
from napari_medclipsam.models.lite.model import LiteModel

#: Kept in memory; the best trusted first.
MOST_SLICES = 120

_SLICE_BYTES = 5 << 19
_HELD_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class PracticeSlice:
    """An encoded slice: features float16 (304, 64, 64), what is known of each class, and if it is kept aside."""

    features: np.ndarray
    labels: dict[str, CanvasLabel]
    is_held: bool


def practice_slices(
    base: LiteModel, examples: Sequence[Example], names: set[str], settings: Settings, watch: Watch
) -> list[PracticeSlice]:
    """Encode the examples of some classes; about a fifth is kept aside, by patient, or else by a block of slices."""
    rng = np.random.default_rng(settings.seed)
    most = most_in_host_memory(settings, MOST_SLICES, _SLICE_BYTES)
    order = rng.permutation(len(examples))
    ranked = sorted(order, key=lambda i: -max((_trust(examples[i], n) for n in names), default=0.0))
    chosen = [examples[i] for i in sorted(ranked[:most])]
    chosen = [e for e in chosen if any(n in e.labels and e.labels[n].provenance != "refused" for n in names)]
    held = _held(chosen)
    found = []
    for number, example in enumerate(chosen):
        image = example.read()
        require_same_size(example, image)
        embedding = encode(base, image, lambda n=number: watch.step(0.2 * n / len(chosen)))  # type: ignore[misc]
        if embedding is not None:
            labels = {n: canvas_label(example, n) for n in names & set(example.labels)}
            labels = {n: one for n, one in labels.items() if not one.is_refusal}
            found.append(PracticeSlice(embedding.features.astype(np.float16), labels, number in held))
    return found


def _trust(example: Example, name: str) -> float:
    """How much a label of an example counts; 0 where there is none."""
    return TRUST[example.labels[name].provenance] if name in example.labels else 0.0


def _held(examples: list[Example]) -> set[int]:
    """Which examples are kept aside to see when to stop.

    A hash decides, so that a fit that goes on from an earlier one keeps the same patients aside: what has been learnt
    from already would be answered too well.
    """
    patients = sorted({e.patient for e in examples}, key=hash_share)
    if len(patients) >= 3:
        away = [p for p in patients[: len(patients) // 2] if hash_share(p) < _HELD_SHARE] or patients[:1]
        return {i for i, e in enumerate(examples) if e.patient in away}
    # Neighbouring slices are alike: a block at the end of each case.
    found: set[int] = set()
    for case in sorted({e.case for e in examples}):
        places = [i for i, e in enumerate(examples) if e.case == case]
        found |= set(places[len(places) - round(_HELD_SHARE * len(places)) :])
    return found
