"""Learners by name: those of this package and those of plug-ins, each imported only when it is used."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Any

from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.contracts import Learner

ENTRY_POINT_GROUP = "napari_medclipsam.learners"

_OURS = {
    "instant": "napari_medclipsam.learning.instant:InstantLearner",
    "decoder": "napari_medclipsam.learning.decoder:DecoderLearner",
    "sam-mix": "napari_medclipsam.learning.sam_mix:SamMixLearner",
    "unet": "napari_medclipsam.learning.unet:UNetLearner",
}


#: These learn from something else than the accepted slices of a project, and are started in their own way.
_OTHERS = {"clip": "napari_medclipsam.learning.clip_learner:ClipLearner"}


def learner_names() -> tuple[str, ...]:
    """Return the name of every learner that learns from accepted slices, ours first; nothing is imported."""
    others = (point.name for point in metadata.entry_points(group=ENTRY_POINT_GROUP))
    return tuple(dict.fromkeys((*_OURS, *sorted(others))))


def require_learner(name: str) -> None:
    """Raise `LearningError` where there is no learner of this name; nothing is imported."""
    if name not in learner_names() and name not in _OTHERS:
        raise LearningError(f"There is no learner {name!r}; there are: {', '.join(learner_names())}.")


def find_learner(name: str) -> Learner:
    """Return a learner.

    Other packages add theirs through the entry-point group ``napari_medclipsam.learners``: a class that is called
    without arguments. A name of this package is not overridden.

    Raises
    ------
    LearningError
        If there is none of this name, or it can't be started.
    """
    try:
        made: Any = _class_of(name)()
    except (ImportError, AttributeError, OSError) as error:
        raise LearningError(f"The learner {name!r} can't be started: {error}. Reinstall what provides it.") from error
    learner: Learner = made
    return learner


def _class_of(name: str) -> Any:
    if name in _OURS or name in _OTHERS:
        module, _, attribute = (_OURS | _OTHERS)[name].partition(":")
        return getattr(import_module(module), attribute)
    for point in metadata.entry_points(group=ENTRY_POINT_GROUP, name=name):
        return point.load()
    raise LearningError(f"There is no learner {name!r}; there are: {', '.join(learner_names())}.")
