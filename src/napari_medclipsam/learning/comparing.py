"""Two versions beside each other, on slices that neither has learnt from."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.clip_home import find_home
from napari_medclipsam.learning.contracts import Example
from napari_medclipsam.learning.examples import project_examples
from napari_medclipsam.learning.gate import Verdict, judge
from napari_medclipsam.learning.loading import Pair, as_pair, device_of, load_version
from napari_medclipsam.learning.measuring import measure_unseen, measured_examples
from napari_medclipsam.learning.split import read_split
from napari_medclipsam.learning.versions import MODEL, Version, find_version
from napari_medclipsam.models.registry import load

#: Stands for the model that all began with.
BASE = "base"
_DEFAULT = "lite"


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
        If these are fine-tuned encoders, a version is gone or damaged, or both have learnt from every patient with
        accepted slices.
    """
    if find_home(project) == project:
        raise LearningError(
            f"{project} has fine-tuned encoders; comparing draws masks, which they can't do. What each has gained over "
            f"the one in use before it is told by: medclipsam versions show {project} VERSION"
        )
    versions = [None if name == BASE else find_version(project, name) for name in (first, second)]
    learnt = [v for v in versions if v is not None]
    for version in learnt:
        version.check()
    split = read_split(project)
    base = load(learnt[0].lineage["base"]["name"] if learnt else _DEFAULT, device)
    examples = [e for e in measured_examples(project_examples(project)) if e.patient in split.held_out]

    def parts(e: Example) -> tuple[str, str] | None:
        fold = split.fold(e.patient)
        before, after = (MODEL if v is None else v.unseen_by(e.patient, fold) for v in versions)
        return None if before is None or after is None else (before, after)

    def loaded(version: Version | None, part: str) -> Pair:
        return as_pair(base if version is None else load_version(version, base, device_of(device), part), base)

    def told(fraction: float) -> None:
        if step is not None:
            step(round(fraction * len(examples)), len(examples))

    pairs = measure_unseen(examples, parts, partial(loaded, versions[0]), partial(loaded, versions[1]), told)
    if not pairs:
        raise LearningError(
            "There is no accepted slice of a patient that neither has learnt from. Accept slices of another patient."
        )
    return judge(pairs, "held-out patients")
