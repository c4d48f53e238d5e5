"""What a project has cost and brought, ready to be looked at: figures, series, and a sentence for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medclipsam.projects.effort import CaseEffort, ProposalQuality
from napari_medclipsam.projects.report import Figures, Report, efforts, report_of
from napari_medclipsam.projects.second import ClassAgreement, agreements, kappa
from napari_medclipsam.projects.stopping import StopCurve
from napari_medclipsam.wording import counted

if TYPE_CHECKING:
    from napari_medclipsam.projects.project import Project

#: What became of a proposal, best first.
FATES = ("unchanged", "touched up", "corrected", "refused or missed")
# Above this Dice with what was accepted it was touched up, below it corrected.
_TOUCHED_UP = 0.9
# Accepted slices that are averaged, so that a single hard one is no peak.
_SMOOTHED = 10


@dataclass(frozen=True)
class ReaderAgreement:
    """How far two readings agree on a class, over all cases that have both; `dice` is weighted by their slices."""

    name: str
    n_cases: int
    n_slices: int
    dice: float
    kappa: float | None


@dataclass(frozen=True)
class Dashboard:
    """Everything that is shown, computed.

    Parameters
    ----------
    report : Report
        For tables and pictures.
    total : Figures
        Of everything.
    curve : StopCurve
        The answer to "when can I stop?".
    days, models : list of Figures
        Per day of acceptance, per model and version.
    steps, corrections : numpy.ndarray
        Clicks and strokes, and those of them that corrected something, of each accepted slice in the order in which
        slices were accepted; means over ten slices.
    fates : dict
        Model → how many of its proposals had each of `FATES`.
    agreement : list of ReaderAgreement
        Per class.
    """

    report: Report
    total: Figures
    curve: StopCurve
    days: list[Figures]
    models: list[Figures]
    steps: np.ndarray
    corrections: np.ndarray
    fates: dict[str, list[int]]
    agreement: list[ReaderAgreement]

    @property
    def cards(self) -> list[tuple[str, str]]:
        """The figures to read first: value, and what it is."""
        total = self.total
        per_slice = f"{total.active_s / total.n_slices:.0f} s" if total.n_slices else "–"
        return [
            (f"{total.n_slices:,}", "slices accepted"),
            (duration(total.active_s), "of work"),
            (per_slice, "per slice"),
            ("–" if total.unchanged is None else f"{total.unchanged:.0%}", "unchanged"),
            ("–" if total.dice is None else f"{total.dice:.2f}", "Dice of proposals"),
        ]

    @property
    def days_words(self) -> str:
        """What the days say."""
        if not self.days:
            return "No slice is accepted yet: accept some, and they are counted here."
        n_slices, active_s = sum(d.n_slices for d in self.days), sum(d.active_s for d in self.days)
        best = max(self.days, key=lambda day: day.n_slices)
        days = counted(len(self.days), "day")
        return f"{counted(n_slices, 'slice')} in {duration(active_s)} on {days}; most on {best.name}: {best.n_slices}."

    @property
    def steps_words(self) -> str:
        """What the clicks say."""
        n = self.total.n_slices
        if not n:
            return "No slice is accepted yet: clicks and strokes are counted per accepted slice."
        steps = (self.total.clicks + self.total.strokes) / n
        return f"{steps:.1f} clicks and strokes per slice, {self.total.corrections / n:.1f} of them corrections."

    @property
    def fates_words(self) -> str:
        """What became of the proposals."""
        total = self.total
        if total.unchanged is None:
            return "No proposal is decided yet: ask for a text, then accept or reject what is proposed."
        return f"{total.unchanged:.0%} of {counted(total.n_proposals, 'proposal')} accepted without a change."

    @property
    def models_words(self) -> str:
        """Which model was best."""
        rated = [m for m in self.models if m.dice is not None]
        if not rated:
            return "No proposal of a model is accepted or refused yet."
        best = max(rated, key=lambda model: model.dice or 0.0)
        if len(rated) == 1:
            return f"All proposals are of {best.name}: Dice {best.dice:.2f}, NSD {best.nsd:.2f}."
        return f"Best of {len(rated)} models: {best.name}, Dice {best.dice:.2f}. Each had other slices."

    @property
    def agreement_words(self) -> str:
        """How far the readers agree."""
        if not self.agreement:
            return "No slice is accepted by two readers yet: a blind second reading shows how far they agree."
        n_slices = sum(one.n_slices for one in self.agreement)
        dice = sum(one.dice * one.n_slices for one in self.agreement) / n_slices
        return f"Two readers agree with Dice {dice:.2f}; a model can't be expected to do better."


def dashboard_steps(project: Project) -> Iterator[tuple[int, int, Dashboard | None]]:
    """Compute a dashboard step by step: yields steps done, of how many, and at last the dashboard.

    Reading a case that has changed takes about a second per 1,000 records.
    """
    n = len(project.studies) + 1
    found: list[tuple[str, CaseEffort]] = []
    for one in efforts(project):
        found.append(one)
        yield len(found), n, None
    names = {c.label: c.name for c in project.classes}
    yield n, n, dashboard_of(report_of(found), list(agreements(project)), names)


def dashboard_of(report: Report, agreed: Sequence[ClassAgreement], names: dict[int, str]) -> Dashboard:
    """Return the dashboard of a report, with agreements of readers (`second.agreements`) and the names of classes."""
    rows = sorted((row for row in report.slices if row.accepted), key=lambda row: row.accepted)
    return Dashboard(
        report,
        report.total,
        report.stop_curve(),
        report.by_day(),
        report.by_model(),
        _smoothed([row.clicks + row.strokes for row in rows]),
        _smoothed([row.corrections for row in rows]),
        _fates(report.proposals),
        _by_class(agreed, names),
    )


def duration(seconds: float) -> str:
    """Return a time in words."""
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _smoothed(values: Sequence[float]) -> np.ndarray:
    """Return the mean of each value and those just before it."""
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, float))])
    first = np.maximum(0, np.arange(len(values)) + 1 - _SMOOTHED)
    ends = np.arange(len(values)) + 1
    return np.asarray((sums[ends] - sums[first]) / (ends - first))


def _fates(proposals: Sequence[ProposalQuality]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(lambda: [0] * len(FATES))
    for one in proposals:
        if one.unchanged:
            fate = 0
        elif one.dice >= _TOUCHED_UP:
            fate = 1
        else:
            fate = 2 if one.dice > 0 else 3
        found[one.model or "unknown"][fate] += 1
    return dict(sorted(found.items()))


def _by_class(agreed: Sequence[ClassAgreement], names: dict[int, str]) -> list[ReaderAgreement]:
    groups: dict[int, list[ClassAgreement]] = defaultdict(list)
    for one in agreed:
        groups[one.label].append(one)
    return [_joined(names.get(label, f"class {label}"), rows) for label, rows in sorted(groups.items())]


def _joined(name: str, rows: Sequence[ClassAgreement]) -> ReaderAgreement:
    counts = [tuple(getattr(row, f"n_{kind}") for kind in ("both", "first", "second", "neither")) for row in rows]
    weights = [sum(four) for four in counts]
    dice = float(np.average([row.dice for row in rows], weights=weights))
    both, first, second, neither = (sum(column) for column in zip(*counts, strict=True))
    return ReaderAgreement(name, len(rows), sum(weights), dice, kappa(both, first, second, neither))
