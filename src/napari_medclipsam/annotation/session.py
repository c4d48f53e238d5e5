"""One image being labelled: everything that is known about it, and all that can be done to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count

import numpy as np

from napari_medclipsam.annotation import applying, planning
from napari_medclipsam.annotation.ask_request import AskRequest, Marked
from napari_medclipsam.annotation.book import Change, Ticket
from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.labelling import Labelling
from napari_medclipsam.annotation.phrasings import PhrasingsRequest
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import Prompts
from napari_medclipsam.annotation.requests import (
    EmbedRequest,
    MaskOutcome,
    MaskRequest,
    TextOutcome,
    TextRequest,
)
from napari_medclipsam.annotation.stack_requests import PropagationRequest, StackOutcome, VolumeRequest
from napari_medclipsam.asking.sentences import Question
from napari_medclipsam.images.intensity import Window
from napari_medclipsam.pipeline import PipelineOptions

Outcome = TextOutcome | MaskOutcome | StackOutcome


class Session(Labelling):
    """All that is known about one image. Not safe to use from two threads at once: it belongs to the GUI thread.

    Parameters
    ----------
    image : AnnotatedImage
        What is being labelled.
    labels : numpy.ndarray, optional
        A mask to go on with, uint8 of the image's shape; a class is added for each of its labels.
    undo_bytes : int
        Memory for undo.

    Attributes
    ----------
    classes : ClassTable
        The structures; change names, colours and visibility directly on it.
    text : str
        What was asked last.
    window : str or tuple of float
        Intensity window that the models see; see `images.intensity`.
    options : PipelineOptions
        How saliency becomes prompts, among it ``level``, the threshold of the coarse mask.
    overlap : {"new", "old", "score"}
        Who gets a voxel that two objects claim when a proposal is accepted: the new one, the one that has it, or the
        one with the higher estimated IoU. Masks drawn by hand or read from a file count as certain.
    keep_hand_edits : bool
        True: accepting a proposal changes no voxel that was drawn or erased by hand.
    current : ObjectKey or None
        The object that prompts and strokes go to; None before there is a class.
    """

    def __init__(self, image: AnnotatedImage, labels: np.ndarray | None = None, undo_bytes: int = 256 << 20) -> None:
        super().__init__(image, labels, undo_bytes)
        self.text = ""
        self.window: Window = "auto"
        self.options = PipelineOptions()
        self._orders = count(1)
        self._taken: dict[tuple[SliceAt, str, ObjectKey | None], int] = {}

    # Work for the models: plan here, run anywhere, apply here.

    def plan_text(self, at: SliceAt, text: str | None = None) -> TextRequest:
        """Plan to look for a text, by default the last one, in a slice.

        Raises
        ------
        PromptError
            If the text can't be used.
        ImageError
            If there is no such slice, or the window can't be used.
        """
        return planning.plan_text(self, at, self.text if text is None else text)

    def plan_phrasings(self, at: SliceAt, lines: Iterable[str]) -> PhrasingsRequest:
        """Plan to see what several phrasings, one a line, find in a slice; nothing is proposed.

        Raises
        ------
        PromptError
            As `prompting.text.phrasings_of`.
        ImageError
            As `plan_text`.
        """
        return planning.plan_phrasings(self, at, lines)

    def plan_question(
        self, at: SliceAt, asked: Question | Sequence[str], region_yx: np.ndarray | None = None
    ) -> AskRequest:
        """Plan to answer a closed question, or "what is this?" with the names to choose from, about a slice.

        `region_yx` is the part of it that is meant, bool (rows, columns) as stored. Nothing of the session changes by
        the answer.

        Raises
        ------
        PromptError
            If the names can't be used.
        """
        return planning.plan_question(self, at, asked, region_yx)

    def marked_region(self, at: SliceAt) -> Marked | None:
        """Return what the user has marked in a slice: the mask of the current class there, else the newest box."""
        return planning.marked_region(self, at)

    def plan_mask(self, at: SliceAt, key: ObjectKey | None = None, prompts: Prompts | None = None) -> MaskRequest:
        """Plan to outline an object, by default the current one, from its prompts, or from those it is about to get.

        Points that were added since the last mask correct it; other changes start anew.

        Raises
        ------
        PromptError
            If it has no box and no positive point in this slice, and no mask that negative points could correct.
        """
        return planning.plan_mask(self, at, self._key(key), prompts)

    def plan_embedding(self, at: SliceAt) -> EmbedRequest | None:
        """Plan to encode a slice ahead; None where the image has no such slice."""
        return planning.plan_embedding(self, at)

    def plan_propagation(
        self, at: SliceAt, key: ObjectKey | None = None, *, first: int | None = None, last: int | None = None
    ) -> PropagationRequest:
        """Plan to carry an accepted object to the slices on both sides.

        Each side ends at the next anchor of the object, at `first` or `last`, or where the structure ends. After a
        correction in between, this fills just the spans beside it again.

        Raises
        ------
        PromptError
            If the object is not accepted in this slice, or there is no slice to go to.
        """
        return planning.plan_propagation(self, at, self._key(key), first, last)

    def plan_volume(
        self, at: SliceAt, text: str | None = None, *, first: int | None = None, last: int | None = None
    ) -> VolumeRequest:
        """Plan to look for a text, by default the last one, in every slice of the stack of `at`, or of a range.

        Slices where all its structures are accepted are left out.

        Raises
        ------
        PromptError
            If the text can't be used, or no slice is left.
        """
        return planning.plan_volume(self, at, self.text if text is None else text, first, last)

    def apply(self, outcome: Outcome | None) -> Change:
        """Take in what the models found, except for slices where it is stale.

        A text or a stack of slices is one step of undo; a mask belongs to the step that changed its prompts. None
        (from a slice encoded ahead) changes nothing.
        """
        match outcome:
            case TextOutcome():
                return applying.apply_text(self, outcome)
            case MaskOutcome():
                return applying.apply_mask(self, outcome)
            case StackOutcome():
                return applying.apply_stack(self, outcome)
        return Change()

    def ticket(self, at: SliceAt) -> Ticket:
        """Return when it is now for a slice, for a request."""
        return self.book.ticket(at, next(self._orders))

    def take(self, at: SliceAt, ticket: Ticket, kind: str, key: ObjectKey | None = None) -> bool:
        """Tell whether an outcome that was planned at `ticket` may still be applied, and remember that it is."""
        now = self.book.ticket(at)
        # A preview follows a drag: only a newer preview makes it stale, newer prompts do not.
        changed = ticket.decisions != now.decisions or (kind != "mask" and ticket.edits != now.edits)
        if changed or ticket.order < self._taken.get((at, kind, key), 0):
            return False
        self._taken[(at, kind, key)] = ticket.order
        return True
