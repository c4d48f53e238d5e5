"""What models said of the slices of a case last, collected from its records."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_medclipsam.images.look import LOOK_SIZE
from napari_medclipsam.saliency.certainty import Certainty


@dataclass
class AxisScores:
    """Scores of the slices across one axis.

    Parameters
    ----------
    found : dict
        (slice index, label) → how sure the model is.
    looks : dict
        Slice index → uint8 (16,), see `images.look`.
    """

    found: dict[tuple[int, int], Certainty] = field(default_factory=dict)
    looks: dict[int, np.ndarray] = field(default_factory=dict)


class Scores:
    """The newest scores of each slice and class of a case."""

    def __init__(self) -> None:
        self._axes: dict[int | None, AxisScores] = {}

    def across(self, axis: int | None) -> AxisScores:
        """Return the scores of the slices across an axis; None for a flat picture."""
        return self._axes.get(axis, AxisScores())

    def take(self, values: Sequence[Mapping[str, Any]]) -> None:
        """Take in the parameter ``scores`` of a record.

        Raises
        ------
        ValueError, TypeError, KeyError, AttributeError
            If it says what can't be.
        """
        for value in values:
            scores = self._axes.setdefault(value["axis"], AxisScores())
            for index, label, presence, present, entropy, disagreement in value["rows"]:
                known = None if presence is None else float(presence)
                sure = Certainty(known, bool(present), float(entropy), float(disagreement))
                scores.found[int(index), int(label)] = sure
            for index, text in value["looks"].items():
                look = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
                if look.size == LOOK_SIZE:
                    scores.looks[int(index)] = look

    def to_json(self) -> list[dict[str, Any]]:
        """Return what `take` takes."""
        return [
            {
                "axis": axis,
                "rows": [
                    [*key, sure.presence, int(sure.present), sure.entropy, sure.disagreement]
                    for key, sure in scores.found.items()
                ],
                "looks": {str(i): base64.b64encode(look.tobytes()).decode("ascii") for i, look in scores.looks.items()},
            }
            for axis, scores in self._axes.items()
        ]
