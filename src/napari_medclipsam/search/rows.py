"""The vectors of one case: what each is of, and what it was made from."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

import numpy as np

from napari_medclipsam.annotation.places import ObjectKey, SliceAt

HASH_BYTES = 16
_COLUMNS = ("vectors", "positions", "kinds", "objects", "boxes_xyxy", "hashes")
TENSORS = (*_COLUMNS, "presences")
_OPEN = -1
#: Of rows that are not of an object.
NO_OBJECT = ObjectKey(0, 0)


class Kind(IntEnum):
    """What a vector is of."""

    EMPTY = 0  # a slice without contrast: that it was looked at is remembered
    SLICE = 1
    PART = 2
    REGION = 3  # an object that a reader has accepted


class Row(NamedTuple):
    """One vector.

    Parameters
    ----------
    at : SliceAt
        Its slice.
    kind : Kind
        Of what.
    key : ObjectKey
        Which object; (0, 0) where it is of none.
    box_xyxy : tuple of int
        Tight, in pixels of the slice as it is stored, maxima inclusive.
    made_from : bytes
        Hash of pixels, window and mask.
    vector : numpy.ndarray
        Unit length, (d,).
    presences : tuple of float
        How surely each structure of the encoder's vocabulary is in its slice; the row of the slice as a whole brings
        them, others need not.
    """

    at: SliceAt
    kind: Kind
    key: ObjectKey
    box_xyxy: tuple[int, int, int, int]
    made_from: bytes
    vector: np.ndarray
    presences: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class CaseRows:
    """All vectors of a case, in columns; the rows of a slice stand together.

    Parameters
    ----------
    version : str
        Of what made them, see `building.index_version`.
    image : str
        Content hash of the image.
    journal_bytes : int
        How long the journal was when all was up to date with it; −1 where that never was.
    vectors : numpy.ndarray
        float16 (n, d).
    positions : numpy.ndarray
        int32 (n, axes); −1 on the two axes that a slice shows.
    kinds : numpy.ndarray
        uint8 (n,), see `Kind`.
    objects : numpy.ndarray
        int32 (n, 2): label and number.
    boxes_xyxy : numpy.ndarray
        int32 (n, 4).
    hashes : numpy.ndarray
        uint8 (n, 16).
    presences : numpy.ndarray
        float32 (n_slices, n_structures), in the order of `starts`: how surely each structure of the encoder's
        vocabulary is in a slice. 0 where that was not asked.
    is_ct : bool
        Whether the image looks like CT.

    Raises
    ------
    ValueError
        If the columns do not fit together, or a number is not finite.
    """

    version: str
    image: str
    journal_bytes: int
    vectors: np.ndarray
    positions: np.ndarray
    kinds: np.ndarray
    objects: np.ndarray
    boxes_xyxy: np.ndarray
    hashes: np.ndarray
    presences: np.ndarray
    is_ct: bool = False

    def __post_init__(self) -> None:
        n = len(self.vectors)
        columns = {
            "positions": (np.int32, (n, self.positions.shape[-1])),
            "kinds": (np.uint8, (n,)),
            "objects": (np.int32, (n, 2)),
            "boxes_xyxy": (np.int32, (n, 4)),
            "hashes": (np.uint8, (n, HASH_BYTES)),
            "vectors": (np.float16, (n, self.vectors.shape[-1])),
        }
        for name, (dtype, shape) in columns.items():
            column = getattr(self, name)
            if column.dtype != dtype or column.shape != shape:
                raise ValueError(f"{name} is {column.dtype} {column.shape}, expected {dtype.__name__} {shape}")
        if ((self.positions == _OPEN).sum(axis=1) != 2).any() or self.kinds.max(initial=0) > max(Kind):
            raise ValueError("a row is of no slice, or of nothing that is known")
        if self.presences.dtype != np.float32 or self.presences.shape != (len(self.starts), self.presences.shape[-1]):
            raise ValueError(f"presences is {self.presences.dtype} {self.presences.shape}, expected one row a slice")
        if not np.isfinite(self.vectors).all() or not np.isfinite(self.presences).all():
            raise ValueError("a number is not finite")

    @classmethod
    def of(cls, version: str, image: str, journal_bytes: int, rows: Iterable[Row], is_ct: bool = False) -> CaseRows:
        """Return rows in columns."""
        listed = sorted(rows, key=lambda row: [_OPEN if index is None else index for index in row.at.position])
        n, n_axes = len(listed), len(listed[0].at.position) if listed else 2
        width = len(listed[0].vector) if listed else 0
        positions = [[_OPEN if index is None else index for index in row.at.position] for row in listed]
        by_slice = {row.at: row.presences for row in reversed(listed) if row.presences}
        n_structures = max(map(len, by_slice.values()), default=0)
        unasked = (0.0,) * n_structures
        presences = [by_slice.get(at, unasked) for at in dict.fromkeys(row.at for row in listed)]
        return cls(
            version,
            image,
            journal_bytes,
            np.array([row.vector for row in listed], np.float16).reshape(n, width),
            np.array(positions, np.int32).reshape(n, n_axes),
            np.array([row.kind for row in listed], np.uint8),
            np.array([row.key for row in listed], np.int32).reshape(n, 2),
            np.array([row.box_xyxy for row in listed], np.int32).reshape(n, 4),
            np.frombuffer(b"".join(row.made_from for row in listed), np.uint8).reshape(n, HASH_BYTES),
            np.array(presences, np.float32).reshape(len(presences), n_structures),
            is_ct,
        )

    def __len__(self) -> int:
        return len(self.vectors)

    def row(self, number: int) -> Row:
        """Return one row."""
        x0, y0, x1, y1 = self.boxes_xyxy[number].tolist()
        slice_number = int(np.searchsorted(self.starts, number, side="right")) - 1
        return Row(
            slice_at(self.positions[number]),
            Kind(int(self.kinds[number])),
            ObjectKey(*self.objects[number].tolist()),
            (x0, y0, x1, y1),
            self.hashes[number].tobytes(),
            self.vectors[number],
            tuple(self.presences[slice_number].tolist()),
        )

    def by_slice(self) -> dict[SliceAt, list[Row]]:
        """Return the rows of each slice."""
        found: dict[SliceAt, list[Row]] = {}
        for row in map(self.row, range(len(self))):
            found.setdefault(row.at, []).append(row)
        return found

    @cached_property
    def starts(self) -> np.ndarray:
        """The rows at which a new slice begins, int64."""
        if not len(self):
            return np.zeros(0, np.int64)
        return np.flatnonzero(np.r_[True, (self.positions[1:] != self.positions[:-1]).any(axis=1)])

    def slices(self) -> list[SliceAt]:
        """Return which slices there are."""
        return [slice_at(position) for position in self.positions[self.starts]]

    def replaced(self, slices: Collection[SliceAt], only: Collection[SliceAt] | None, more: CaseRows) -> CaseRows:
        """Return these rows with `more` in the place of those of `slices`; without slices that are not in `only`."""
        if not len(self):
            return more
        gone, kept = set(slices), None if only is None else set(only)
        stays = [at not in gone and (kept is None or at in kept) for at in self.slices()]
        rows = np.repeat(stays, np.diff(np.r_[self.starts, len(self)]))
        parts = [self, more] if len(more) else [self]
        columns = {
            name: np.concatenate([getattr(part, name)[rows if part is self else ...] for part in parts])
            for name in _COLUMNS
        }
        columns["presences"] = np.concatenate([part.presences[stays if part is self else ...] for part in parts])
        return CaseRows(more.version, more.image, more.journal_bytes, **columns, is_ct=more.is_ct)


def slice_at(position: np.ndarray) -> SliceAt:
    """Return the slice of an entry of `CaseRows.positions`."""
    return SliceAt(tuple(None if index == _OPEN else index for index in position.tolist()))


def empty_row(at: SliceAt, made_from: bytes, width: int, n_structures: int = 0) -> Row:
    """Return the row of a slice in which there is nothing to see."""
    vector, presences = np.zeros(width, np.float32), (0.0,) * n_structures
    return Row(at, Kind.EMPTY, NO_OBJECT, (0, 0, 0, 0), made_from, vector, presences)
