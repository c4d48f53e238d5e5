"""How far a case is, without reading its journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from napari_medclipsam.annotation.book import Book
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.states import Status
from napari_medclipsam.errors import ProjectError
from napari_medclipsam.projects.documents import read_document, write_document
from napari_medclipsam.projects.journal import read_journal
from napari_medclipsam.projects.replay import History, Replay
from napari_medclipsam.projects.review import CaseReview

SUMMARY_FORMAT = "medclipsam-summary"

# Rebuilding a case to look at it needs no undo.
_NO_UNDO = 1


@dataclass(frozen=True)
class Summary:
    """How far a case is.

    Parameters
    ----------
    n : int
        Number of the last record of its journal.
    size_bytes : int
        Of its journal; a journal of another size is newer.
    at : SliceAt or None
        The slice that was worked on last.
    statuses : dict
        Slice → status, of the slices that were touched.
    voxels : dict
        Label → voxels of the accepted mask.
    labels : frozenset of int
        Every label with voxels, prompts or proposals.
    history : History
        Who did what, and when.
    n_damages : int
        Places of the journal that can't be used.
    review : CaseReview, optional
        What the review queue needs; None for a case that nothing was done to, or where it was not asked for.
    n_flags : int
        Flagged slices.
    is_done : bool
        A reader has said that the case needs no more work.
    """

    n: int = 0
    size_bytes: int = 0
    at: SliceAt | None = None
    statuses: Mapping[SliceAt, Status] = field(default_factory=dict)
    voxels: Mapping[int, int] = field(default_factory=dict)
    labels: frozenset[int] = frozenset()
    history: History = field(default_factory=History)
    n_damages: int = 0
    review: CaseReview | None = None
    n_flags: int = 0
    is_done: bool = False

    @classmethod
    def of(cls, replay: Replay, n: int, size_bytes: int, *, review: bool = True) -> Summary:
        """Return the summary of a case as it is; without `review` it takes a millisecond whatever the size."""
        book = replay.book
        keys = book.objects()
        counts = {label: int(book.masks.voxel_counts(label).sum()) for label in {key.label for key in keys}}
        return cls(
            n,
            size_bytes,
            replay.at,
            {at: state.status for at, state in book.states.items()},
            {label: count for label, count in sorted(counts.items()) if count},
            frozenset(counts),
            replay.history,
            len(replay.damages),
            CaseReview.of(replay) if review else None,
            sum(bool(noted.get("flag")) for noted in replay.notes.values()),
            bool(replay.notes.get(None, {}).get("done")),
        )

    @property
    def counts(self) -> Counter[Status]:
        """How many slices have each status."""
        return Counter(self.statuses.values())

    @property
    def n_waiting(self) -> int:
        """How many slices have a proposal or a prompt that nobody has decided on."""
        return self.counts["proposed"] + self.counts["prompted"]

    def write(self, path: Path) -> None:
        """Write it; raises `OutputError` where that is not possible."""
        fields = {
            "n": self.n,
            "size_bytes": self.size_bytes,
            "at": None if self.at is None else list(self.at.position),
            "slices": [[list(at.position), status] for at, status in self.statuses.items()],
            "voxels": {str(label): count for label, count in self.voxels.items()},
            "labels": sorted(self.labels),
            "history": asdict(self.history),
            "n_damages": self.n_damages,
            "review": None if self.review is None else self.review.to_json(),
            "n_flags": self.n_flags,
            "is_done": self.is_done,
        }
        write_document(path, SUMMARY_FORMAT, fields, indent=None)

    @classmethod
    def read(cls, path: Path) -> Summary:
        """Read it.

        Raises
        ------
        ProjectError
            If it is missing or damaged, or from a newer version.
        """
        value = read_document(path, SUMMARY_FORMAT)
        try:
            return cls(
                value["n"],
                value["size_bytes"],
                None if value["at"] is None else SliceAt(tuple(value["at"])),
                {SliceAt(tuple(position)): status for position, status in value["slices"]},
                {int(label): count for label, count in value["voxels"].items()},
                frozenset(value["labels"]),
                History(**value["history"]),
                value["n_damages"],
                None if value["review"] is None else CaseReview.from_json(value["review"]),
                value["n_flags"],
                value["is_done"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProjectError(f"{path} is damaged; it is made again from the journal.") from error


def case_summary(case_folder: Path, shape: tuple[int, ...]) -> Summary:
    """Return the summary of a case: from its file, or from its journal where the file is older or missing.

    Parameters
    ----------
    case_folder : pathlib.Path
        Of the case.
    shape : tuple of int
        Of its grid.
    """
    journal = case_folder / "journal.jsonl"
    try:
        size_bytes = journal.stat().st_size
    except OSError:
        return Summary()
    if not size_bytes:
        # Opened, and nothing done.
        return Summary()
    try:
        summary = Summary.read(case_folder / "summary.json")
        if summary.size_bytes == size_bytes:
            return summary
    except ProjectError:
        pass
    contents = read_journal(journal)
    return Summary.of(Replay(Book(shape, None, _NO_UNDO)).run(contents), contents.last_n, size_bytes)
