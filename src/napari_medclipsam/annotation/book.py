"""The state of a session and its history: every change of masks, prompts and proposals goes through here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from napari_medclipsam.annotation.actions import MODEL_VERBS, Action, Deed, Recorder
from napari_medclipsam.annotation.masks import LabelMasks, VoxelChange
from napari_medclipsam.annotation.places import Box, ObjectKey, SliceAt, bounding_part
from napari_medclipsam.annotation.states import Proposal, SliceState
from napari_medclipsam.annotation.undo import UndoEntry, UndoStack


@dataclass(frozen=True)
class Ticket:
    """When a request was planned: its outcome is dropped if the slice has changed too much since.

    Parameters
    ----------
    decisions, edits : int
        How often the user had decided upon the slice, and changed its prompts.
    order : int
        Grows with every request of a session.
    """

    decisions: int
    edits: int
    order: int = 0


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
        What to tell the user; "" where there is nothing to say.
    """

    label_boxes: tuple[Box, ...] = ()
    proposed_boxes: tuple[Box, ...] = ()
    slices: tuple[SliceAt, ...] = ()
    classes: bool = False
    message: str = ""

    def __bool__(self) -> bool:
        return bool(self.label_boxes or self.proposed_boxes or self.slices or self.classes)


class Book:
    """Masks, proposals and slice states on one grid, with undo.

    Parameters
    ----------
    shape : tuple of int
        Of the image grid.
    labels : numpy.ndarray, optional
        A mask to start from.
    undo_bytes : int
        Memory for undo.

    Attributes
    ----------
    recorder : Recorder or None
        Is told of everything that is done, after it was done.
    """

    def __init__(self, shape: tuple[int, ...], labels: np.ndarray | None, undo_bytes: int) -> None:
        self.masks = LabelMasks(shape, max(0, len(shape) - 3), labels)
        self.proposed = np.zeros(shape, np.uint8)
        self.states: dict[SliceAt, SliceState] = {}
        self.undo_stack = UndoStack(undo_bytes)
        self.recorder: Recorder | None = None
        self._next_step = 1
        self._decisions: Counter[SliceAt] = Counter()
        self._edits: Counter[SliceAt] = Counter()

    def state(self, at: SliceAt) -> SliceState:
        """Return what is known about a slice."""
        return self.states.get(at, SliceState())

    def ticket(self, at: SliceAt, order: int = 0) -> Ticket:
        """Return when it is now for a slice."""
        return Ticket(self._decisions[at], self._edits[at], order)

    def objects(self) -> list[ObjectKey]:
        """Return the objects with voxels, prompts, proposals or acceptance, in order."""
        return sorted({*self.masks.objects(), *(key for state in self.states.values() for key in state.objects)})

    def commit(
        self,
        deed: Deed,
        states: Mapping[SliceAt, SliceState],
        voxels: Iterable[VoxelChange | None] = (),
        *,
        merge_key: Hashable = None,
        message: str = "",
    ) -> Change:
        """Put new states of slices, remember how to take them and `voxels` (already done) back.

        A decision of the user makes everything stale that models are finding for these slices; prompts all but the
        masks of earlier prompts, so that a preview can follow a drag; a model's answer nothing.

        Parameters
        ----------
        deed : Deed
            What is done.
        states : dict
            The new state of each slice.
        voxels : iterable of VoxelChange
            What was done to the masks; None entries are skipped.
        merge_key : hashable
            See `UndoEntry`.
        message : str
            For the change.
        """
        done = tuple(v for v in voxels if v is not None)
        by_model = deed.verb in MODEL_VERBS
        if not by_model:
            (self._edits if deed.verb == "prompts" else self._decisions).update(list(states))
        if not done and not states:
            # That a model found nothing is worth a record, but no step of undo.
            return self._recorded(Action(deed, 0, {}), Change(message=message)) if by_model else Change(message=message)
        step = self._remember(UndoEntry(deed.name, done, self._changed(states), merge_key, self._next_step))
        return self._recorded(Action(deed, step, states, done), self._put(states, [v.box for v in done], message))

    def _changed(self, states: Mapping[SliceAt, SliceState]) -> dict[SliceAt, tuple[SliceState, SliceState]]:
        return {at: (self.state(at), state) for at, state in states.items()}

    def _remember(self, entry: UndoEntry) -> int:
        """Make it a step of undo, or part of the one before; returns its number."""
        step = self.undo_stack.push(entry)
        self._next_step = max(self._next_step, step + 1)
        return step

    def amend(self, deed: Deed, at: SliceAt, state: SliceState, *, message: str = "") -> Change:
        """Put what a model answered as part of the action that asked for it: no step of undo of its own."""
        step = self.undo_stack.amend(at, state)
        return self._recorded(Action(deed, step, {at: state}), self._put({at: state}, [], message))

    def undo(self) -> Change:
        """Take the newest action back."""
        entry = self.undo_stack.undo()
        if entry is None:
            return Change(message="There is nothing to undo.")
        voxels = tuple(VoxelChange(v.box, v.after, v.before) for v in reversed(entry.voxels))
        return self._back_or_forth("undo", entry, voxels, {at: before for at, (before, _) in entry.states.items()})

    def redo(self) -> Change:
        """Do again what was undone last."""
        entry = self.undo_stack.redo()
        if entry is None:
            return Change(message="There is nothing to redo.")
        return self._back_or_forth("redo", entry, entry.voxels, {at: after for at, (_, after) in entry.states.items()})

    def _back_or_forth(
        self,
        verb: Literal["undo", "redo"],
        entry: UndoEntry,
        voxels: tuple[VoxelChange, ...],
        states: Mapping[SliceAt, SliceState],
    ) -> Change:
        boxes = [self.masks.restore(v) for v in voxels]
        self._decisions.update(list(states))
        at = next(iter(states)) if len(states) == 1 else None
        action = Action(Deed(verb, entry.name, at), entry.step, states, voxels)
        return self._recorded(action, self._put(states, boxes, ""))

    def _recorded(self, action: Action, change: Change) -> Change:
        """Let the recorder know, and the reader what the recorder has to say."""
        told = "" if self.recorder is None else self.recorder.record(action)
        return replace(change, message=f"{change.message} {told}".strip()) if told else change

    def replay(self, action: Action) -> None:
        """Do again what was recorded, without recording it."""
        stack, deed = self.undo_stack, action.deed
        for change in action.voxels:
            self.masks.restore(change)
        if deed.verb in ("undo", "redo"):
            newest = stack.undo_step if deed.verb == "undo" else stack.redo_step
            if newest == action.step:
                stack.undo() if deed.verb == "undo" else stack.redo()
            else:
                # The step is older than what is remembered: what is remembered no longer follows on.
                stack.clear()
        elif deed.verb == "mask":
            for at, state in action.states.items():
                stack.amend(at, state)
        elif action.step:
            changed, key = self._changed(action.states), ("replayed", action.step)
            self._remember(UndoEntry(deed.name, action.voxels, changed, key, action.step))
        self._put(action.states, [], "")

    def _put(self, states: Mapping[SliceAt, SliceState], label_boxes: Sequence[Box], message: str) -> Change:
        proposed_boxes = []
        for at, state in states.items():
            before = self.state(at).proposals
            if state.objects:
                self.states[at] = state
            else:
                self.states.pop(at, None)
            if before != state.proposals:
                box = self._draw(at, state.proposals)
                proposed_boxes += [box] if box is not None else []
        return Change(tuple(label_boxes), tuple(proposed_boxes), tuple(states), message=message)

    def _draw(self, at: SliceAt, proposals: Mapping[ObjectKey, Proposal]) -> Box | None:
        """Draw the proposals of a slice into `proposed`; returns what changed."""
        plane = np.zeros_like(self.proposed[at.selector])
        for key, proposal in proposals.items():
            plane[proposal.mask.unpacked()] = key.label
        part = bounding_part(plane != self.proposed[at.selector])
        if part is None:
            return None
        box = at.box(part)
        self.proposed[box] = plane[part].reshape(self.proposed[box].shape)
        return box
