"""Undo and redo over everything that the user does, bounded in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from napari_medclipsam.annotation.masks import VoxelChange
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.states import SliceState

DEFAULT_BYTES = 256 << 20


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
    """

    name: str
    voxels: tuple[VoxelChange, ...] = ()
    states: Mapping[SliceAt, tuple[SliceState, SliceState]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(v.nbytes for v in self.voxels) + sum(a.nbytes + b.nbytes for a, b in self.states.values())


class UndoStack:
    """Entries done and undone; the oldest are forgotten when they take too much memory.

    Parameters
    ----------
    max_bytes : int
        Limit for all entries together. The newest entry is always kept.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self.max_bytes = max_bytes
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

    @property
    def nbytes(self) -> int:
        """Memory that all entries take."""
        return sum(entry.nbytes for entry in (*self._done, *self._undone))

    def __len__(self) -> int:
        return len(self._done)

    def push(self, entry: UndoEntry) -> None:
        """Add an action; what was undone can't be redone after it."""
        raise NotImplementedError

    def undo(self) -> UndoEntry | None:
        """Return the newest entry, which the caller takes back, and keep it for `redo`; None if there is none."""
        raise NotImplementedError

    def redo(self) -> UndoEntry | None:
        """Return the entry that was undone last, which the caller does again; None if there is none."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget everything."""
        raise NotImplementedError
