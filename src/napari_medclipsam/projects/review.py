"""What the review queue needs to know of a case: a few small numbers per slice and class, kept in its summary."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_medclipsam.annotation.book import Book
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.images.look import LOOK_SIZE
from napari_medclipsam.projects.replay import Replay
from napari_medclipsam.projects.scores import AxisScores

STATUSES = ("untouched", "prompted", "proposed", "accepted")
#: Rows of a table of a class. Figures are hundredths; −1 where there is none.
PRESENCE, PRESENT, ENTROPY, DISAGREEMENT, MASK, DICE = range(6)
#: Values of the row MASK.
NO_MASK, PROPOSED, IN_MASK = range(3)


@dataclass(frozen=True, eq=False)
class CaseReview:
    """One case, as the queue sees it.

    Parameters
    ----------
    axis : int or None
        The slices lie across it; None for a flat picture.
    statuses : numpy.ndarray
        uint8 (n,), places in `STATUSES`.
    tables : dict
        Label → int8 (6, n): presence (hundredths), whether the model says present, entropy, disagreement of map and
        mask, mask (`NO_MASK`, `PROPOSED`, `IN_MASK`), Dice with the slice before (where both have a mask).
    looks : numpy.ndarray, optional
        uint8 (n, 16), zeros where a slice was not looked at by a model; None where none was.
    notes : dict
        Slice index → what readers noted, see `Case.note`.
    """

    axis: int | None
    statuses: np.ndarray
    tables: Mapping[int, np.ndarray] = field(default_factory=dict)
    looks: np.ndarray | None = None
    notes: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def untouched(cls, shape: tuple[int, ...]) -> CaseReview:
        """Return that of a case that nothing was done to; `shape` is that of its grid."""
        axis = None if len(shape) == 2 else 0
        return cls(axis, np.zeros(1 if axis is None else shape[axis], np.uint8))

    @classmethod
    def of(cls, replay: Replay) -> CaseReview:
        """Return that of a case as it is, across the axis that was worked on last."""
        book, shape = replay.book, replay.book.masks.labels.shape
        fresh = cls.untouched(shape)
        axis = fresh.axis if replay.at is None else replay.at.axis
        n = 1 if axis is None else shape[axis]
        scores, statuses = replay.scores.across(axis), np.zeros(n, np.uint8)
        for at, state in book.states.items():
            if at.axis == axis:
                statuses[at.index] = STATUSES.index(state.status)
        labels = {label for _, label in scores.found} | {key.label for key in book.objects()}
        current, proposed = _planes(book, axis)
        tables = {label: _table(label, n, scores, current == label, proposed) for label in sorted(labels)}
        noted = {at.index: n for at, n in replay.notes.items() if at is not None and at.axis == axis}
        return cls(axis, statuses, tables, _looks(n, scores), noted)

    def at(self, index: int) -> SliceAt:
        """Return a slice of the case."""
        return SliceAt((None, None)) if self.axis is None else SliceAt.across(self.axis, index)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "axis": self.axis,
            "statuses": self.statuses.tolist(),
            "tables": {str(label): table.tolist() for label, table in self.tables.items()},
            "looks": None if self.looks is None else base64.b64encode(self.looks.tobytes()).decode("ascii"),
            "notes": {str(index): dict(noted) for index, noted in self.notes.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CaseReview:
        """Undo `to_json`; raises KeyError, TypeError or ValueError where that is not possible."""
        statuses = np.array(value["statuses"], np.uint8)
        tables = {int(label): np.array(table, np.int8).reshape(6, -1) for label, table in value["tables"].items()}
        looks = value["looks"]
        if looks is not None:
            looks = np.frombuffer(base64.b64decode(looks), np.uint8).reshape(len(statuses), LOOK_SIZE)
        if any(table.shape[1] != len(statuses) for table in tables.values()) or statuses.max(initial=0) > 3:
            raise ValueError("tables of different lengths")
        return cls(value["axis"], statuses, tables, looks, {int(i): noted for i, noted in value["notes"].items()})


def _looks(n: int, scores: AxisScores) -> np.ndarray | None:
    if not scores.looks:
        return None
    looks = np.zeros((n, LOOK_SIZE), np.uint8)
    for index, look in scores.looks.items():
        if index < n:
            looks[index] = look
    return looks


def _planes(book: Book, axis: int | None) -> tuple[np.ndarray, set[tuple[int, int]]]:
    """Return the mask as it would be if all proposals were accepted, slices first and cropped to what is drawn.

    Also returns the (slice index, label) of the proposals.
    """
    across = 0 if axis is None else axis
    drawn = (book.masks.labels != 0) | (book.proposed != 0)
    whole = (lambda a: a[None]) if axis is None else (lambda a: np.moveaxis(a, across, 0))
    drawn = whole(drawn)
    rows, columns = (np.flatnonzero(drawn.any(axis=tuple({0, 1, 2} - {kept}))) for kept in (1, 2))
    proposed: set[tuple[int, int]] = set()
    if not len(rows):
        return np.zeros((len(drawn), 1, 1), np.uint8), proposed
    crop = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    current = whole(book.masks.labels)[:, crop[0], crop[1]].copy()
    for at, state in book.states.items():
        if at.axis != axis:
            continue
        plane = current[at.index]
        for key in state.proposals:
            plane[book.masks.object_mask(at, key)[crop]] = 0
        for key, proposal in state.proposals.items():
            plane[proposal.mask.unpacked()[crop]] = key.label
            proposed.add((at.index, key.label))
    return current, proposed


def _table(label: int, n: int, scores: AxisScores, mask: np.ndarray, proposed: set[tuple[int, int]]) -> np.ndarray:
    """Return the table of a class; `mask` is bool (n, rows, columns)."""
    table = np.full((6, n), -1, np.int8)
    for (index, of), sure in scores.found.items():
        if of == label and index < n:
            presence = -1 if sure.presence is None else _hundredths(sure.presence)
            figures = (_hundredths(sure.entropy), _hundredths(sure.disagreement))
            table[: DISAGREEMENT + 1, index] = (presence, int(sure.present), *figures)
    sizes = mask.sum(axis=(1, 2))
    table[MASK] = np.where(sizes > 0, IN_MASK, NO_MASK)
    for index, of in proposed:
        if of == label and sizes[index]:
            table[MASK, index] = PROPOSED
    shared = (mask[1:] & mask[:-1]).sum(axis=(1, 2))
    both = (sizes[1:] > 0) & (sizes[:-1] > 0)
    dice = np.round(200 * shared / np.maximum(1, sizes[1:] + sizes[:-1]))
    table[DICE, 1:] = np.where(both, dice, -1)
    return table


def _hundredths(share: float) -> int:
    return round(100 * min(1.0, max(0.0, share)))
