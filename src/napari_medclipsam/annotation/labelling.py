"""What a reader does to an image: classes and objects, prompts, strokes, decisions, and taking them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from napari_medclipsam.annotation.accepting import OverlapPolicy, accept_objects
from napari_medclipsam.annotation.actions import Deed
from napari_medclipsam.annotation.book import Change
from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.masks import MOST_OBJECTS, VoxelChange
from napari_medclipsam.annotation.overview import Overview
from napari_medclipsam.annotation.places import Box, ObjectKey, SliceAt, slice_of_box
from napari_medclipsam.annotation.prompts import BoxXYXY, Prompts
from napari_medclipsam.annotation.states import SliceState
from napari_medclipsam.annotation.wording import none_message, prompt_verb, range_name
from napari_medclipsam.errors import PromptError


class Labelling(Overview):
    """The verbs of a reader on one image; `Session` adds those that ask a model. See there for the attributes."""

    def __init__(self, image: AnnotatedImage, labels: np.ndarray | None, undo_bytes: int) -> None:
        super().__init__(image, labels, undo_bytes)
        self.overlap: OverlapPolicy = "new"
        self.keep_hand_edits = True
        self._drags = count(1)
        self._drag: tuple[SliceAt, ObjectKey, int] | None = None
        for key in self.book.objects():
            self._ensure_class(key.label)
            self.current = self.current or key

    # Classes and objects.

    def new_object(self, label: int) -> ObjectKey:
        """Start another object of a class and make it the current one.

        Raises
        ------
        PromptError
            If there is no such class, or it has 128 objects.
        """
        structure = self.classes[label]
        used = [key.number for key in self.book.objects() if key.label == structure.label]
        number = max(used, default=0) + 1
        if number > MOST_OBJECTS:
            raise PromptError(f"A class can have {MOST_OBJECTS} objects; add another class for more.")
        self.current = ObjectKey(label, number)
        return self.current

    def next_object(self) -> ObjectKey | None:
        """Make the next object the current one, through all objects of all classes in turn."""
        every = self.objects()
        if every:
            self.current = next((key for key in every if self.current is not None and key > self.current), every[0])
        return self.current

    def remove_class(self, label: int) -> Change:
        """Remove a class that labels nothing.

        Raises
        ------
        PromptError
            If it still has voxels, prompts or proposals.
        """
        if any(key.label == label for key in self.book.objects()):
            name = self.classes[label].name
            raise PromptError(f'The class "{name}" still has masks or prompts; clear them first, or hide the class.')
        self.classes.remove(label)
        if self.current is not None and self.current.label == label:
            self.current = next(iter(self.objects()), None) if len(self.book.objects()) else None
        return Change(classes=True)

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
            True while a prompt is being dragged, False at its end: all of it is one step of undo.

        Raises
        ------
        PromptError
            If there is no class yet.
        ImageError
            If the image has no such slice.
        """
        self.image.require_slice(at)
        key = self._key(key)
        cleaned, note = prompts.cleaned(self.image.shape_yx(at))
        state = self.state(at)
        before, given = state.of(key).prompts, state.of(key).corrected(cleaned)
        merge_key = self._drag_key(at, key, drag)
        if given == before:
            return Change(message=note)
        name = f"{prompt_verb(before, cleaned)}, {self.place_name(at)}"
        deed = Deed("prompts", name, at, {"label": key.label, "number": key.number})
        changed = state.changed(key, prompts=given)
        proposal = state.of(key).proposal
        if not cleaned and proposal is not None and proposal.source in ("prompts", "text"):
            # What the prompts described goes with the last of them.
            changed = changed.changed(key, proposal=None)
        return self.book.commit(deed, {at: changed}, merge_key=merge_key, message=note)

    def add_point(self, at: SliceAt, x: float, y: float, positive: bool = True, key: ObjectKey | None = None) -> Change:
        """Add a click to an object of a slice."""
        key = self._key(key)
        return self.set_prompts(at, self.state(at).of(key).prompts.with_point(x, y, positive), key)

    def add_box(self, at: SliceAt, box_xyxy: BoxXYXY, key: ObjectKey | None = None) -> Change:
        """Add a box to an object of a slice."""
        key = self._key(key)
        return self.set_prompts(at, self.state(at).of(key).prompts.with_box(box_xyxy), key)

    def painted(self, indices: tuple[np.ndarray, ...], before: np.ndarray, after: np.ndarray | int) -> Change:
        """Take in a stroke by hand, voxel by voxel, as napari's Labels layer reports it.

        Parameters
        ----------
        indices : tuple of numpy.ndarray
            One array of voxel indices per image axis, in the order of the stroke; voxels may come twice.
        before : numpy.ndarray
            Labels of these voxels before the stroke.
        after : numpy.ndarray or int
            Labels after it; ``session.labels`` may hold them already.
        """
        places = [np.atleast_1d(np.asarray(axis, np.intp)) for axis in indices]
        if not places or places[0].size == 0:
            return Change()
        box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in places)
        inside = tuple(axis - part.start for axis, part in zip(places, box, strict=True))
        old, new = self.labels[box].copy(), self.labels[box].copy()
        # Backwards: of a voxel that the stroke crossed twice, the first "before" counts.
        # Copies: numpy may walk a reversed view forwards.
        first_first = tuple(axis[::-1].copy() for axis in inside)
        old[first_first] = np.broadcast_to(before, places[0].shape)[::-1].copy()
        new[inside] = after
        return self._paint(box, old, new)

    def paint(self, box: Box, after: np.ndarray) -> Change:
        """Draw by hand: give the voxels of a box new labels. What differs from before counts as drawn by hand."""
        return self._paint(box, self.labels[box].copy(), np.array(after, np.uint8))

    def _paint(self, box: Box, before: np.ndarray, after: np.ndarray) -> Change:
        numbers, is_new = self._numbers(before, after)
        change = self.book.masks.paint(box, before, after, numbers)
        deed = Deed("paint", "paint" if numbers else "erase", slice_of_box(box))
        return replace(self.book.commit(deed, {}, [change]), classes=is_new)

    def _numbers(self, before: np.ndarray, after: np.ndarray) -> tuple[dict[int, int], bool]:
        """Return which object of each label gets what is drawn, and whether a class was added for one."""
        labels = [int(label) for label in np.unique(after[before != after]) if label]
        added = [label for label in labels if self._ensure_class(label)]
        return {label: self.object_of(label).number for label in labels}, bool(added)

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

        Raises
        ------
        PromptError
            If there is no class yet.
        """
        self.image.require_slice(at)
        chosen = sorted({*self.state(at).proposals, *self.book.masks.objects_in(at)} if keys is None else keys)
        state, voxels = self._accepted(at, chosen or [self._key(None)], anchor=True)
        deed = Deed("accept", f"accept, {self.place_name(at)}", at, {"anchor": True})
        return self.book.commit(deed, {at: state}, voxels)

    def accept_drawn(self, at: SliceAt, labels_yx: np.ndarray) -> Change:
        """Accept a slice with these labels, uint8 (rows, columns), which somebody has drawn; its proposals go."""
        rows, columns = self.image.shape_yx(at)
        box = at.box((slice(0, rows), slice(0, columns)))
        before = self.labels[box].copy()
        after = np.asarray(labels_yx, np.uint8).reshape(before.shape)
        numbers, is_new = self._numbers(before, after)
        voxels = self.book.masks.paint(box, before, after, numbers)
        keys = self.book.masks.objects_in(at) or [self._key(None)]
        state, _ = accept_objects(
            self.book.masks, at, self.state(at).rejected(), keys, overlap="new", keep_hand=True, anchor=True
        )
        deed = Deed("accept", f"accept, {self.place_name(at)}", at, {"anchor": True})
        return replace(self.book.commit(deed, {at: state}, [voxels]), classes=is_new)

    def _accepted(
        self, at: SliceAt, keys: Sequence[ObjectKey], *, anchor: bool
    ) -> tuple[SliceState, list[VoxelChange]]:
        return accept_objects(
            self.book.masks,
            at,
            self.state(at),
            keys,
            overlap=self.overlap,
            keep_hand=self.keep_hand_edits,
            anchor=anchor,
        )

    def reject(self, at: SliceAt) -> Change:
        """Throw the proposals of a slice away and the prompts that they answer; the accepted mask stays."""
        return self.book.commit(Deed("reject", f"reject, {self.place_name(at)}", at), self._rejected([at]))

    def clear(self, at: SliceAt, key: ObjectKey | None = None) -> Change:
        """Remove everything of one object from a slice: prompts, proposal, mask, acceptance; of all objects by default.

        What was drawn or erased by hand goes too: the user has asked for it.
        """
        self.image.require_slice(at)
        state = SliceState() if key is None else self.state(at).without(key)
        voxels = [self.book.masks.clear(at, key)]
        states = {at: state} if self.state(at).objects else {}
        return self.book.commit(Deed("clear", f"clear, {self.place_name(at)}", at), states, voxels)

    def accept_proposals(self, at: SliceAt, first: int | None = None, last: int | None = None) -> Change:
        """Accept the proposals of all slices of the stack of `at`, or of those from `first` to `last` inclusive.

        These slices become no anchors: a correction of one of them may propose changes to its neighbours.
        """
        states: dict[SliceAt, SliceState] = {}
        voxels: list[VoxelChange] = []
        for other in self._proposed_slices(at, first, last):
            states[other], done = self._accepted(other, sorted(self.state(other).proposals), anchor=False)
            voxels += done
        deed = Deed("accept", f"accept {range_name(states)}", parameters={"anchor": False})
        return self.book.commit(deed, states, voxels, message=none_message(states))

    def reject_proposals(self, at: SliceAt, first: int | None = None, last: int | None = None) -> Change:
        """Throw the proposals of all slices of the stack away, or of those from `first` to `last` inclusive."""
        states = self._rejected(self._proposed_slices(at, first, last))
        return self.book.commit(Deed("reject", f"reject {range_name(states)}"), states, message=none_message(states))

    def _proposed_slices(self, at: SliceAt, first: int | None, last: int | None) -> list[SliceAt]:
        low, high = first or 0, self.image.n_slices(at) - 1 if last is None else last
        return [
            other
            for other, state in sorted(self.book.states.items(), key=lambda item: item[0].index)
            if state.proposals and at.is_parallel_to(other) and low <= other.index <= high
        ]

    def _rejected(self, slices: Sequence[SliceAt]) -> dict[SliceAt, SliceState]:
        return {at: self.state(at).rejected() for at in slices if self.state(at).objects}

    def undo(self) -> Change:
        """Take the newest action back. `outdated` says for which objects a mask is to be planned again."""
        return self.book.undo()

    def redo(self) -> Change:
        """Do again what was undone last."""
        return self.book.redo()

    def _key(self, key: ObjectKey | None) -> ObjectKey:
        """Return the object that is meant."""
        key = key or self.current or next((ObjectKey(c.label) for c in self.classes), None)
        if key is None:
            raise PromptError("There is no class to label yet. Type what you are looking for, or add a class.")
        self.current = ObjectKey(self.classes[key.label].label, key.number)
        return self.current

    def _ensure_class(self, label: int) -> bool:
        """Add a class for a label that has none (painted, or from a file); True if one was added."""
        if label in self.classes:
            return False
        self.classes.add(f"structure {label}", label)
        return True

    def _drag_key(self, at: SliceAt, key: ObjectKey, drag: bool) -> tuple[SliceAt, ObjectKey, int] | None:
        """Return what makes the steps of one drag one step of undo."""
        if self._drag is not None and self._drag[:2] != (at, key):
            self._drag = None
        if drag and self._drag is None:
            self._drag = (at, key, next(self._drags))
        merge_key = self._drag
        if not drag:
            self._drag = None
        return merge_key
