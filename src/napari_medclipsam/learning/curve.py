"""The figures of a run so far, as curves: what `teller.Teller` has written, a line each."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from napari_medclipsam.learning.folders import work_folder

# A picture has no room for more; what is between is left out evenly.
_MOST_POINTS = 400
_NOT_FIGURES = ("seconds", "doing")


@dataclass(frozen=True)
class Curve:
    """One figure over the run.

    Parameters
    ----------
    name : str
        Such as "loss" or "dice".
    points : tuple of (float, float)
        Seconds of work, and the figure then; NaN between two fits, which have nothing to do with each other.
    """

    name: str
    points: tuple[tuple[float, float], ...]


def read_curves(project: Path) -> tuple[Curve, ...]:
    """Return the curves of the last run of a project, in the order in which they began; none where there is no run."""
    found: dict[str, list[tuple[float, float]]] = {}
    fit = None
    with suppress(OSError):
        text = (work_folder(project) / "progress.jsonl").read_text(encoding="utf-8")
        for line in text.splitlines():
            # The last line may be half-written.
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                value = json.loads(line)
                at = float(value["seconds"])
                if fit not in (None, value.get("doing")):
                    for points in found.values():
                        points.append((at, math.nan))
                fit = value.get("doing")
                for name in (key for key in value if key not in _NOT_FIGURES):
                    found.setdefault(name, []).append((at, float(value[name])))
    return tuple(Curve(name, tuple(_thinned(points))) for name, points in found.items())


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    step = -(-len(points) // _MOST_POINTS)
    # From the end: the newest figure is always shown.
    return points[::-1][:: max(1, step)][::-1]
