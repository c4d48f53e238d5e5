"""A second, blind reading of a case, how far it agrees with the first, and settling where it does not.

`Project.open_case` with ``second=True`` opens it: an empty session with a journal of its own in the folder ``second``
of the case. Nothing of the first reading is shown or used in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_medclipsam.annotation.book import Book, Change
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import ProjectError
from napari_medclipsam.evaluation.metrics import dice, normalized_surface_dice
from napari_medclipsam.projects.effort import NSD_TOLERANCE_PX
from napari_medclipsam.projects.journal import read_journal
from napari_medclipsam.projects.replay import Replay
from napari_medclipsam.projects.summary import Summary

if TYPE_CHECKING:
    from napari_medclipsam.projects.case import Case
    from napari_medclipsam.projects.project import Project

Choice = Literal["first", "second", "edit"]

_NO_UNDO = 1


def require_second_reader(reader: str, first: Summary, second: Summary) -> None:
    """Raise `ProjectError` unless `reader` may do the second reading of a case with these summaries."""
    if reader in first.history.counts:
        raise ProjectError(
            f"{reader} has worked on this case already; a second reading is blind and needs another reader. Open the "
            "project under another name."
        )
    others = sorted({*second.history.counts} - {reader, ""})
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
        folder = project.case_folder(case, second=True)
        if folder.exists():
            second = reading(folder, study.grid.shape)
            yield from agreement(case, reading(project.case_folder(case), study.grid.shape), second)


def reading(folder: Path, shape: tuple[int, ...]) -> Replay:
    """Return a reading as it is, from its journal alone."""
    return Replay(Book(shape, None, _NO_UNDO)).run(read_journal(folder / "journal.jsonl"))


def agreement(case: str, first: Replay, second: Replay) -> list[ClassAgreement]:
    """Compare two readings of a case; nothing where they have no accepted slice in common."""
    slices = _common(first.book, second.book)
    labels = {key.label for book in (first.book, second.book) for key in book.objects()}
    return [_class_agreement(case, label, slices, first.book, second.book) for label in sorted(labels) if slices]


def _common(first: Book, second: Book) -> list[SliceAt]:
    """Return the slices that both readers have accepted."""
    both = [at for at, state in first.states.items() if {state.status, second.state(at).status} == {"accepted"}]
    return sorted(both, key=lambda at: (at.axis or 0, at.index))


def _class_agreement(case: str, label: int, slices: Sequence[SliceAt], first: Book, second: Book) -> ClassAgreement:
    pairs = [(first.masks.labels[at.selector] == label, second.masks.labels[at.selector] == label) for at in slices]
    here = [(bool(a.any()), bool(b.any())) for a, b in pairs]
    surfaces = [normalized_surface_dice(a, b, NSD_TOLERANCE_PX) for a, b in pairs if a.any() or b.any()]
    # Side by side, so that slices across different axes go together too.
    joined = [np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1)]
    counts = (here.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False)))
    n_both, n_first, n_second, n_neither = counts
    whole = dice(joined[0], joined[1])
    nsd = float(np.mean(surfaces)) if surfaces else None
    return ClassAgreement(case, label, n_both, n_first, n_second, n_neither, whole, nsd)


@dataclass(frozen=True)
class Dispute:
    """A slice that two readers have accepted differently.

    Parameters
    ----------
    at : SliceAt
    dice : dict
        Label → Dice of the two masks, for each class on which they differ.
    """

    at: SliceAt
    dice: dict[int, float]


class Adjudication:
    """Settles where two readings of a case differ. The result is the first reading, changed; the second stays as it is.

    Parameters
    ----------
    project : Project
        Where the case belongs.
    case : Case
        Its first reading, open.

    Raises
    ------
    ProjectError
        If the case has no second reading.
    """

    def __init__(self, project: Project, case: Case) -> None:
        folder = project.case_folder(case.study.case, second=True)
        if not folder.exists():
            raise ProjectError(f"The case {case.study.case} has no second reading yet.")
        self._case = case
        self._second = reading(folder, case.study.grid.shape)
        self._readers = sorted({*self._second.history.counts} - {""})

    def disputes(self) -> list[Dispute]:
        """Return the slices that differ and were not settled, those that differ most first."""
        book = self._case.session.book
        found = []
        for at in _common(book, self._second.book):
            mine, theirs = book.masks.labels[at.selector], self._second.book.masks.labels[at.selector]
            if "adjudication" not in self._case.noted(at) and not np.array_equal(mine, theirs):
                labels = sorted({*np.unique(mine[mine != theirs]), *np.unique(theirs[mine != theirs])} - {0})
                found.append(Dispute(at, {int(label): dice(mine == label, theirs == label) for label in labels}))
        return sorted(found, key=lambda one: min(one.dice.values()))

    def second_mask(self, at: SliceAt) -> np.ndarray:
        """Return the labels of the second reading in a slice, uint8 (rows, columns), to look at."""
        return self._second.book.masks.labels[at.selector].copy()

    def choose(self, at: SliceAt, choice: Choice) -> Change:
        """Settle a slice, and put it into the journal.

        Parameters
        ----------
        at : SliceAt
            Which.
        choice : {"first", "second", "edit"}
            Keep the first reading; take the second; or accept the slice as it has been edited in the session since.
        """
        session, change = self._case.session, Change()
        if choice == "second":
            session.reject(at)
            rows, columns = session.image.shape_yx(at)
            box = at.box((slice(0, rows), slice(0, columns)))
            session.paint(box, self.second_mask(at).reshape(session.labels[box].shape))
        if choice != "first":
            change = session.accept(at)
        self._case.note({"adjudication": choice, "second_readers": self._readers}, at)
        return change
