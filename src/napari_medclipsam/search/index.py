"""All vectors of a project in memory, and the slices that are nearest to one.

The search is exact: one product of all vectors with the query. Up to some hundred thousand vectors that is faster than
any approximate structure needs to be, and a slice that was just accepted counts at once, see
docs/adr/0014-search-without-an-approximate-index.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from napari_medclipsam.annotation.classes import ClassTable
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.projects.project import Project
from napari_medclipsam.search.leads import best_of, lead
from napari_medclipsam.search.rows import CaseRows, Kind, Row, slice_at
from napari_medclipsam.search.store import Stamp, Store
from napari_medclipsam.wording import counted

Place = tuple[str, SliceAt]


@dataclass(frozen=True)
class Coverage:
    """How much of a project is indexed.

    Parameters
    ----------
    n_indexed, n_slices : int
        Slices that can be found, of all that there are.
    is_other : bool
        There is an index, but of another version of the program or the model: nothing of it can be used.
    """

    n_indexed: int
    n_slices: int
    is_other: bool = False

    @property
    def words(self) -> str:
        """For the reader."""
        if self.is_other and not self.n_indexed:
            return "The index is of another version of the program or model and can't be used: index the project anew."
        if not self.n_slices:
            return "The project has no slices yet."
        slices = counted(self.n_slices, "slice is", "slices are")
        if self.n_indexed >= self.n_slices:
            return f"{'The' if self.n_slices == 1 else 'All'} {slices} indexed."
        return f"{self.n_indexed} of {slices} indexed."


@dataclass(frozen=True)
class Scope:
    """Where to look.

    Parameters
    ----------
    case : str, optional
        Only this case.
    not_case : str, optional
        Only other cases.
    not_at : (str, SliceAt), optional
        Not in this slice.
    accepted : bool
        Only regions that a reader has accepted.
    """

    case: str | None = None
    not_case: str | None = None
    not_at: Place | None = None
    accepted: bool = False

    def holds(self, case: str) -> bool:
        """Tell whether slices of a case are looked at."""
        return self.case in (None, case) and self.not_case != case


@dataclass(frozen=True)
class Structure:
    """A structure whose presence is known of every slice that is indexed.

    Parameters
    ----------
    number : int
        In the encoder's vocabulary.
    labels : tuple of int
        The classes that are it: where a reader has accepted one of them, it is there.
    """

    number: int
    labels: tuple[int, ...] = ()


#: A presence that claims nothing: the model's own verdict.
LEAST = 0.5
#: In the whole project.
EVERYWHERE = Scope()


@dataclass(frozen=True, eq=False)
class Hit:
    """A slice that was found.

    Parameters
    ----------
    case : str
    row : Row
        What of it is nearest.
    lead : float
        See `lead`.
    presence : float or None
        How surely the structure that was asked for is in it; None where only vectors can tell.
    """

    case: str
    row: Row
    lead: float
    presence: float | None = None

    @property
    def is_claimed(self) -> bool:
        """Whether it shows what was asked rather than not."""
        return self.lead > 0 if self.presence is None else self.presence > LEAST


@dataclass(frozen=True, eq=False)
class Hits:
    """Slices that were found.

    Parameters
    ----------
    best : tuple of Hit
        The surest first.
    n_claimed : int
        How many there are that show what was asked, those among `best` included.
    n_looked_at : int
        Of how many.
    """

    best: tuple[Hit, ...] = ()
    n_claimed: int = 0
    n_looked_at: int = 0


@dataclass(frozen=True, eq=False)
class _Table:
    """All cases in one: what a query runs over.

    Parameters
    ----------
    cases : list of str
        Their ids.
    first_rows : numpy.ndarray
        int64 (n_cases + 1,): where each begins, and the end.
    vectors : numpy.ndarray
        float32 (n, d).
    kinds : numpy.ndarray
        uint8 (n,).
    labels : numpy.ndarray
        int32 (n,): the class of a region.
    presences : numpy.ndarray
        float32 (n_slices, n_structures).
    slice_rows : numpy.ndarray
        int64 (n_slices + 1,): where each slice begins, and the end.
    """

    cases: list[str]
    first_rows: np.ndarray
    vectors: np.ndarray
    kinds: np.ndarray
    labels: np.ndarray
    presences: np.ndarray
    slice_rows: np.ndarray

    @classmethod
    def of(cls, cases: Mapping[str, CaseRows]) -> _Table:
        filled = {case: rows for case, rows in cases.items() if len(rows)}
        first_rows = np.cumsum([0, *map(len, filled.values())])
        width = next((rows.vectors.shape[1] for rows in filled.values()), 0)
        vectors = np.empty((first_rows[-1], width), np.float32)
        for first, rows in zip(first_rows, filled.values(), strict=False):
            vectors[first : first + len(rows)] = rows.vectors
        starts = [rows.starts + first for first, rows in zip(first_rows, filled.values(), strict=False)]
        own = filled.values()
        return cls(
            list(filled),
            first_rows,
            vectors,
            np.concatenate([np.zeros(0, np.uint8), *(rows.kinds for rows in own)]),
            np.concatenate([np.zeros(0, np.int32), *(rows.objects[:, 0] for rows in own)]),
            np.concatenate([rows.presences for rows in own]) if filled else np.zeros((0, 0), np.float32),
            np.concatenate([*starts, first_rows[-1:]]),
        )


class Index:
    """The index of a project. Use from one thread at a time.

    Parameters
    ----------
    project : Project
        Says which cases there are.
    store : Store
        Its files.
    version : str
        See `building.index_version`; vectors of another one are left out.
    """

    def __init__(self, project: Project, store: Store, version: str) -> None:
        self._project, self._store, self._version = project, store, version
        self._stamps: dict[str, Stamp] = {}
        self._cases: dict[str, CaseRows] = {}
        self._others: set[str] = set()
        self._table = _Table.of({})

    def refresh(self) -> None:
        """Take in what has changed on the disk since the last time, whoever did it."""
        stamps = {case: stamp for case, stamp in self._store.stamps().items() if case in self._project.studies}
        images = {case: self._project.study(case).sha256 for case in stamps}
        gone = {case for case, rows in self._cases.items() if rows.image != images.get(case)}
        changed = [case for case, stamp in stamps.items() if self._stamps.get(case) != stamp]
        for case in {*gone, *changed}:
            self._cases.pop(case, None)
        self._others &= stamps.keys() - set(changed)
        for case in changed:
            rows = self._store.read(case)
            if rows is not None and (rows.version, rows.image) == (self._version, images[case]):
                self._cases[case] = rows
            elif rows is not None and rows.version != self._version:
                self._others.add(case)
        self._stamps = stamps
        if gone or changed:
            self._table = _Table.of(self._cases)

    @property
    def classes(self) -> ClassTable:
        """The classes of the project."""
        return self._project.classes

    @property
    def ct_cases(self) -> tuple[str, ...]:
        """Which of the indexed cases look like CT."""
        return tuple(case for case in self._table.cases if self._cases[case].is_ct)

    @property
    def coverage(self) -> Coverage:
        """How much is indexed, as of the last `refresh`."""
        n_indexed = n_slices = 0
        for case, study in self._project.studies.items():
            rows, shape = self._cases.get(case), study.grid.shape
            axis = None if len(shape) == 2 else 0
            if rows is not None and len(rows):
                axis = slice_at(rows.positions[0]).axis
            n = 1 if axis is None else shape[axis]
            n_slices += n
            n_indexed += 0 if rows is None else min(n, len(rows.starts))
        return Coverage(n_indexed, n_slices, bool(self._others))

    @property
    def n_vectors(self) -> int:
        """How many vectors there are."""
        return len(self._table.vectors)

    def nearest(
        self,
        vector: np.ndarray,
        others: np.ndarray,
        scope: Scope = EVERYWHERE,
        top: int = 20,
        structure: Structure | None = None,
        unseen: Collection[str] = (),
    ) -> Hits:
        """Return the slices that are nearer to a vector than to any of some others, the furthest ahead first.

        With a structure they are ranked by its presence, and by that where it is the same. Presence says nothing of
        regions: where only accepted ones are asked for, those of its classes come first.

        Parameters
        ----------
        vector : numpy.ndarray
            float32 (d,), unit length.
        others : numpy.ndarray
            float32 (k, d), unit length or zero; at least one.
        scope : Scope
            Where to look.
        top : int
            How many slices.
        structure : Structure, optional
            What the vector stands for.
        unseen : collection of str
            Cases of which the encoder can't tell: there only what a reader has accepted as the structure counts.
        """
        table = self._table
        if not table.cases:
            return Hits()
        cosines = np.vstack([vector, others]).astype(np.float32) @ table.vectors.T
        ahead = cosines[0] - cosines[1:].max(axis=0)
        is_accepted = (table.kinds == Kind.REGION) & np.isin(table.labels, structure.labels if structure else ())
        is_in, starts = self._is_in(scope), table.slice_rows
        for part in map(self._part, unseen):
            is_in[part] &= is_accepted[part]
        leads, rows = lead(ahead, table.kinds, is_in, starts)
        there = np.flatnonzero(np.isfinite(leads))
        if structure is None:
            sure = np.full(len(leads), np.nan, np.float32)
        else:
            sure, rows = self._sure(structure, np.where(is_in & is_accepted, ahead, -np.inf), rows, scope)
        claimed = np.where(np.isnan(sure), leads > 0, sure > LEAST)
        ranked = there[np.lexsort((-leads[there], -np.nan_to_num(sure[there], nan=-1.0)))]
        best = tuple(self._hit(int(rows[n]), float(leads[n]), float(sure[n])) for n in ranked[:top])
        return Hits(best, int(claimed[there].sum()), len(there))

    def _sure(
        self, structure: Structure, accepted: np.ndarray, rows: np.ndarray, scope: Scope
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return how surely a structure is in each slice, NaN where that is not known, and the rows that show it.

        `accepted` is how far ahead the regions are that are accepted as the structure, −inf for other rows.
        """
        table = self._table
        sure = table.presences[:, structure.number].copy()
        if scope.accepted:
            sure[:] = np.nan
        slices = np.repeat(np.arange(len(sure)), np.diff(table.slice_rows))
        best, own_rows = best_of(accepted, slices, table.slice_rows)
        sure[np.isfinite(best)] = 1.0
        return sure, np.where(np.isfinite(best), own_rows, rows)

    def _is_in(self, scope: Scope) -> np.ndarray:
        """Return which rows to look at, bool (n,)."""
        table = self._table
        found = table.kinds == Kind.REGION if scope.accepted else table.kinds != Kind.EMPTY
        if scope.case is not None:
            only = np.zeros_like(found)
            only[self._part(scope.case)] = True
            found &= only
        if scope.not_case is not None:
            found[self._part(scope.not_case)] = False
        if scope.not_at is not None:
            case, at = scope.not_at
            part = self._part(case)
            if part.start < part.stop:
                position = [-1 if index is None else index for index in at.position]
                found[part] &= (self._cases[case].positions != position).any(axis=1)
        return found

    def _part(self, case: str) -> slice:
        """Return the rows of a case."""
        table = self._table
        if case not in table.cases:
            return slice(0, 0)
        number = table.cases.index(case)
        return slice(int(table.first_rows[number]), int(table.first_rows[number + 1]))

    def _hit(self, row: int, score: float, presence: float) -> Hit:
        number = int(np.searchsorted(self._table.first_rows, row, side="right")) - 1
        case = self._table.cases[number]
        found = self._cases[case].row(row - int(self._table.first_rows[number]))
        return Hit(case, found, score, None if np.isnan(presence) else presence)
