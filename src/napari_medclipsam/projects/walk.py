"""Going through the review queue: what comes next, past what was passed over and what can't be opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.states import Status
from napari_medclipsam.projects.queue import OPEN, QueueItem, ReviewQueue

Place = tuple[str, SliceAt]


@dataclass(frozen=True)
class Filters:
    """Which slices of the queue a reader wants; see `ReviewQueue.items`."""

    statuses: tuple[Status, ...] = OPEN
    label: int | None = None
    case: str | None = None
    flagged: bool = False


@dataclass
class QueueWalk:
    """One reader's way through a queue.

    Parameters
    ----------
    queue : ReviewQueue
        May be another after a new ranking.
    filters : Filters
        What the reader wants to see.
    refused : dict
        Case → why it can't be worked on, a sentence; its slices do not come.
    passed : set of (str, SliceAt)
        Slices that the reader has left as they are: they come again when nothing else is left.
    """

    queue: ReviewQueue
    filters: Filters = Filters()
    refused: dict[str, str] = field(default_factory=dict)
    passed: set[Place] = field(default_factory=set)

    def items(self, limit: int) -> list[QueueItem]:
        """Return the next slices, in the order in which they come."""
        first: list[QueueItem] = []
        later: list[QueueItem] = []
        for item in self._ranked():
            (later if (item.case, item.at) in self.passed else first).append(item)
            if len(first) == limit:
                break
        return [*first, *later][:limit]

    def next(self, here: Place | None = None) -> QueueItem | None:
        """Leave the slice `here` as it is, and return the one that comes next; None at the end."""
        if here is not None:
            self.passed.add(here)
        fallback = None
        for item in self._ranked():
            if (item.case, item.at) not in self.passed:
                return item
            if fallback is None and (item.case, item.at) != here:
                fallback = item
        if fallback is not None:
            # Once around: only what was passed over is left, and it comes again.
            self.passed = set() if here is None else {here}
        return fallback

    def end_words(self, here: Place | None = None) -> str:
        """Say why nothing comes next."""
        left_out = "".join(f" {case} was left out: {reason}" for case, reason in self.refused.items())
        if here is not None and any((item.case, item.at) == here for item in self._ranked()):
            return f"This slice is the last one that fits; nothing comes after it.{left_out}"
        if self.filters != Filters():
            return f"No slice is left that fits the filters of the queue; change them on the page Queue.{left_out}"
        n_slices = self.queue.progress.n_slices
        if not n_slices:
            return "The project has no studies yet: add some on the page Project."
        if left_out:
            return f"The queue is at its end.{left_out}"
        return f"The queue is at its end: none of the {n_slices} slices needs you any more."

    def _ranked(self) -> Iterator[QueueItem]:
        return self.queue.ranked(**vars(self.filters), leave_out=self.refused)


def place_words(item: QueueItem) -> str:
    """Say which slice it is."""
    return item.case if item.at.axis is None else f"{item.case} slice {item.at.index}"


def why_words(item: QueueItem) -> str:
    """Say why it comes, and what was noted."""
    flag = "flagged; " if item.flagged else ""
    note = f' — "{item.note}"' if item.note else ""
    return f"{flag}{'; '.join(item.reasons)}{note}"
