"""All vectors of a project in memory, and the slices that are nearest to one.

The search is exact: one product of all vectors with the query. Up to some hundred thousand vectors that is faster than
any approximate structure needs to be, and a slice that was just accepted counts at once, see
docs/adr/XXXX-search-without-an-approximate-index.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.projects.project import Project
from napari_medclipsam.search.rows import CaseRows, Kind, Row
from napari_medclipsam.search.store import Stamp, Store

Place = tuple[str, SliceAt]


@dataclass(frozen=True)
class Coverage:
    """How much of a project is indexed.

    Parameters
    ----------
    n_indexed, n_slices : int
        Slices that can be found, of all that there are.
    is_other : bool
        There is an index, but of another version of the model: nothing of it can be used.
    """

    n_indexed: int
    n_slices: int
    is_other: bool = False

    @property
    def words(self) -> str:
        """For the reader."""
        if self.is_other and not self.n_indexed:
            return "The index is of another version of the model and is built anew; nothing is indexed yet."
        if self.n_indexed >= self.n_slices:
            return f"All {self.n_slices} slices are indexed." if self.n_slices else "The project has no slices yet."
        return f"{self.n_indexed} of {self.n_slices} slices are indexed."


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


#: In the whole project.
EVERYWHERE = Scope()


@dataclass(frozen=True, eq=False)
class Hit:
    """A slice that was found, by the row of it that is nearest."""

    case: str
    row: Row
    cosine: float


@dataclass(frozen=True, eq=False)
class _Block:
    """A case in memory: vectors float32 (n, d), the slice of each row, and what can be found."""

    rows: CaseRows
    vectors: np.ndarray
    slices: list[SliceAt]
    numbers: np.ndarray
    is_seen: np.ndarray
    is_accepted: np.ndarray

    @classmethod
    def of(cls, rows: CaseRows) -> _Block:
        slices, numbers = rows.slices()
        kinds = rows.kinds
        return cls(rows, rows.vectors.astype(np.float32), slices, numbers, kinds != Kind.EMPTY, kinds == Kind.REGION)


class Index:
    """The index of a project. Use from one thread at a time.

    Parameters
    ----------
    project : Project
        Says which cases there are.
    store : Store
        Its files.
    version : str
        Of the encoder; vectors of another one are left out.
    """

    def __init__(self, project: Project, store: Store, version: str) -> None:
        self._project, self._store, self._version = project, store, version
        self._stamps: dict[str, Stamp] = {}
        self._blocks: dict[str, _Block] = {}
        self._others: set[str] = set()

    def refresh(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Take in what has changed on the disk since the last time, whoever did it."""
        stamps = {case: stamp for case, stamp in self._store.stamps().items() if case in self._project.studies}
        for case in self._blocks.keys() - stamps.keys():
            del self._blocks[case]
        images = {case: self._project.study(case).sha256 for case in stamps}
        for case in [case for case, block in self._blocks.items() if block.rows.image != images[case]]:
            del self._blocks[case]
        changed = [case for case, stamp in stamps.items() if self._stamps.get(case) != stamp]
        self._others &= stamps.keys() - set(changed)
        for done, case in enumerate(changed, start=1):
            self._blocks.pop(case, None)
            rows = self._store.read(case)
            if rows is not None and (rows.version, rows.image) == (self._version, images[case]):
                self._blocks[case] = _Block.of(rows)
            elif rows is not None and rows.version != self._version:
                self._others.add(case)
            if progress is not None:
                progress(done, len(changed))
        self._stamps = stamps

    @property
    def coverage(self) -> Coverage:
        """How much is indexed, as of the last `refresh`."""
        n_indexed = n_slices = 0
        for case, study in self._project.studies.items():
            block, shape = self._blocks.get(case), study.grid.shape
            axis = None if len(shape) == 2 else 0
            if block is not None and block.slices:
                axis = block.slices[0].axis
            n = 1 if axis is None else shape[axis]
            n_slices += n
            n_indexed += 0 if block is None else min(n, len(block.slices))
        return Coverage(n_indexed, n_slices, bool(self._others))

    @property
    def n_vectors(self) -> int:
        """How many vectors there are."""
        return sum(len(block.rows) for block in self._blocks.values())

    def vector_of(self, case: str, at: SliceAt, label: int) -> np.ndarray | None:
        """Return the vector of the largest accepted region of a class in a slice; None where there is none."""
        block = self._blocks.get(case)
        if block is None or at not in block.slices:
            return None
        rows = block.rows
        mine = block.is_accepted & (block.numbers == block.slices.index(at)) & (rows.objects[:, 0] == label)
        if not mine.any():
            return None
        x0, y0, x1, y1 = rows.boxes_xyxy.T
        return np.asarray(block.vectors[int(np.argmax(np.where(mine, (x1 - x0 + 1) * (y1 - y0 + 1), -1)))])

    def nearest(self, vector: np.ndarray, scope: Scope = EVERYWHERE, top: int = 20) -> list[Hit]:
        """Return the slices that have a row nearest to a vector, the nearest first, each once.

        Parameters
        ----------
        vector : numpy.ndarray
            float32 (d,), unit length.
        scope : Scope
            Where to look.
        top : int
            How many slices.
        """
        query = np.ascontiguousarray(vector, np.float32)
        blocks = [(case, block) for case, block in self._blocks.items() if len(block.rows)]
        if scope.case is not None:
            blocks = [(case, block) for case, block in blocks if case == scope.case]
        best: list[tuple[float, str, int]] = []
        cosines = [_cosines(case, block, query, scope) for case, block in blocks]
        if not cosines:
            return []
        together = np.concatenate(cosines)
        starts = np.cumsum([0, *(len(c) for c in cosines)])
        offsets = np.cumsum([0, *(len(block.slices) for _, block in blocks)])
        numbers = np.concatenate([block.numbers + o for (_, block), o in zip(blocks, offsets, strict=False)])
        order = _first_per_slice(together, numbers, top)
        for place in order:
            which = int(np.searchsorted(starts, place, side="right")) - 1
            best.append((float(together[place]), blocks[which][0], int(place - starts[which])))
        return [Hit(case, self._blocks[case].rows.row(number), cosine) for cosine, case, number in best]


def _cosines(case: str, block: _Block, query: np.ndarray, scope: Scope) -> np.ndarray:
    """Return the cosine of each row of a case; −inf for those that are not looked at."""
    if case == scope.not_case:
        return np.full(len(block.rows), -np.inf, np.float32)
    cosines = block.vectors @ query
    cosines[~(block.is_accepted if scope.accepted else block.is_seen)] = -np.inf
    if scope.not_at is not None and scope.not_at[0] == case and scope.not_at[1] in block.slices:
        cosines[block.numbers == block.slices.index(scope.not_at[1])] = -np.inf
    return cosines


def _first_per_slice(cosines: np.ndarray, numbers: np.ndarray, top: int) -> list[int]:
    """Return the places of the highest cosine of each of the `top` best slices, in order."""
    n_slices = int(numbers.max()) + 1
    of_slice = np.full(n_slices, -np.inf, np.float32)
    np.maximum.at(of_slice, numbers, cosines)
    slices = np.argpartition(-of_slice, min(top, n_slices) - 1)[:top] if top < n_slices else np.arange(n_slices)
    slices = slices[np.argsort(-of_slice[slices], kind="stable")]
    return [
        int(np.flatnonzero((numbers == number) & (cosines == of_slice[number]))[0])
        for number in slices
        if np.isfinite(of_slice[number])
    ]
