"""What models said of slices, as a record keeps it: how sure they were, and what the slices look like."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_medclipsam.annotation.classes import ClassTable
from napari_medclipsam.saliency.certainty import Certainty

_DIGITS = 3


def scores_value(
    axis: int | None,
    found: Mapping[int, Mapping[str, Certainty]],
    looks: Mapping[int, np.ndarray],
    classes: ClassTable,
) -> list[dict[str, Any]]:
    """Return the parameter ``scores`` of a record; see docs/project-format.md.

    Parameters
    ----------
    axis : int or None
        That the slices lie across.
    found : dict
        Slice index → phrase → `Certainty`. Phrases without a class are left out: nothing is labelled with them.
    looks : dict
        Slice index → uint8 (16,), see `images.look`.
    classes : ClassTable
        To find the labels.
    """
    rows = []
    for index, by_phrase in sorted(found.items()):
        for phrase, sure in by_phrase.items():
            if (structure := classes.named(phrase)) is not None:
                presence = None if sure.presence is None else round(sure.presence, _DIGITS)
                figures = (round(sure.entropy, _DIGITS), round(sure.disagreement, _DIGITS))
                rows.append([index, structure.label, presence, int(sure.present), *figures])
    encoded = {str(index): base64.b64encode(look.tobytes()).decode("ascii") for index, look in sorted(looks.items())}
    return [{"axis": axis, "rows": rows, "looks": encoded}]
