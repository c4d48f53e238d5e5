"""Two versions beside each other, on slices that neither has learnt from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.examples import project_examples
from napari_medclipsam.learning.gate import Verdict, judge
from napari_medclipsam.learning.loading import Pair, as_pair, device_of, load_version
from napari_medclipsam.learning.measuring import measure, measured_examples
from napari_medclipsam.learning.versions import Version, find_version
from napari_medclipsam.models.registry import load

#: Stands for the model that all began with.
BASE = "base"


def compare(
    project: Path, first: str, second: str, device: str | None, step: Callable[[int, int], None] | None = None
) -> Verdict:
    """Measure two versions of a project.

    Parameters
    ----------
    project : pathlib.Path
        Its folder.
    first, second : str
        Names of versions, or "base".
    device : str, optional
        As for `models.device.choose_device`.
    step : callable, optional
        Called with the slices that are done and all there are.

    Raises
    ------
    LearningError
        If a version is gone or damaged, or both have learnt from every patient with accepted slices.
    """
    versions = [None if name == BASE else find_version(project, name) for name in (first, second)]
    learnt = {patient for v in versions if v is not None for patient in _patients(v)}
    examples = [e for e in measured_examples(project_examples(project)) if e.patient not in learnt]
    if not examples:
        raise LearningError(
            "There is no accepted slice of a patient that neither has learnt from. Accept slices of another patient."
        )
    named = next((v.lineage["base"]["name"] for v in versions if v is not None), "lite")
    base = load(named, device)
    pairs = [_pair(v, base, device) for v in versions]

    def told(fraction: float) -> None:
        if step is not None:
            step(round(fraction * len(examples)), len(examples))

    return judge(list(measure(examples, pairs[0], pairs[1], told)), "held-out patients")


def _pair(version: Version | None, base: Any, device: str | None) -> Pair:
    return as_pair(base if version is None else load_version(version, base, device_of(device)), base)


def _patients(version: Version) -> list[str]:
    version.check()
    return list(version.lineage["data"]["patients"])
