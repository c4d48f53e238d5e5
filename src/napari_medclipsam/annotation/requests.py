"""Work for the models on one slice: planned on the GUI thread, run anywhere, applied on the GUI thread.

A request is a value: it holds the pixels and prompts as they were when it was planned. Its `run` touches nothing else,
so it may run in a thread, and its outcome comes back on the axes of the stored slice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from napari_medclipsam.annotation.book import Ticket
from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import Point, Prompts, prompt_sets
from napari_medclipsam.images.intensity import Window
from napari_medclipsam.images.look import look_of
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import EncodesAhead, PromptableSegmenter, SaliencyMap, TextGrounder
from napari_medclipsam.pipeline import PipelineOptions, segment_slice
from napari_medclipsam.prompting.propagation import joined_masks
from napari_medclipsam.reading_view import Turn
from napari_medclipsam.results import SliceResult, StructureResult
from napari_medclipsam.saliency.certainty import Certainty
from napari_medclipsam.saliency.work import watched

#: Told (slices done, slices in all); while a slow map is made, with the share of its slice that is done.
Progress = Callable[[float, int], None]
Cancelled = Callable[[], bool]
Verdict = Literal["found", "unsure", "not in this image", "not known"]

# A presence this close to the model's own threshold is not a verdict.
_UNSURE = 0.15
_MOST_LOGIT = 16.0


def models_name(grounder: TextGrounder, segmenter: PromptableSegmenter) -> str:
    """Return what records call the models that answered: "lite", "biomedclip+sam-vit-b"; with a version where known."""
    models: list[Any] = [grounder] if grounder is segmenter else [grounder, segmenter]
    return "+".join(f"{m.name} {getattr(m, 'version', '')}".strip() for m in models)


def verdict_of(seen: SaliencyMap, is_drawn: bool = True) -> Verdict:
    """Return how sure a model is that a structure is in the slice, given whether a mask of it could be drawn."""
    if not seen.known:
        return "not known"
    if not seen.depends_on_text:
        return "not in this image"
    if abs(seen.presence - 0.5) < _UNSURE or (seen.present and not is_drawn):
        return "unsure"
    return "found" if seen.present else "not in this image"


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
        The boxes and points that the segmenter got.
    estimated_iou : float
        The segmenter's estimate.
    certainty : Certainty
        How sure the model is of it.
    """

    saliency: SaliencyMap
    mask_yx: np.ndarray
    prompts: Prompts
    estimated_iou: float
    certainty: Certainty

    @property
    def verdict(self) -> Verdict:
        """How sure the model is that the structure is in the slice."""
        return verdict_of(self.saliency, bool(self.mask_yx.any()))


@dataclass(frozen=True, eq=False)
class TextOutcome:
    """What a text found in a slice, on its stored axes.

    Parameters
    ----------
    request : TextRequest
        What was asked.
    answers : tuple of TextAnswer
        One per phrase.
    look : numpy.ndarray
        uint8 (16,): what the slice looks like, see `images.look`.
    model : str
        Who answered.
    """

    request: TextRequest
    answers: tuple[TextAnswer, ...]
    look: np.ndarray
    model: str = ""


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
        asked = watched(grounder, progress, cancelled)
        result = segment_slice(self.image, self.text, asked, segmenter, self.options)
        answers, look = stored_answers(result, self.turn), look_of(self.image)
        return TextOutcome(self, answers, look, models_name(grounder, segmenter))


def stored_answers(result: SliceResult, turn: Turn) -> tuple[TextAnswer, ...]:
    """Return what was found in a turned slice on the axes of the stored one."""
    return tuple(
        TextAnswer(
            replace(found.saliency, values_yx=np.ascontiguousarray(turn.to_stored(found.saliency.values_yx))),
            np.ascontiguousarray(turn.to_stored(result.label_yx == found.label)),
            given_prompts(found).stored(turn, _stored_shape(result.label_yx.shape, turn)),
            found.estimated_iou,
            Certainty.of(found.saliency, result.label_yx == found.label),
        )
        for found in result.structures
    )


def given_prompts(found: StructureResult) -> Prompts:
    """Return the boxes and points that the pipeline gave to the segmenter."""
    points = [
        Point(float(x), float(y), bool(label))
        for given in found.prompts
        for (x, y), label in zip(given.points_xy, given.point_labels, strict=True)
    ]
    return Prompts(tuple(points), found.boxes_xyxy)


def _stored_shape(turned_shape: tuple[int, ...], turn: Turn) -> tuple[int, int]:
    rows, columns = turned_shape
    return (columns, rows) if turn.swap else (rows, columns)


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
    model : str
        Who answered.
    """

    request: MaskRequest
    logits_yx: np.ndarray
    estimated_iou: float
    model: str = ""


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
            If there is neither a box, nor a positive point, nor an earlier mask.
        """
        shape_yx = _stored_shape(self.image.shape_yx, self.turn)
        prior = None if self.prior_logits_yx is None else self.turn.to_turned(self.prior_logits_yx).astype(np.float32)
        sets = prompt_sets(self.prompts.turned(self.turn, shape_yx), self.image.shape_yx, prior)
        found = joined_masks(segmenter, segmenter.embed(self.image), sets)
        logits = np.clip(self.turn.to_stored(found.logits_yx), -_MOST_LOGIT, _MOST_LOGIT)
        logits = np.ascontiguousarray(logits, np.float16)
        return MaskOutcome(self, logits, found.estimated_iou, models_name(grounder, segmenter))


@dataclass(frozen=True, eq=False)
class EmbedRequest:
    """A slice that is likely to be looked at next, encoded ahead; see `Session.plan_embedding`. Nothing to apply.

    It shares the voxels of the image, which nobody writes, so that planning many costs nothing.
    """

    image: AnnotatedImage
    window: Window
    at: SliceAt
    kind: ClassVar[str] = "embed"

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> bool:
        """Fill the models' caches, unless there is nothing to see in the slice; False if it was given up."""
        picture = self.image.slice_pixels(self.at, self.window)
        if picture.pixels.min() == picture.pixels.max():
            return True
        models = [segmenter]
        if grounder is not segmenter and isinstance(grounder, PromptableSegmenter):
            models.append(grounder)
        return all(_embedded(model, picture, cancelled) for model in models)


def _embedded(model: PromptableSegmenter, picture: Slice, cancelled: Cancelled | None) -> bool:
    if cancelled is not None and isinstance(model, EncodesAhead):
        return model.embed_ahead(picture, cancelled)
    model.embed(picture)
    return True
