"""Work for the models on one slice: planned on the GUI thread, run anywhere, applied on the GUI thread.

A request is a value: it holds the pixels and prompts as they were when it was planned. Its `run` touches nothing else,
so it may run in a thread, and its outcome comes back on the axes of the stored slice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import Prompts
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import PromptableSegmenter, SaliencyMap, TextGrounder
from napari_medclipsam.pipeline import PipelineOptions
from napari_medclipsam.reading_view import Turn

Progress = Callable[[int, int], None]
Cancelled = Callable[[], bool]


@dataclass(frozen=True)
class Ticket:
    """When a request was planned: an outcome is dropped if its slice was decided upon since, or a newer one is in.

    Parameters
    ----------
    epoch : int
        Of the slice; grows with every accept, reject, stroke, undo and the like.
    order : int
        Grows with every request of a session.
    """

    epoch: int
    order: int


@dataclass(frozen=True, eq=False)
class TextOutcome:
    """What a text found in a slice, on its stored axes.

    Parameters
    ----------
    request : TextRequest
        What was asked.
    answers : tuple of TextAnswer
        One per phrase.
    """

    request: TextRequest
    answers: tuple[TextAnswer, ...]


@dataclass(frozen=True, eq=False)
class TextAnswer:
    """What one phrase found in a slice.

    Parameters
    ----------
    saliency : SaliencyMap
        With the phrase, presence, verdict, and whether the phrase is known; (rows, columns) as stored.
    mask_yx : numpy.ndarray
        bool, without the pixels that another phrase of the same text won.
    prompts : Prompts
        The boxes (and points) that the segmenter got.
    estimated_iou : float
        The segmenter's estimate.
    """

    saliency: SaliencyMap
    mask_yx: np.ndarray
    prompts: Prompts
    estimated_iou: float


@dataclass(frozen=True, eq=False)
class TextRequest:
    """A text on one slice; see `Session.plan_text`."""

    at: SliceAt
    text: str
    image: Slice
    turn: Turn
    ticket: Ticket
    options: PipelineOptions = field(default_factory=PipelineOptions)
    kind: ClassVar[str] = "text"

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> TextOutcome:
        """Ask the models; see `pipeline.segment_slice` for what it raises."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class MaskOutcome:
    """The mask of one object, on the axes of the stored slice.

    Parameters
    ----------
    request : MaskRequest
        What was asked.
    logits_yx : numpy.ndarray
        float16; the mask is where they are positive.
    estimated_iou : float
        The segmenter's estimate.
    """

    request: MaskRequest
    logits_yx: np.ndarray
    estimated_iou: float


@dataclass(frozen=True, eq=False)
class MaskRequest:
    """The prompts of one object in one slice; see `Session.plan_mask`."""

    at: SliceAt
    key: ObjectKey
    prompts: Prompts
    image: Slice
    turn: Turn
    ticket: Ticket
    prior_logits_yx: np.ndarray | None = None
    kind: ClassVar[str] = "mask"

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> MaskOutcome:
        """Outline the object.

        Raises
        ------
        PromptError
            If there is neither a box nor a positive point.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class EmbedRequest:
    """A slice that is likely to be looked at next, encoded ahead; see `Session.plan_embedding`. Nothing to apply."""

    at: SliceAt
    image: Slice
    kind: ClassVar[str] = "embed"

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> None:
        """Fill the models' caches."""
        raise NotImplementedError
