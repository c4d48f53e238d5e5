"""What is known about an image that is being labelled, to look at: the reading half of a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_medclipsam.annotation.book import Book
from napari_medclipsam.annotation.classes import ClassTable, StructureClass
from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.recent import Recent
from napari_medclipsam.annotation.requests import TextAnswer
from napari_medclipsam.annotation.states import Proposal, SliceState
from napari_medclipsam.saliency.caution import cautions_of
from napari_medclipsam.saliency.coarse import coarse_mask

_REMEMBERED_ANSWERS = 16
_REMEMBERED_LOGITS = 64


@dataclass(frozen=True)
class ClassRow:
    """A class and how much of the image it fills; `ml` is None where the voxel size is unknown or the image is 2D."""

    structure: StructureClass
    voxels: int
    ml: float | None
    n_objects: int


class Overview:
    """What is known about one image. Nothing here changes it; `Session` adds the verbs that do.

    Parameters
    ----------
    image : AnnotatedImage
        What is being labelled.
    labels : numpy.ndarray, optional
        A mask to go on with.
    undo_bytes : int
        Memory for undo.
    """

    def __init__(self, image: AnnotatedImage, labels: np.ndarray | None, undo_bytes: int) -> None:
        self.image = image
        self.classes = ClassTable()
        self.current: ObjectKey | None = None
        self.book = Book(image.shape, labels, undo_bytes)
        self.recent_answers: Recent[SliceAt, tuple[TextAnswer, ...]] = Recent(_REMEMBERED_ANSWERS)
        self.recent_logits: Recent[tuple[SliceAt, ObjectKey], tuple[Proposal, np.ndarray]] = Recent(_REMEMBERED_LOGITS)

    @property
    def labels(self) -> np.ndarray:
        """Accepted and hand-drawn classes, uint8 on the image grid; always the same array. Show it, do not replace it.

        A viewer may paint into it in place, and must then tell `painted`.
        """
        return self.book.masks.labels

    @property
    def proposed(self) -> np.ndarray:
        """Classes of the proposals, uint8 on the image grid; always the same array. Only to be read."""
        return self.book.proposed

    def state(self, at: SliceAt) -> SliceState:
        """Return what is known about a slice: ``.of(key).prompts``, ``.proposals``, ``.status``."""
        return self.book.state(at)

    def object_mask(self, at: SliceAt, key: ObjectKey) -> np.ndarray:
        """Return where the accepted or hand-drawn mask of an object is in a slice, bool (rows, columns)."""
        return self.book.masks.object_mask(at, key)

    def answers(self, at: SliceAt) -> tuple[TextAnswer, ...]:
        """Return the newest text answers of a slice, one per phrase: saliency, verdict, mask. The last 16 are kept."""
        return self.recent_answers.get(at) or ()

    def caution(self, at: SliceAt) -> str:
        """Return, in a sentence, what the text answers of a slice can't be taken for; "" for nothing."""
        return cautions_of((answer.saliency for answer in self.answers(at)), self.image)

    def coarse(self, at: SliceAt, level: float) -> np.ndarray:
        """Return the coarse mask of the text answers of a slice at a threshold, for a slider.

        uint8 (rows, columns): 1 for the first phrase, and so on; the first keeps what several claim.
        """
        drawn = np.zeros(self.image.shape_yx(at), np.uint8)
        for number, answer in reversed(list(enumerate(self.answers(at), start=1))):
            drawn[coarse_mask(answer.saliency, "threshold", level)] = number
        return drawn

    def class_rows(self, at: SliceAt | None = None) -> list[ClassRow]:
        """Return the table of classes; in 4D images the voxels of the frame of `at`, without it of all frames."""
        frame = () if at is None else at.position[: max(0, self.image.n_axes - 3)]
        numbers = [key.label for key in self.book.objects()]
        rows = []
        for structure in self.classes:
            counts = self.book.masks.voxel_counts(structure.label)
            # A viewer that shows time as an axis of the picture has no one frame.
            voxels = int(counts.sum() if None in frame else counts[frame].sum())
            ml = None if self.image.voxel_ml is None else voxels * self.image.voxel_ml
            rows.append(ClassRow(structure, voxels, ml, numbers.count(structure.label)))
        return rows

    def objects(self, label: int | None = None) -> list[ObjectKey]:
        """Return the objects (of one class) that have voxels, prompts or proposals anywhere, and the current one."""
        found = {*self.book.objects(), *([self.current] if self.current else [])}
        return sorted(key for key in found if label is None or key.label == label)

    def accepted_slices(self, at: SliceAt, key: ObjectKey) -> list[int]:
        """Return the indices of the anchors of an object in the stack of `at`: slices that were accepted one by one."""
        return sorted(
            other.index
            for other, state in self.book.states.items()
            if (accepted := state.of(key).accepted) is not None and accepted.anchor and at.is_parallel_to(other)
        )

    def outdated(self, at: SliceAt) -> list[ObjectKey]:
        """Return the objects of a slice whose prompts changed since they were answered: plan a mask for each."""
        return [key for key, state in self.state(at).objects.items() if state.is_outdated]

    def next_slice(self, at: SliceAt, step: Literal[1, -1] = 1) -> SliceAt | None:
        """Return the next slice that needs work in a direction, None where there is none.

        The nearest with prompts or a proposal that waits; else the nearest that is not accepted.
        """
        stop = self.image.n_slices(at) if step > 0 else -1
        ahead = [at.moved(index) for index in range(at.index + step, stop, step)]
        statuses = [self.state(a).status for a in ahead]
        waiting = (a for a, status in zip(ahead, statuses, strict=True) if status in ("prompted", "proposed"))
        untouched = (a for a, status in zip(ahead, statuses, strict=True) if status != "accepted")
        return next(waiting, None) or next(untouched, None)

    def place_name(self, at: SliceAt) -> str:
        """Return what a step of undo calls a slice: "slice 12"."""
        return "image" if at.axis is None else f"slice {at.index}"

    def object_of(self, label: int) -> ObjectKey:
        """Return the object of a class that work goes to: the current one, or the first of another class."""
        return self.current if self.current is not None and self.current.label == label else ObjectKey(label)

    @property
    def undo_name(self) -> str:
        """What `undo` would take back, for a button: "accept, slice 12"; "" for nothing."""
        return self.book.undo_stack.undo_name

    @property
    def redo_name(self) -> str:
        """What `redo` would do again; "" for nothing."""
        return self.book.undo_stack.redo_name
