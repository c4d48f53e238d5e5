"""What a case has cost and how good the proposals were, from all records of its journal."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.annotation.actions import Action
from napari_medclipsam.annotation.masks import LabelMasks
from napari_medclipsam.annotation.places import ObjectKey, SliceAt, slice_of_box
from napari_medclipsam.annotation.states import PackedMask, SliceState
from napari_medclipsam.errors import MedclipsamError
from napari_medclipsam.evaluation.metrics import dice, normalized_surface_dice
from napari_medclipsam.projects.codec import UNUSABLE, action_of
from napari_medclipsam.projects.documents import read_document, write_document
from napari_medclipsam.projects.journal import parse, read_journal
from napari_medclipsam.projects.records import Record
from napari_medclipsam.projects.replay import active_seconds

EFFORT_FORMAT = "medclipsam-effort"
#: Pixels by which two outlines may differ and still agree (MedCLIP-SAMv2).
NSD_TOLERANCE_PX = 2.0


@dataclass
class SliceEffort:
    """What one reader did to one slice.

    Parameters
    ----------
    case : str
    at : list of (int or None)
        Position of the slice, see `SliceAt`.
    reader : str
    active_s : float
        Seconds of work; pauses of more than a minute do not count.
    clicks : int
        Points and boxes that were given, moved or removed; a drag is one.
    strokes : int
        Strokes with the brush.
    corrections : int
        Of both, those after a model had proposed something here or something was accepted.
    accepted : str
        When the reader accepted it first; "" if never.
    """

    case: str
    at: list[int | None]
    reader: str
    active_s: float = 0.0
    clicks: int = 0
    strokes: int = 0
    corrections: int = 0
    accepted: str = ""


@dataclass(frozen=True)
class ProposalQuality:
    """One object of an accepted slice: what a model had proposed by itself, against what was accepted in the end.

    Objects that are neither in the proposal nor in the mask are left out; they would only raise the mean.

    Parameters
    ----------
    case, at, label, number
        Where and what.
    model : str
        Who proposed; "" where it was asked and found nothing.
    reader, accepted : str, str
        Who accepted it first, and when.
    dice, nsd : float
        Agreement, NSD at 2 pixels; 0 where one of them is empty.
    unchanged : bool
        True where they are equal.
    """

    case: str
    at: list[int | None]
    label: int
    number: int
    model: str
    reader: str
    accepted: str
    dice: float
    nsd: float
    unchanged: bool


@dataclass
class CaseEffort:
    """Everything about one case, in the order of time."""

    slices: list[SliceEffort] = field(default_factory=list)
    proposals: list[ProposalQuality] = field(default_factory=list)


def case_effort(case_folder: Path, shape: tuple[int, ...], *, keep: bool) -> CaseEffort:
    """Return the figures of a case: from their file, or from the journal and its history where that is newer.

    Parameters
    ----------
    case_folder : pathlib.Path
        Of the case.
    shape : tuple of int
        Of its grid.
    keep : bool
        Write the file, so that the next time is quick.
    """
    journal, path = case_folder / "journal.jsonl", case_folder / "effort.json"
    try:
        size_bytes = journal.stat().st_size
    except OSError:
        return CaseEffort()
    with suppress(MedclipsamError, *UNUSABLE):
        value = read_document(path, EFFORT_FORMAT)
        if value["size_bytes"] == size_bytes:
            return CaseEffort(_rows(SliceEffort, value["slices"]), _rows(ProposalQuality, value["proposals"]))
    effort = _Log(shape).run(all_records(case_folder))
    if keep:
        tables = {
            "slices": _table(SliceEffort, effort.slices),
            "proposals": _table(ProposalQuality, effort.proposals),
        }
        with suppress(MedclipsamError):
            write_document(path, EFFORT_FORMAT, {"size_bytes": size_bytes, **tables}, indent=None)
    return effort


def _rows(kind: Any, table: Mapping[str, list[Any]]) -> list[Any]:
    names = [one.name for one in fields(kind)]
    return [kind(*row) for row in zip(*(table[name] for name in names), strict=True)]


def _table(kind: Any, rows: list[Any]) -> dict[str, list[Any]]:
    return {one.name: [getattr(row, one.name) for row in rows] for one in fields(kind)}


def all_records(case_folder: Path) -> Iterator[Record]:
    """Yield all good records of a case, with those that were put away; a part that can't be read is left out.

    A snapshot follows the records it stands for; it says again how things are, also where their part is missing.
    """
    for part in sorted((case_folder / "history").glob("*.jsonl.gz")):
        with suppress(OSError, EOFError, zlib.error, MedclipsamError):
            yield from parse(gzip.decompress(part.read_bytes())).records
    yield from read_journal(case_folder / "journal.jsonl").records


@dataclass(frozen=True, eq=False)
class _Proposed:
    mask: PackedMask
    model: str


class _Log:
    """Goes through the records of a case once."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._masks = LabelMasks(shape)
        self._states: dict[SliceAt, SliceState] = {}
        self._rows: dict[tuple[SliceAt, str], SliceEffort] = {}
        self._proposed: dict[tuple[SliceAt, ObjectKey], _Proposed] = {}
        self._first_accept: dict[tuple[SliceAt, ObjectKey], tuple[str, str]] = {}
        self._asked: dict[tuple[SliceAt, int], str] = {}
        self._seen: set[SliceAt] = set()
        self._here: SliceAt | None = None
        self._lasts: dict[str, str] = {}
        self._last_step: object = None

    def run(self, records: Iterator[Record]) -> CaseEffort:
        """Return what they say."""
        for record in records:
            try:
                action = action_of(record, self._shape)
                for change in action.voxels:
                    self._masks.restore(change)
            except UNUSABLE:
                continue
            self._states.update(action.states)
            if record["verb"] != "snapshot":
                self._count(record, action)
            self._remember(record, action)
        return CaseEffort(list(self._rows.values()), self._qualities())

    def _count(self, record: Record, action: Action) -> None:
        """Credit a record, and the time that led to it, to its slices."""
        reader, verb = record.get("reader", ""), record["verb"]
        at = action.deed.at
        places = [at] if at is not None else list(action.states)
        places = places or [found for change in action.voxels if (found := slice_of_box(change.box)) is not None]
        if reader:
            gap_s = active_seconds(self._lasts.get(reader, ""), record["time"])
            self._lasts[reader] = record["time"]
            # Until one looks elsewhere, one looks here.
            worked = [self._here] if (verb == "look" or not places) and self._here is not None else places
            for place in worked:
                self._row(record["case"], place, reader).active_s += gap_s / len(worked)
            self._count_deed(record, action, places, reader)
        if at is not None:
            self._here = at

    def _count_deed(self, record: Record, action: Action, places: list[SliceAt], reader: str) -> None:
        verb = record["verb"]
        # A drag is many records of one step; so is the mask that answers it.
        again = verb == "prompts" and action.step and action.step == self._last_step
        for place in places:
            row = self._row(record["case"], place, reader)
            if verb == "accept" and not row.accepted:
                row.accepted = record["time"]
            if verb in ("prompts", "paint") and not again:
                row.clicks += verb == "prompts"
                row.strokes += verb == "paint"
                row.corrections += place in self._seen
        self._last_step = action.step

    def _row(self, case: str, at: SliceAt, reader: str) -> SliceEffort:
        return self._rows.setdefault((at, reader), SliceEffort(case, list(at.position), reader))

    def _remember(self, record: Record, action: Action) -> None:
        """Keep what models proposed by themselves, and who accepted what first."""
        model = action.deed.model
        for at, state in action.states.items():
            for key, known in state.objects.items():
                found = known.proposal
                if found is not None and found.source != "prompts" and (at, key) not in self._first_accept:
                    before = self._proposed.get((at, key))
                    # Undo and snapshots bring proposals back without saying whose they were.
                    name = model or (before.model if before is not None else "")
                    self._proposed[at, key] = _Proposed(found.mask, name)
                if known.accepted is not None:
                    self._first_accept.setdefault((at, key), (record.get("reader", ""), record["time"]))
            if any(known.proposal is not None or known.accepted is not None for known in state.objects.values()):
                self._seen.add(at)
        for value in action.deed.parameters.get("scores", ()):
            with suppress(*UNUSABLE, IndexError):
                self._note_asked(value, model)

    def _note_asked(self, value: Mapping[str, Any], model: str) -> None:
        """Remember which classes a model was asked for where, found or not; words it did not know don't count."""
        axis = value["axis"]
        for index, label, presence, *_ in value["rows"]:
            if presence is not None:
                at = SliceAt((None, None)) if axis is None else SliceAt.across(axis, index)
                self._asked.setdefault((at, label), model)

    def _qualities(self) -> list[ProposalQuality]:
        """Compare proposals with what was accepted in the end, in the order in which it was."""
        decided = {at for at, state in self._states.items() if state.status == "accepted"}
        keys = {(at, key) for at in decided for key, s in self._states[at].objects.items() if s.accepted is not None}
        keys |= {(at, key) for at, key in self._proposed if at in decided}
        found = [one for at, key in keys if (one := self._quality(at, key)) is not None]
        return sorted(found, key=lambda one: (one.accepted, one.case, [i or 0 for i in one.at], one.label))

    def _quality(self, at: SliceAt, key: ObjectKey) -> ProposalQuality | None:
        proposed = self._proposed.get((at, key))
        if proposed is None and (at, key.label) not in self._asked:
            return None
        truth = self._masks.object_mask(at, key)
        mask = np.zeros(truth.shape, bool) if proposed is None else proposed.mask.unpacked()
        if not truth.any() and not mask.any():
            return None
        model = self._asked.get((at, key.label), "") if proposed is None else proposed.model
        rows = [row for (place, _), row in self._rows.items() if place == at and row.accepted]
        first = min(rows, key=lambda row: row.accepted, default=None)
        fallback = (first.reader, first.accepted) if first is not None else ("", "")
        reader, accepted = self._first_accept.get((at, key), fallback)
        nsd = normalized_surface_dice(mask, truth, NSD_TOLERANCE_PX)
        return ProposalQuality(
            self._case_name(),
            list(at.position),
            key.label,
            key.number,
            model,
            reader,
            accepted,
            round(dice(mask, truth), 4),
            round(nsd, 4),
            bool(np.array_equal(mask, truth)),
        )

    def _case_name(self) -> str:
        return next((row.case for row in self._rows.values()), "")
