"""Slices that the parts of medclipsam-lite practise on: encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_medclipsam.learning.contracts import Example, Settings, Watch
from napari_medclipsam.learning.encoded import TRUST, CanvasLabel, canvas_label, encode, require_same_size
from napari_medclipsam.learning.settings import most_in_host_memory
from napari_medclipsam.models.lite.model import LiteModel

#: Kept in memory; the best trusted first.
MOST_SLICES = 120

_SLICE_BYTES = 5 << 19


@dataclass(frozen=True, eq=False)
class PracticeSlice:
    """An encoded slice: features float16 (304, 64, 64), and what is known of each class."""

    features: np.ndarray
    labels: dict[str, CanvasLabel]


def practice_slices(
    base: LiteModel, examples: Sequence[Example], names: set[str], settings: Settings, watch: Watch
) -> list[PracticeSlice]:
    """Encode the examples of some classes."""
    rng = np.random.default_rng(settings.seed)
    most = most_in_host_memory(settings, MOST_SLICES, _SLICE_BYTES)
    order = rng.permutation(len(examples))
    ranked = sorted(order, key=lambda i: -max((_trust(examples[i], n) for n in names), default=0.0))
    chosen = [examples[i] for i in sorted(ranked[:most])]
    chosen = [e for e in chosen if any(n in e.labels and e.labels[n].provenance != "refused" for n in names)]
    found = []
    for number, example in enumerate(chosen):
        image = example.read()
        require_same_size(example, image)
        embedding = encode(base, image, lambda n=number: watch.step(0.2 * n / len(chosen)))  # type: ignore[misc]
        if embedding is not None:
            labels = {n: canvas_label(example, n) for n in names & set(example.labels)}
            labels = {n: one for n, one in labels.items() if not one.is_refusal}
            found.append(PracticeSlice(embedding.features.astype(np.float16), labels))
    return found


def _trust(example: Example, name: str) -> float:
    """How much a label of an example counts; 0 where there is none."""
    return TRUST[example.labels[name].provenance] if name in example.labels else 0.0
