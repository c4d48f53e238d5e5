"""From the records of a case to how things are."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from napari_medclipsam.annotation.actions import Action, Deed
from napari_medclipsam.annotation.book import Book
from napari_medclipsam.annotation.masks import VoxelChange
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.images.intensity import Window
from napari_medclipsam.projects.codec import UNUSABLE, action_of, fields_of, slice_of
from napari_medclipsam.projects.journal import Contents, Damage
from napari_medclipsam.projects.records import Record
from napari_medclipsam.projects.scores import Scores

#: A longer pause between two records of a reader is no work.
LONGEST_GAP_S = 60.0


@dataclass
class History:
    """How much was done to a case, by whom and when: what is left of records after compaction.

    Parameters
    ----------
    counts : dict
        Reader → verb → number of records.
    first, last : str
        Times; "" before there is a record.
    active_s : dict
        Reader → seconds of work: time between two records, where it is no more than a minute.
    lasts : dict
        Reader → time of the last record.
    """

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    first: str = ""
    last: str = ""
    active_s: dict[str, float] = field(default_factory=dict)
    lasts: dict[str, str] = field(default_factory=dict)

    @property
    def readers(self) -> list[str]:
        """Who has worked on the case, by name; to have opened it, and what a program did by itself, is no work."""
        return sorted(reader for reader, verbs in self.counts.items() if reader and verbs.keys() - {"begin"})

    @property
    def last_worked(self) -> str:
        """When a reader has worked on it last; "" for never."""
        return max((self.lasts.get(reader, "") for reader in self.readers), default="")

    def add(self, record: Mapping[str, Any]) -> None:
        """Count one more record."""
        reader, time = record.get("reader", ""), record["time"]
        verbs = self.counts.setdefault(reader, {})
        verbs[record["verb"]] = verbs.get(record["verb"], 0) + 1
        if reader:
            worked_s = active_seconds(self.lasts.get(reader, ""), time)
            self.active_s[reader] = round(self.active_s.get(reader, 0.0) + worked_s, 3)
            self.lasts[reader] = time
        self.first = self.first or time
        self.last = time


def active_seconds(before: str, after: str) -> float:
    """Return the seconds of work between two times of records: 0 where it was a pause, or a clock went back."""
    try:
        gap_s = (datetime.fromisoformat(after) - datetime.fromisoformat(before)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
    return gap_s if 0 < gap_s <= LONGEST_GAP_S else 0.0


class Replay:
    """Puts records into a book, in order.

    Parameters
    ----------
    book : Book
        Empty, on the grid of the case.

    Attributes
    ----------
    at : SliceAt or None
        The slice that was worked on or looked at last.
    text : str
        What was asked last.
    window : str or tuple of float
        The intensity window that the models saw then.
    current : ObjectKey or None
        The object that was worked on last.
    history : History
        What was done.
    classes : list of dict
        The classes as they were when the case was worked on last.
    damages : list of Damage
        What could not be used.
    scores : Scores
        What models said of the slices.
    notes : dict
        Slice → what readers noted of it: "flag", "note" and others; None stands for the whole case.
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        self.at: SliceAt | None = None
        self.text = ""
        self.window: Window = "auto"
        self.current: ObjectKey | None = None
        self.history = History()
        self.classes: list[Record] = []
        self.damages: list[Damage] = []
        self.scores = Scores()
        self.notes: dict[SliceAt | None, Record] = {}

    def run(self, contents: Contents) -> Replay:
        """Take everything that a journal holds; undo does not go back beyond a damage."""
        self.damages += contents.damages
        broken_after = {damage.after for damage in contents.damages}
        for line, record in enumerate(contents.records, start=1):
            try:
                self.book.replay(action_of(record, self.book.masks.labels.shape))
            except UNUSABLE:
                self.damages.append(Damage(line, int(record["n"]) - 1, "says what can't be of this image"))
                self.book.undo_stack.clear()
            else:
                self.note(record)
            if record["n"] in broken_after:
                self.book.undo_stack.clear()
        return self

    def note(self, record: Mapping[str, Any]) -> None:
        """Remember what a record says beside what it changed."""
        parameters = record.get("parameters", {})
        if record["verb"] == "snapshot":
            self.history = History(**parameters["history"])
        else:
            self.history.add(record)
        self.classes = record.get("classes", self.classes)
        shape = self.book.masks.labels.shape
        at = slice_of(record.get("at"), shape)
        self.at = at or self.at
        if record["verb"] == "note":
            self.notes.setdefault(at, {}).update(parameters)
        for position, noted in parameters.get("notes", ()):
            self.notes[slice_of(position, shape)] = dict(noted)
        if "text" in parameters:
            self.text = parameters["text"]
        if (window := parameters.get("window")) is not None:
            self.window = window if isinstance(window, str) else (float(window[0]), float(window[1]))
        if "label" in parameters:
            self.current = ObjectKey(parameters["label"], parameters["number"])
        # Whatever is wrong with what a record adds to the ranking of slices harms no mask.
        with suppress(*UNUSABLE):
            self.scores.take(parameters.get("scores", ()))

    def snapshot(self) -> Record:
        """Return fields of a record that gives all that is there now, for an empty book."""
        masks = self.book.masks
        box = _drawn_box(masks.labels, masks.marks)
        voxels: Sequence[VoxelChange] = ()
        if box is not None:
            both = np.stack([masks.labels[box], masks.marks[box]])
            empty, full = np.zeros_like(both).tobytes(), both.tobytes()
            voxels = (VoxelChange(box, zlib.compress(empty, 1), zlib.compress(full, 1)),)
        parameters: Record = {"text": self.text, "window": self.window} if self.text else {}
        if self.current is not None:
            parameters |= {"label": self.current.label, "number": self.current.number}
        parameters["scores"] = self.scores.to_json()
        fields = fields_of(Action(Deed("import", "", self.at, parameters), 0, self.book.states, tuple(voxels)))
        parameters["notes"] = [[None if at is None else list(at.position), n] for at, n in self.notes.items()]
        return {**fields, "verb": "snapshot", "parameters": parameters, "classes": self.classes}


def _drawn_box(labels: np.ndarray, marks: np.ndarray) -> tuple[slice, ...] | None:
    """Return the tight box around everything that is drawn; None where nothing is."""
    drawn = (labels != 0) | (marks != 0)
    box = []
    for axis in range(drawn.ndim):
        used = np.flatnonzero(drawn.any(axis=tuple(a for a in range(drawn.ndim) if a != axis)))
        if not len(used):
            return None
        box.append(slice(int(used[0]), int(used[-1]) + 1))
    return tuple(box)
