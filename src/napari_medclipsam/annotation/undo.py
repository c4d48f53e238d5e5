"""Undo and redo over everything that the user does, bounded in bytes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from napari_medclipsam.annotation.masks import VoxelChange
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.states import SliceState

DEFAULT_BYTES = 256 << 20
MOST_LEVELS = 1000


@dataclass(eq=False)
class UndoEntry:
    """One action of the user.

    Parameters
    ----------
    name : str
        What the menu says after "Undo": "add point, slice 12".
    voxels : tuple of VoxelChange
        What it did to the mask, in this order.
    states : dict
        Slice → (state before, state after).
    merge_key : hashable
        Actions in a row with the same key, such as the steps of one drag, are one entry; None for an entry of its own.
    step : int
        Its number, by which a record of the session finds it.
    """

    name: str
    voxels: tuple[VoxelChange, ...] = ()
    states: dict[SliceAt, tuple[SliceState, SliceState]] = field(default_factory=dict)
    merge_key: Hashable = None
    step: int = 0

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(v.nbytes for v in self.voxels) + sum(a.nbytes + b.nbytes for a, b in self.states.values())


class UndoStack:
    """Entries done and undone; the oldest are forgotten when they take too much memory or are too many.

    Parameters
    ----------
    max_bytes : int
        Limit for all entries together. The newest entry is always kept.

    Attributes
    ----------
    nbytes : int
        Memory that all entries take.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._done: list[UndoEntry] = []
        self._undone: list[UndoEntry] = []

    @property
    def undo_name(self) -> str:
        """Name of the entry that `undo` would return; "" if there is none."""
        return self._done[-1].name if self._done else ""

    @property
    def redo_name(self) -> str:
        """Name of the entry that `redo` would return; "" if there is none."""
        return self._undone[-1].name if self._undone else ""

    def __len__(self) -> int:
        return len(self._done)

    @property
    def undo_step(self) -> int:
        """Number of the entry that `undo` would return; 0 if there is none."""
        return self._done[-1].step if self._done else 0

    @property
    def redo_step(self) -> int:
        """Number of the entry that `redo` would return; 0 if there is none."""
        return self._undone[-1].step if self._undone else 0

    def push(self, entry: UndoEntry) -> int:
        """Add an action and return the step it is now part of; what was undone can't be redone after it."""
        mergeable = bool(self._done) and not self._undone and entry.merge_key is not None
        self.nbytes -= sum(undone.nbytes for undone in self._undone)
        self._undone.clear()
        if mergeable and self._done[-1].merge_key == entry.merge_key:
            self._merge(self._done[-1], entry)
        else:
            self._done.append(entry)
            self.nbytes += entry.nbytes
        while (self.nbytes > self.max_bytes or len(self._done) > MOST_LEVELS) and len(self._done) > 1:
            self.nbytes -= self._done.pop(0).nbytes
        return self._done[-1].step

    def clear(self) -> None:
        """Forget everything."""
        self._done.clear()
        self._undone.clear()
        self.nbytes = 0

    def _merge(self, older: UndoEntry, newer: UndoEntry) -> None:
        """Make one entry of two in a row."""
        self.nbytes -= older.nbytes
        older.voxels += newer.voxels
        for at, (before, after) in newer.states.items():
            older.states[at] = (older.states[at][0] if at in older.states else before, after)
        self.nbytes += older.nbytes

    def amend(self, at: SliceAt, state: SliceState) -> int:
        """Note what became of a slice after the newest action on it: the model's answer came later.

        Returns the step of that action; 0 if it is forgotten.
        """
        for entry in reversed(self._done):
            if at in entry.states:
                before, after = entry.states[at]
                entry.states[at] = (before, state)
                self.nbytes += state.nbytes - after.nbytes
                return entry.step
        return 0

    def undo(self) -> UndoEntry | None:
        """Return the newest entry, which the caller takes back, and keep it for `redo`; None if there is none."""
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        return self._undone[-1]

    def redo(self) -> UndoEntry | None:
        """Return the entry that was undone last, which the caller does again; None if there is none."""
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        return self._done[-1]
