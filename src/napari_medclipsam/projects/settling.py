"""Where two readings of a case differ, and settling it: the result is the first reading, changed."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medclipsam.annotation.book import Book, Change
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import ProjectError
from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.projects.replay import Replay
from napari_medclipsam.projects.second import Pair, both_accepted, pairs_of, reading

if TYPE_CHECKING:
    from napari_medclipsam.projects.case import Case
    from napari_medclipsam.projects.project import Project

Choice = Literal["first", "second", "edit"]
Notes = Mapping[SliceAt | None, Mapping[str, Any]]


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


def disputes_of(first: Book, notes: Notes, second: Book) -> list[Dispute]:
    """Return the slices on which two readings differ and that were not settled, those that differ most first.

    Parameters
    ----------
    first, second : Book
        The two readings, on one grid.
    notes : mapping
        Slice → what was noted of it in the first reading.
    """
    found = [dispute_at(at, first, notes, second) for at in both_accepted(first, second)]
    return sorted((one for one in found if one is not None), key=lambda one: min(one.dice.values()))


def dispute_at(at: SliceAt, first: Book, notes: Notes, second: Book) -> Dispute | None:
    """Return how two readings differ on a slice; None where they do not, or that was settled."""
    if {first.state(at).status, second.state(at).status} != {"accepted"}:
        return None
    mine, theirs = first.masks.labels[at.selector], second.masks.labels[at.selector]
    if np.array_equal(mine, theirs) or _is_settled(notes.get(at, {}), mine):
        return None
    labels = sorted({*np.unique(mine[mine != theirs]), *np.unique(theirs[mine != theirs])} - {0})
    return Dispute(at, {int(label): dice(mine == label, theirs == label) for label in labels})


def project_disputes(project: Project, only: str | None = None) -> Iterator[tuple[str, list[Dispute]]]:
    """Yield each case that has a second reading, or `only` one, with what is not settled; reads journals, no images."""
    for case, study in project.studies.items():
        if project.has_second(case) and only in (None, case):
            folder = project.case_folder(case, second=True)
            first = reading(project.case_folder(case), study.grid.shape)
            yield case, disputes_of(first.book, first.notes, reading(folder, study.grid.shape).book)


def _is_settled(noted: Mapping[str, Any], labels_yx: np.ndarray) -> bool:
    """Tell whether a slice was settled, and is still as it was then: a choice that was undone is open again."""
    return "adjudication" in noted and noted.get("settled") in (None, _check(labels_yx))


def _check(labels_yx: np.ndarray) -> str:
    return hashlib.sha256(labels_yx.tobytes()).hexdigest()[:16]


class Adjudication:
    """Settles where two readings of a case differ; the second reading stays as it is.

    Parameters
    ----------
    project : Project
        Where the case belongs.
    case : Case
        Its first reading, open.

    Attributes
    ----------
    second : Replay
        The second reading.
    readers : list of str
        Who has done that.

    Raises
    ------
    ProjectError
        If the case has no second reading, or it is that one which is open.
    """

    def __init__(self, project: Project, case: Case) -> None:
        folder = project.case_folder(case.study.case, second=True)
        if not project.has_second(case.study.case):
            raise ProjectError(f"The case {case.study.case} has no second reading yet.")
        if case.is_second:
            raise ProjectError("A second reading is settled from the first one; open that.")
        self._case = case
        self.second: Replay = reading(folder, case.study.grid.shape)
        self.readers = self.second.history.readers
        self._first: dict[SliceAt, bytes] = {}
        self._read: dict[SliceAt, dict[int, Pair]] = {}
        for dispute in self.disputes():
            mine = self._labels(dispute.at)
            self._first[dispute.at] = zlib.compress(mine.tobytes(), 1)
            self._read[dispute.at] = pairs_of(mine, self.second_mask(dispute.at))

    def disputes(self) -> list[Dispute]:
        """Return the slices that differ and were not settled, those that differ most first."""
        return disputes_of(self._case.session.book, self._case.notes, self.second.book)

    def dispute(self, at: SliceAt) -> Dispute | None:
        """Return how the readings differ on a slice now; None where they do not, or it is settled."""
        return dispute_at(at, self._case.session.book, self._case.notes, self.second.book)

    def second_mask(self, at: SliceAt) -> np.ndarray:
        """Return the labels of the second reading in a slice, uint8 (rows, columns), to look at."""
        return self.second.book.masks.labels[at.selector].copy()

    def choose(self, at: SliceAt, choice: Choice) -> Change:
        """Settle a slice, as one step of undo, and put it into the journal.

        Parameters
        ----------
        at : SliceAt
            Which.
        choice : {"first", "second", "edit"}
            Keep the first reading, as it was when settling began; take the second; or accept the slice as it has been
            edited in the session since.
        """
        session, change = self._case.session, Change()
        if choice == "second":
            change = session.accept_drawn(at, self.second_mask(at))
        elif choice == "edit":
            change = session.accept(at)
        elif (first := self._first_mask(at)) is not None:
            change = session.accept_drawn(at, first)
        noted: dict[str, Any] = {"adjudication": choice, "second_readers": self.readers}
        noted["settled"] = _check(self._labels(at))
        if at in self._read and "readings" not in self._case.noted(at):
            # What the two had read, for their agreement: the first is about to be another.
            noted["readings"] = {str(label): list(pair) for label, pair in self._read[at].items()}
        self._case.note(noted, at)
        return change

    def _labels(self, at: SliceAt) -> np.ndarray:
        return self._case.session.labels[at.selector]

    def _first_mask(self, at: SliceAt) -> np.ndarray | None:
        """Return the first reading of a slice that was edited since; None where it is as it was."""
        labels = self._labels(at)
        packed = self._first.get(at)
        first = labels if packed is None else np.frombuffer(zlib.decompress(packed), np.uint8).reshape(labels.shape)
        same = self._case.session.state(at).status == "accepted" and np.array_equal(first, labels)
        return None if same else first
