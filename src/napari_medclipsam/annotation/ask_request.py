"""A question about a slice, planned on the GUI thread and run anywhere; its answer changes nothing of the session."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.requests import Cancelled, Progress, models_name
from napari_medclipsam.asking.answering import Asked
from napari_medclipsam.asking.answers import Answer
from napari_medclipsam.asking.sentences import Question
from napari_medclipsam.asking.words import Words
from napari_medclipsam.images.intensity import Looks
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import PromptableSegmenter, TextGrounder
from napari_medclipsam.reading_view import Turn


@dataclass(frozen=True, eq=False)
class Marked:
    """A part of a slice that the user has marked.

    Parameters
    ----------
    mask_yx : numpy.ndarray
        bool (rows, columns) as stored.
    name : str
        What it is, for the user: 'the mask of "polyp"'.
    """

    mask_yx: np.ndarray
    name: str


@dataclass(frozen=True, eq=False)
class AskOutcome:
    """An answer, its region and map on the axes of the stored slice.

    Parameters
    ----------
    request : AskRequest
        What was asked.
    answer : Answer
        What was said.
    model : str
        Who answered.
    """

    request: AskRequest
    answer: Answer
    model: str


@dataclass(frozen=True, eq=False)
class AskRequest:
    """A closed question, or the names that "what is this?" chooses from; see `Session.plan_question`."""

    at: SliceAt
    asked: Question | Words
    image: Slice
    turn: Turn
    region_yx: np.ndarray | None
    looks_like: Looks = ""
    kind: ClassVar[str] = "ask"

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> AskOutcome:
        """Ask the models; see `asking.answering.Asked` for what it raises."""
        region = self.region_yx
        turned = None if region is None else np.ascontiguousarray(self.turn.to_turned(region))
        models = Asked.of(grounder, self.looks_like)
        if isinstance(self.asked, Question):
            answer = models.answer(self.image, turned, self.asked)
        else:
            answer = models.name(self.image, turned, self.asked.words)
            answer = replace(answer, notes=(*self.asked.notes, *answer.notes))
        if answer.region_yx is not None:
            answer = replace(answer, region_yx=region)
        if answer.saliency is not None:
            values = np.ascontiguousarray(self.turn.to_stored(answer.saliency.values_yx))
            answer = replace(answer, saliency=replace(answer.saliency, values_yx=values))
        return AskOutcome(self, answer, models_name(grounder, grounder))  # type: ignore[arg-type]
