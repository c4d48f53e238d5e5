"""A second, blind reading of a case, and how far it agrees with the first; `settling` is for where it does not.

`Project.open_case` with ``second=True`` opens it: an empty session with a journal of its own in the folder ``second``
of the case. Nothing of the first reading is shown or used in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_medclipsam.annotation.book import Book
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import ProjectError
from napari_medclipsam.evaluation.metrics import normalized_surface_dice
from napari_medclipsam.projects.effort import NSD_TOLERANCE_PX
from napari_medclipsam.projects.journal import read_journal
from napari_medclipsam.projects.replay import Replay
from napari_medclipsam.projects.summary import Summary

if TYPE_CHECKING:
    from napari_medclipsam.projects.project import Project

_NO_UNDO = 1


def require_second_reader(reader: str, first: Summary, second: Summary) -> None:
    """Raise `ProjectError` unless `reader` may do the second reading of a case with these summaries."""
    if reader in first.history.readers:
        raise ProjectError(
            f"{reader} has worked on this case already; a second reading is blind and needs another reader. Go on "
            "under another name."
        )
    others = [other for other in second.history.readers if other != reader]
    if others:
        raise ProjectError(f"The second reading of this case belongs to {others[0]}; go on with it as {others[0]}.")


@dataclass(frozen=True)
class ClassAgreement:
    """How far two readings of a case agree on a class, over the slices that both have accepted.

    Parameters
    ----------
    case : str
    label : int
    n_both, n_first, n_second, n_neither : int
        Slices in which both, only the first, only the second or none has the class.
    dice : float
        Over all these slices together; 1 where both are empty.
    nsd : float, optional
        Mean over the slices in which at least one has it, at 2 pixels; None where none has.
    """

    case: str
    label: int
    n_both: int
    n_first: int
    n_second: int
    n_neither: int
    dice: float
    nsd: float | None

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa of presence per slice; None where chance alone agrees."""
        return kappa(self.n_both, self.n_first, self.n_second, self.n_neither)


def kappa(n_both: int, n_first: int, n_second: int, n_neither: int) -> float | None:
    """Return Cohen's kappa of two yes-or-no readings; None where chance alone agrees, or there is nothing to read."""
    n = n_both + n_first + n_second + n_neither
    if not n:
        return None
    first, second = (n_both + n_first) / n, (n_both + n_second) / n
    chance = first * second + (1 - first) * (1 - second)
    return None if chance == 1 else ((n_both + n_neither) / n - chance) / (1 - chance)


def agreements(project: Project) -> Iterator[ClassAgreement]:
    """Yield the agreement on each class of each case that has a second reading."""
    for case, study in list(project.studies.items()):
        if project.has_second(case):
            second = reading(project.case_folder(case, second=True), study.grid.shape)
            yield from agreement(case, reading(project.case_folder(case), study.grid.shape), second)


def reading(folder: Path, shape: tuple[int, ...]) -> Replay:
    """Return a reading as it is, from its journal alone."""
    return Replay(Book(shape, None, _NO_UNDO)).run(read_journal(folder / "journal.jsonl"))


class Pair(NamedTuple):
    """Two readings of one class in one slice.

    Parameters
    ----------
    n_shared, n_first, n_second : int
        Pixels in both masks, and in each.
    nsd : float or None
        At 2 pixels; None where both are empty.
    """

    n_shared: int
    n_first: int
    n_second: int
    nsd: float | None

    @classmethod
    def of(cls, first_yx: np.ndarray, second_yx: np.ndarray) -> Pair:
        """Compare two bool masks."""
        n_shared, n_first, n_second = (int(m.sum()) for m in (first_yx & second_yx, first_yx, second_yx))
        nsd = normalized_surface_dice(first_yx, second_yx, NSD_TOLERANCE_PX) if n_first or n_second else None
        return cls(n_shared, n_first, n_second, nsd)


def dice_of(pairs: Sequence[Pair]) -> float:
    """Return the Dice of pairs taken together; 1 where all are empty."""
    total = sum(pair.n_first + pair.n_second for pair in pairs)
    return 2 * sum(pair.n_shared for pair in pairs) / total if total else 1.0


def pairs_of(first_yx: np.ndarray, second_yx: np.ndarray) -> dict[int, Pair]:
    """Compare two readings of a slice, uint8 (rows, columns), class by class."""
    labels = sorted({*np.unique(first_yx), *np.unique(second_yx)} - {0})
    return {int(label): Pair.of(first_yx == label, second_yx == label) for label in labels}


def agreement(case: str, first: Replay, second: Replay) -> list[ClassAgreement]:
    """Compare two readings of a case; nothing where they have no accepted slice in common.

    A slice that was settled counts as the two had read it.
    """
    slices = both_accepted(first.book, second.book)
    read = [_as_read(at, first, second) for at in slices]
    labels = {key.label for book in (first.book, second.book) for key in book.objects()}
    labels |= {label for pairs in read for label in pairs}
    absent = Pair(0, 0, 0, None)
    return [
        _class_agreement(case, label, [pairs.get(label, absent) for pairs in read])
        for label in sorted(labels)
        if slices
    ]


def both_accepted(first: Book, second: Book) -> list[SliceAt]:
    """Return the slices that both readers have accepted."""
    both = [at for at, state in first.states.items() if {state.status, second.state(at).status} == {"accepted"}]
    return sorted(both, key=lambda at: (at.axis or 0, at.index))


def _as_read(at: SliceAt, first: Replay, second: Replay) -> dict[int, Pair]:
    noted: Mapping[str, Any] = first.notes.get(at, {})
    if "readings" in noted:
        return {int(label): Pair(*figures) for label, figures in noted["readings"].items()}
    return pairs_of(first.book.masks.labels[at.selector], second.book.masks.labels[at.selector])


def _class_agreement(case: str, label: int, pairs: Sequence[Pair]) -> ClassAgreement:
    here = [(pair.n_first > 0, pair.n_second > 0) for pair in pairs]
    counts = (here.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False)))
    n_both, n_first, n_second, n_neither = counts
    surfaces = [pair.nsd for pair in pairs if pair.nsd is not None]
    nsd = float(np.mean(surfaces)) if surfaces else None
    return ClassAgreement(case, label, n_both, n_first, n_second, n_neither, dice_of(pairs), nsd)
