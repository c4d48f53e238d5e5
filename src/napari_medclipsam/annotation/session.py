"""One image being labelled: everything that is known about it, and the verbs that change it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_medclipsam.annotation.classes import ClassTable, StructureClass
from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.masks import LabelMasks
from napari_medclipsam.annotation.places import Box, ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import Prompts
from napari_medclipsam.annotation.requests import EmbedRequest, MaskOutcome, MaskRequest, TextOutcome, TextRequest
from napari_medclipsam.annotation.stack_requests import PropagationRequest, StackOutcome, VolumeRequest
from napari_medclipsam.annotation.states import SliceState
from napari_medclipsam.annotation.undo import UndoStack
from napari_medclipsam.images.intensity import Window
from napari_medclipsam.models.contracts import SaliencyMap
from napari_medclipsam.pipeline import PipelineOptions

OverlapPolicy = Literal["new", "old", "score"]
Outcome = TextOutcome | MaskOutcome | StackOutcome


@dataclass(frozen=True, eq=False)
class Change:
    """What a verb did, so that a viewer refreshes only that.

    Parameters
    ----------
    label_boxes : tuple of Box
        Parts of ``session.labels`` with new values.
    proposed_boxes : tuple of Box
        Parts of ``session.proposed`` with new values.
    slices : tuple of SliceAt
        Slices whose prompts, proposals or acceptance changed.
    classes : bool
        True when a class came or went.
    message : str
        One sentence for the user; "" where there is nothing to say.
    """

    label_boxes: tuple[Box, ...] = ()
    proposed_boxes: tuple[Box, ...] = ()
    slices: tuple[SliceAt, ...] = ()
    classes: bool = False
    message: str = ""

    def __bool__(self) -> bool:
        return bool(self.label_boxes or self.proposed_boxes or self.slices or self.classes)


@dataclass(frozen=True)
class ClassRow:
    """A class and how much of the image it fills; `ml` is None where the voxel size is unknown or the image is 2D."""

    structure: StructureClass
    voxels: int
    ml: float | None
    n_objects: int


class Session:
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
        self.image = image
        self.classes = ClassTable()
        self.text = ""
        self.window: Window = "auto"
        self.options = PipelineOptions()
        self.overlap: OverlapPolicy = "new"
        self.keep_hand_edits = True
        self.current: ObjectKey | None = None
        self._masks = LabelMasks(image.shape, max(0, image.n_axes - 3), labels)
        self._proposed = np.zeros(image.shape, np.uint8)
        self._states: dict[SliceAt, SliceState] = {}
        self._undo = UndoStack(undo_bytes)
        self._answers: OrderedDict[SliceAt, tuple[SaliencyMap, ...]] = OrderedDict()

    # What there is to see.

    @property
    def labels(self) -> np.ndarray:
        """Accepted and hand-drawn classes, uint8 on the image grid; always the same array. Show it, do not replace it.

        A viewer may paint into it in place, and must then tell `painted`.
        """
        return self._masks.labels

    @property
    def proposed(self) -> np.ndarray:
        """Classes of the proposals, uint8 on the image grid; always the same array. Read only, please."""
        return self._proposed

    def state(self, at: SliceAt) -> SliceState:
        """Return what is known about a slice: ``.of(key).prompts``, ``.proposals``, ``.status``."""
        return self._states.get(at, SliceState())

    def answers(self, at: SliceAt) -> tuple[SaliencyMap, ...]:
        """Return the newest text answers of a slice, one per phrase, as stored (rows, columns); the last 32 are kept."""
        raise NotImplementedError

    def coarse(self, at: SliceAt, level: float) -> np.ndarray:
        """Return the coarse mask of the text answers of a slice at a threshold, uint8 class per pixel; for a slider."""
        raise NotImplementedError

    def class_rows(self, at: SliceAt | None = None) -> list[ClassRow]:
        """Return the table of classes; in 4D images the voxels of the frame of `at`, without it of all frames."""
        raise NotImplementedError

    def objects(self, label: int) -> list[ObjectKey]:
        """Return the objects of a class that have voxels, prompts or proposals anywhere, or are current."""
        raise NotImplementedError

    def accepted_slices(self, at: SliceAt, key: ObjectKey) -> list[int]:
        """Return the indices of the accepted slices of an object in the stack of `at`: the anchors."""
        raise NotImplementedError

    def outdated(self, at: SliceAt) -> list[ObjectKey]:
        """Return the objects of a slice whose prompts changed since they were answered: plan a mask for each."""
        raise NotImplementedError

    def next_slice(self, at: SliceAt, step: int = 1) -> SliceAt | None:
        """Return the next slice that needs work in a direction (+1 or -1), None where there is none.

        The nearest with prompts or a proposal that waits; else the nearest that is not accepted.
        """
        raise NotImplementedError

    # Classes and objects.

    def new_object(self, label: int) -> ObjectKey:
        """Start another object of a class and make it the current one."""
        raise NotImplementedError

    def next_object(self) -> ObjectKey | None:
        """Make the next object the current one, through all objects of all classes in turn."""
        raise NotImplementedError

    def remove_class(self, label: int) -> Change:
        """Remove a class that labels nothing.

        Raises
        ------
        PromptError
            If it still has voxels, prompts or proposals.
        """
        raise NotImplementedError

    # Verbs on one slice; each is one step of undo.

    def set_prompts(self, at: SliceAt, prompts: Prompts, key: ObjectKey | None = None, *, drag: bool = False) -> Change:
        """Replace the prompts of an object in a slice; plan a mask next.

        Parameters
        ----------
        at : SliceAt
            Which slice.
        prompts : Prompts
            All of its points and boxes. What can't be used is left out, and the change says so.
        key : ObjectKey, optional
            Which object; the current one by default.
        drag : bool
            True while a prompt is being dragged: the steps of one drag are one step of undo.

        Raises
        ------
        PromptError
            If there is no class yet.
        """
        raise NotImplementedError

    def add_point(self, at: SliceAt, x: float, y: float, positive: bool = True, key: ObjectKey | None = None) -> Change:
        """Add a click to an object of a slice."""
        raise NotImplementedError

    def add_box(self, at: SliceAt, box_xyxy: tuple[float, float, float, float], key: ObjectKey | None = None) -> Change:
        """Add a box to an object of a slice."""
        raise NotImplementedError

    def painted(self, indices: tuple[np.ndarray, ...], before: np.ndarray, after: np.ndarray | int) -> Change:
        """Take in a stroke by hand, voxel by voxel, as napari's Labels layer reports it.

        Parameters
        ----------
        indices : tuple of numpy.ndarray
            One array of voxel indices per image axis.
        before : numpy.ndarray
            Labels of these voxels before the stroke.
        after : numpy.ndarray or int
            Labels after it; ``session.labels`` may hold them already.
        """
        raise NotImplementedError

    def paint(self, box: Box, after: np.ndarray) -> Change:
        """Draw by hand: give the voxels of a box new labels. What differs from before counts as drawn by hand."""
        raise NotImplementedError

    def accept(self, at: SliceAt, keys: Sequence[ObjectKey] | None = None) -> Change:
        """Accept a slice: its proposals become part of the mask, and its objects anchors of propagation.

        Objects with voxels but no proposal (drawn by hand) become anchors as they are. A slice with neither accepts
        the current object as absent.

        Parameters
        ----------
        at : SliceAt
            Which slice.
        keys : sequence of ObjectKey, optional
            Only these objects; all of the slice by default.
        """
        raise NotImplementedError

    def reject(self, at: SliceAt) -> Change:
        """Throw the proposals of a slice away; its prompts and mask stay."""
        raise NotImplementedError

    def clear(self, at: SliceAt, key: ObjectKey | None = None) -> Change:
        """Remove everything of one object from a slice: prompts, proposal, mask, acceptance; of all objects by default.

        Voxels drawn by hand go too: the user has asked for it.
        """
        raise NotImplementedError

    def accept_proposals(self, at: SliceAt, first: int | None = None, last: int | None = None) -> Change:
        """Accept the proposals of all slices of the stack of `at`, or of those from `first` to `last` inclusive."""
        raise NotImplementedError

    def reject_proposals(self, at: SliceAt, first: int | None = None, last: int | None = None) -> Change:
        """Throw the proposals of all slices of the stack away, or of those from `first` to `last` inclusive."""
        raise NotImplementedError

    def undo(self) -> Change:
        """Take the newest action back. `outdated` says for which slices a mask is to be planned again."""
        raise NotImplementedError

    def redo(self) -> Change:
        """Do again what was undone last."""
        raise NotImplementedError

    @property
    def undo_name(self) -> str:
        """What `undo` would take back, for a button; "" for nothing."""
        return self._undo.undo_name

    @property
    def redo_name(self) -> str:
        """What `redo` would do again; "" for nothing."""
        return self._undo.redo_name

    # Work for the models: plan here, run anywhere, apply here.

    def plan_text(self, at: SliceAt, text: str | None = None) -> TextRequest:
        """Plan to look for a text, by default the last one, in a slice.

        Raises
        ------
        PromptError
            If the text can't be used.
        ImageError
            If the slice can't be shown (all of one value, window outside the image).
        """
        raise NotImplementedError

    def plan_mask(self, at: SliceAt, key: ObjectKey | None = None) -> MaskRequest:
        """Plan to outline an object, by default the current one, from its prompts.

        Raises
        ------
        PromptError
            If it has no box and no positive point in this slice.
        """
        raise NotImplementedError

    def plan_embedding(self, at: SliceAt) -> EmbedRequest | None:
        """Plan to encode a slice ahead; None where the image has no such slice or all of it has one value."""
        raise NotImplementedError

    def plan_propagation(
        self, at: SliceAt, key: ObjectKey | None = None, *, first: int | None = None, last: int | None = None
    ) -> PropagationRequest:
        """Plan to carry an accepted object to the slices on both sides.

        Each side ends at the next accepted slice of the object, at `first` or `last`, or where the structure ends.
        After a correction in between, this fills just the span around it again.

        Raises
        ------
        PromptError
            If the object is not accepted in this slice, or there is no other slice to go to.
        """
        raise NotImplementedError

    def plan_volume(
        self, at: SliceAt, text: str | None = None, *, first: int | None = None, last: int | None = None
    ) -> VolumeRequest:
        """Plan to look for a text in every slice of the stack of `at`; accepted slices are left alone."""
        raise NotImplementedError

    def apply(self, outcome: Outcome | None) -> Change:
        """Take in what the models found, except for slices where it is stale.

        A text or a stack of slices is one step of undo; a mask belongs to the step that changed its prompts.
        """
        raise NotImplementedError
