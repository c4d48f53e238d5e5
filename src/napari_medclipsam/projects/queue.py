"""Which slice needs a reader most: cases and slices ranked, with the reasons in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from napari_medclipsam.annotation.classes import ClassTable
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.states import Status
from napari_medclipsam.errors import ProjectError
from napari_medclipsam.images.look import LOOK_SIZE
from napari_medclipsam.projects.review import STATUSES, CaseReview
from napari_medclipsam.projects.signals import REASONS, WEIGHTS, ClassSignals, diversity
from napari_medclipsam.projects.summary import Summary
from napari_medclipsam.projects.wording import Told, reason_words
from napari_medclipsam.wording import counted

if TYPE_CHECKING:
    from napari_medclipsam.projects.case import Case
    from napari_medclipsam.projects.project import Project

#: What still needs a decision.
OPEN: tuple[Status, ...] = ("untouched", "prompted", "proposed")

_ACCEPTED = STATUSES.index("accepted")
# A case is as urgent as its worst slices together.
_WORST = 5
# A reason that moves the score by less is not worth a word.
_WORTH_TELLING = 0.1
_MOST_REASONS = 3
# A pace from less is a guess.
_LEAST_DONE, _LEAST_S = 5, 30.0


#: The reasons of a slice of which nothing else is known.
UNSEEN = ("no model has looked at it yet",)


@dataclass(frozen=True)
class QueueItem:
    """A slice that waits for a reader.

    Parameters
    ----------
    case : str
    at : SliceAt
        Where.
    score : float
        In [0, 1]: how much it needs a reader; flagged slices come before all others.
    status : str
        See `annotation.states.Status`.
    reasons : tuple of str
        In words, strongest first; never empty.
    flagged : bool
        A reader wants to see it again.
    note : str
        What a reader wrote.
    """

    case: str
    at: SliceAt
    score: float
    status: Status
    reasons: tuple[str, ...]
    flagged: bool
    note: str


@dataclass(frozen=True)
class QueueCase:
    """A case with slices that wait; `score` is the mean of its five highest, `worst` the first of them."""

    case: str
    score: float
    n_open: int
    n_slices: int
    worst: QueueItem


@dataclass(frozen=True)
class Progress:
    """How far the work is.

    Parameters
    ----------
    n_done, n_slices : int
        Slices that need no more work (accepted, or of a case that is done), and all.
    seconds_left : float, optional
        At the pace until now, in seconds of work; None while there is too little to go by.
    """

    n_done: int
    n_slices: int
    seconds_left: float | None

    def __str__(self) -> str:
        told = f"{self.n_done} of {counted(self.n_slices, 'slice')}"
        if self.seconds_left is None or self.n_done == self.n_slices:
            return told
        minutes = self.seconds_left / 60
        if minutes < 1:
            return f"{told}, less than a minute left"
        return f"{told}, about {f'{minutes:.0f} min' if minutes < 90 else f'{minutes / 60:.0f} h'} left"


class ReviewQueue:
    """The slices of a project by how much they need a reader. It holds no image and no journal.

    Parameters
    ----------
    reviews : dict
        Case → `CaseReview`.
    classes : ClassTable
        For the words.
    active_s : dict, optional
        Case → seconds of work until now.
    done : iterable of str
        Cases that a reader has called done: their slices come only where that case is asked for.
    """

    def __init__(
        self,
        reviews: Mapping[str, CaseReview],
        classes: ClassTable,
        active_s: Mapping[str, float] | None = None,
        done: Iterable[str] = (),
    ) -> None:
        self._reviews, self._classes = dict(reviews), classes
        self._active_s, self._done = dict(active_s or {}), set(done)
        self._arrange()

    @classmethod
    def of(cls, project: Project, summaries: Mapping[str, Summary] | None = None) -> ReviewQueue:
        """Return the queue of a project; give its `summaries` if you have them."""
        return cls({}, project.classes).renewed(project, project.summaries() if summaries is None else summaries)

    def renewed(self, project: Project, summaries: Mapping[str, Summary]) -> ReviewQueue:
        """Return this queue with cases that were worked on or are new, to be ranked anew; may be called in a thread."""
        reviews = {
            case: CaseReview.untouched(project.study(case).grid.shape) if s.review is None else s.review
            for case, s in summaries.items()
        }
        active_s = {case: sum(s.history.active_s.values()) for case, s in summaries.items()}
        done = {case for case, s in summaries.items() if s.is_done}
        return ReviewQueue(
            self._reviews | reviews, self._classes, self._active_s | active_s, (self._done - summaries.keys()) | done
        )

    def _arrange(self) -> None:
        """Put the slices of all cases one after the other."""
        self._cases = list(self._reviews)
        sizes = [len(review.statuses) for review in self._reviews.values()]
        self._starts = dict(zip(self._cases, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True)) if sizes else {}
        self._case_of = np.repeat(np.arange(len(sizes)), sizes)
        self._statuses = np.concatenate([r.statuses for r in self._reviews.values()] or [np.zeros(0, np.uint8)])
        self._flagged = np.zeros(len(self._statuses), bool)
        for case in self._cases:
            self._flag(case)
        self._signals: dict[int, tuple[ClassSignals, np.ndarray]] = {}
        self._scores: dict[int | None, np.ndarray] = {}
        self._far: np.ndarray | None = None

    def mark(self, case: str, at: SliceAt, status: Status) -> None:
        """Take in a decision at once, without ranking anew."""
        review = self._reviews[case]
        if at.axis == review.axis:
            review.statuses[at.index] = self._statuses[self._starts[case] + at.index] = STATUSES.index(status)

    def follow(self, case: Case) -> None:
        """Take in how an open case is now, without ranking anew: decisions, flags and notes, and the time it took."""
        name = case.study.case
        review = self._reviews[name]
        statuses = np.zeros_like(review.statuses)
        for at, state in case.session.book.states.items():
            if at.axis == review.axis:
                statuses[at.index] = STATUSES.index(state.status)
        notes = {at.index: noted for at, noted in case.notes.items() if at is not None and at.axis == review.axis}
        self._reviews[name] = replace(review, statuses=statuses, notes=notes)
        self._statuses[self._places(name)] = statuses
        self._flag(name)
        self._active_s[name] = sum(case.active_s.values())
        (self._done.add if case.notes.get(None, {}).get("done") else self._done.discard)(name)

    def _places(self, case: str) -> slice:
        start = self._starts[case]
        return slice(start, start + len(self._reviews[case].statuses))

    def _flag(self, case: str) -> None:
        flagged = self._flagged[self._places(case)]
        flagged[:] = False
        for index, noted in self._reviews[case].notes.items():
            if index < len(flagged):
                flagged[index] = bool(noted.get("flag"))

    @property
    def progress(self) -> Progress:
        """How far the work is, and how long the rest takes at the pace until now; ``str`` says it."""
        is_done, n_slices = self._statuses == _ACCEPTED, len(self._statuses)
        n_accepted, active_s = int(is_done.sum()), sum(self._active_s.values())
        for case in self._done:
            is_done[self._places(case)] = True
        n_done = int(is_done.sum())
        enough = n_accepted >= _LEAST_DONE and active_s >= _LEAST_S
        return Progress(n_done, n_slices, (n_slices - n_done) * active_s / n_accepted if enough else None)

    def items(
        self,
        limit: int | None = None,
        *,
        statuses: Iterable[Status] = OPEN,
        label: int | None = None,
        case: str | None = None,
        flagged: bool = False,
        leave_out: Collection[str] = (),
    ) -> list[QueueItem]:
        """Return slices, the one that needs a reader most first.

        Parameters
        ----------
        limit : int, optional
            As many at most.
        statuses : iterable of str
            Only slices in one of these.
        label : int, optional
            Only reasons, and slices with a mask or a text answer, of this class.
        case : str, optional
            Only slices of this case.
        flagged : bool
            Only flagged slices.
        leave_out : collection of str
            No slices of these cases.

        Raises
        ------
        ProjectError
            If there is no such case.
        """
        found = self.ranked(statuses=statuses, label=label, case=case, flagged=flagged, leave_out=leave_out)
        return list(islice(found, limit))

    def ranked(
        self,
        *,
        statuses: Iterable[Status] = OPEN,
        label: int | None = None,
        case: str | None = None,
        flagged: bool = False,
        leave_out: Collection[str] = (),
    ) -> Iterator[QueueItem]:
        """Yield what `items` returns."""
        wanted = self._wanted(statuses, label, case, flagged)
        for other in leave_out:
            if other in self._starts:
                places = self._places(other)
                wanted = wanted[(wanted < places.start) | (wanted >= places.stop)]
        score = self._score(label)
        order = wanted[np.argsort(-(score[wanted] + self._flagged[wanted]), kind="stable")]
        for place in order:
            yield self._item(int(place), float(score[place]), label)

    def cases(self, *, statuses: Iterable[Status] = OPEN, label: int | None = None) -> list[QueueCase]:
        """Return the cases that have such slices, the one that needs a reader most first; see `items`."""
        wanted = self._wanted(statuses, label, None, False)
        score = self._score(label)
        order = wanted[np.lexsort((-(score[wanted] + self._flagged[wanted]), self._case_of[wanted]))]
        found = []
        for places in np.split(order, np.flatnonzero(np.diff(self._case_of[order])) + 1) if len(order) else []:
            urgency = float((score[places[:_WORST]] + self._flagged[places[:_WORST]]).mean())
            found.append((urgency, places))
        found.sort(key=lambda one: -one[0])
        return [self._case(places, min(1.0, urgency), label) for urgency, places in found]

    def _case(self, places: np.ndarray, score: float, label: int | None) -> QueueCase:
        worst = self._item(int(places[0]), float(self._score(label)[places[0]]), label)
        return QueueCase(worst.case, score, len(places), len(self._reviews[worst.case].statuses), worst)

    def _wanted(self, statuses: Iterable[Status], label: int | None, case: str | None, flagged: bool) -> np.ndarray:
        """Return the places of the slices that pass the filters."""
        keep = np.isin(self._statuses, [STATUSES.index(status) for status in statuses])
        if flagged:
            keep &= self._flagged
        if label is not None:
            signals, places = self._signals_of(label)
            known = (signals.table > 0).any(axis=0) if len(places) else np.zeros(0, bool)
            keep &= np.isin(np.arange(len(keep)), places[known])
        if case is not None:
            if case not in self._starts:
                raise ProjectError(f"There is no case {case} among the {len(self._cases)} of this project.")
            keep[: self._places(case).start] = keep[self._places(case).stop :] = False
        for done in self._done - {case}:
            keep[self._places(done)] = False
        return np.flatnonzero(keep)

    def _signals_of(self, label: int) -> tuple[ClassSignals, np.ndarray]:
        """Return the signals of a class, and the places of their slices."""
        if label not in self._signals:
            having = [(case, r.tables[label]) for case, r in self._reviews.items() if label in r.tables]
            tables = [table for _, table in having] or [np.zeros((6, 0), np.int8)]
            parts = [np.arange(self._starts[case], self._starts[case] + table.shape[1]) for case, table in having]
            places = np.concatenate(parts or [np.zeros(0, np.intp)])
            self._signals[label] = (ClassSignals.of(tables), places)
        return self._signals[label]

    def _labels(self) -> list[int]:
        return sorted({label for review in self._reviews.values() for label in review.tables})

    def _score(self, label: int | None) -> np.ndarray:
        """Return the score of every slice; without a label the highest over all classes."""
        if label not in self._scores:
            far = self._distance()
            score = WEIGHTS["diversity"] * far
            for one in self._labels() if label is None else [label]:
                signals, places = self._signals_of(one)
                score[places] = np.maximum(score[places], signals.score(far[places]))
            self._scores[label] = score
        return self._scores[label]

    def _distance(self) -> np.ndarray:
        if self._far is None:
            blank = {n: np.zeros((n, LOOK_SIZE), np.uint8) for n in {len(r.statuses) for r in self._reviews.values()}}
            looks = [blank[len(r.statuses)] if r.looks is None else r.looks for r in self._reviews.values()]
            stacked = np.concatenate(looks or [np.zeros((0, LOOK_SIZE), np.uint8)])
            self._far = diversity(stacked, self._statuses == _ACCEPTED)
        return self._far

    def _item(self, place: int, score: float, label: int | None) -> QueueItem:
        case = self._cases[self._case_of[place]]
        review, index = self._reviews[case], place - self._starts[case]
        noted = review.notes.get(index, {})
        status: Status = STATUSES[self._statuses[place]]  # type: ignore[assignment]
        return QueueItem(
            case,
            review.at(index),
            score,
            status,
            self._reasons(place, review, status, label),
            bool(self._flagged[place]),
            str(noted.get("note", "")),
        )

    def _reasons(self, place: int, review: CaseReview, status: Status, label: int | None) -> tuple[str, ...]:
        """Say why a slice is where it is, strongest reason first."""
        found: list[tuple[float, str, str, Told | None]] = []
        found.append((WEIGHTS["diversity"] * float(self._distance()[place]), "", "diversity", None))
        seen = False
        for one in sorted(review.tables) if label is None else [label] if label in review.tables else []:
            signals, places = self._signals_of(one)
            here = int(np.searchsorted(places, place))
            told = Told.of(signals, here, status == "accepted")
            seen |= told.is_known
            name = f"{self._classes[one].name}: " if one in self._classes and len(self._classes) > 1 else ""
            for reason in REASONS[:-1]:
                strength = WEIGHTS[reason] * float(signals.by_reason[reason][here])
                found.append((strength, name, reason, told))
        worth = sorted((f for f in found if f[0] >= _WORTH_TELLING), key=lambda one: -one[0])
        if worth:
            return tuple(name + reason_words(reason, told) for _, name, reason, told in worth[:_MOST_REASONS])
        return ("nothing stands out",) if seen else UNSEEN
