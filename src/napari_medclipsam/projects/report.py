"""The effort figures of a project, over all its cases."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.files import atomic_path
from napari_medclipsam.projects.effort import CaseEffort, ProposalQuality, SliceEffort, case_effort
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.stopping import StopCurve, stop_curve


@dataclass(frozen=True)
class Figures:
    """Effort and quality of some accepted slices: of all, a day, a model, a reader.

    Parameters
    ----------
    name : str
        Which.
    n_slices : int
        Slices that were accepted.
    active_s, clicks, strokes, corrections : float, int, int, int
        Spent on them.
    n_proposals : int
        Objects with a proposal, or that a proposal missed.
    dice, nsd : float, optional
        Mean agreement of the proposals with what was accepted; None where there were none.
    unchanged : float, optional
        Share of the proposals that were accepted as they were.
    """

    name: str
    n_slices: int
    active_s: float
    clicks: int
    strokes: int
    corrections: int
    n_proposals: int
    dice: float | None
    nsd: float | None
    unchanged: float | None

    @classmethod
    def of(cls, name: str, slices: Sequence[SliceEffort], proposals: Sequence[ProposalQuality]) -> Figures:
        """Return the figures of some slices and proposals."""

        def mean(values: list[float]) -> float | None:
            return round(float(np.mean(values)), 4) if values else None

        return cls(
            name,
            len({(row.case, *row.at) for row in slices if row.accepted}),
            round(sum(row.active_s for row in slices), 1),
            sum(row.clicks for row in slices),
            sum(row.strokes for row in slices),
            sum(row.corrections for row in slices),
            len(proposals),
            mean([one.dice for one in proposals]),
            mean([one.nsd for one in proposals]),
            mean([float(one.unchanged) for one in proposals]),
        )


@dataclass(frozen=True)
class Report:
    """What a project has cost, and how good the proposals were.

    Parameters
    ----------
    slices : list of SliceEffort
        One per slice and reader.
    proposals : list of ProposalQuality
        In the order in which they were accepted.
    """

    slices: list[SliceEffort]
    proposals: list[ProposalQuality]

    @property
    def total(self) -> Figures:
        """Of everything."""
        return Figures.of("all", self.slices, self.proposals)

    def by_case(self) -> list[Figures]:
        """Per case."""
        return self._grouped(lambda row: row.case, lambda one: one.case)

    def by_day(self) -> list[Figures]:
        """Per day (UTC) on which slices were accepted first; work on slices that never were is left out."""
        return self._grouped(lambda row: row.accepted[:10], lambda one: one.accepted[:10])

    def by_reader(self) -> list[Figures]:
        """Per reader."""
        return self._grouped(lambda row: row.reader, lambda one: one.reader)

    def by_model(self) -> list[Figures]:
        """Per model and version that proposed; the effort is that on the slices that it proposed something for."""
        models = {(one.case, *one.at): one.model for one in self.proposals}
        return self._grouped(lambda row: models.get((row.case, *row.at), ""), lambda one: one.model)

    def _grouped(
        self, of_slice: Callable[[SliceEffort], str], of_proposal: Callable[[ProposalQuality], str]
    ) -> list[Figures]:
        slices: dict[str, list[SliceEffort]] = defaultdict(list)
        proposals: dict[str, list[ProposalQuality]] = defaultdict(list)
        for row in self.slices:
            slices[of_slice(row)].append(row)
        for one in self.proposals:
            proposals[of_proposal(one)].append(one)
        names = sorted({*slices, *proposals} - {""})
        return [Figures.of(name, slices[name], proposals[name]) for name in names]

    def stop_curve(self, label: int | None = None) -> StopCurve:
        """Return proposal quality against corrected slices, of one class or of all; see `stopping`."""
        by_slice: dict[tuple[Any, ...], list[float]] = defaultdict(list)
        for one in self.proposals:
            if label is None or one.label == label:
                by_slice[one.case, *one.at].append(one.dice)
        return stop_curve([float(np.mean(dices)) for dices in by_slice.values()])


def efforts(project: Project) -> Iterator[tuple[str, CaseEffort]]:
    """Yield each case with its figures; reading a case that has changed takes about a second per 1,000 records."""
    for case, study in list(project.studies.items()):
        yield case, case_effort(project.case_folder(case), study.grid.shape, keep=not project.is_read_only)


def report_of(found: Iterable[tuple[str, CaseEffort]]) -> Report:
    """Join the figures of cases, see `efforts`."""
    every = [effort for _, effort in found]
    slices = [row for effort in every for row in effort.slices]
    proposals = sorted((one for effort in every for one in effort.proposals), key=lambda one: one.accepted)
    return Report(slices, proposals)


def write_tables(report: Report, folder: Path) -> list[Path]:
    """Write ``slices.csv``, ``proposals.csv`` and ``figures.csv`` into a folder.

    Raises
    ------
    OutputError
        If one can't be written; it is then as it was.
    """
    figures = [("all", report.total)]
    groups = {"case": report.by_case, "day": report.by_day, "reader": report.by_reader, "model": report.by_model}
    figures += [(kind, one) for kind, rows in groups.items() for one in rows()]
    tables = {
        "slices.csv": [_flat(row) for row in report.slices],
        "proposals.csv": [_flat(one) for one in report.proposals],
        "figures.csv": [{"by": kind, **asdict(one)} for kind, one in figures],
    }
    return [_write(folder / name, rows) for name, rows in tables.items()]


def _flat(row: SliceEffort | ProposalQuality) -> dict[str, Any]:
    """Return a row for a table: a slice is its index on the axis that it lies across."""
    values = asdict(row)
    fixed = [(axis, index) for axis, index in enumerate(values.pop("at")) if index is not None]
    axis, index = fixed[-1] if fixed else ("", 0)
    return {"case": values.pop("case"), "axis": axis, "slice": index, **values}


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
    return path
