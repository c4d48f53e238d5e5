"""The words for steps of undo and for what they did."""

from __future__ import annotations

from collections.abc import Mapping

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.prompts import Prompts
from napari_medclipsam.annotation.states import SliceState


def prompt_verb(before: Prompts, after: Prompts) -> str:
    """Return what was done to prompts, for the name of the step of undo."""
    n_before = (len(before.points), len(before.boxes_xyxy))
    n_after = (len(after.points), len(after.boxes_xyxy))
    if n_after == n_before:
        return "move prompt"
    what = "point" if n_after[0] != n_before[0] else "box"
    return f"{'add' if n_after > n_before else 'remove'} {what}"


def range_name(states: Mapping[SliceAt, SliceState]) -> str:
    """Name the slices that a step changed."""
    indices = sorted(at.index for at in states)
    return f"slices {indices[0]}–{indices[-1]}" if indices else "slices"


def none_message(states: Mapping[SliceAt, SliceState]) -> str:
    """Say so where a step changed no slice."""
    return "" if states else "There is no proposal in these slices."
