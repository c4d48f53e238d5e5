"""``medclipsam project report``."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from napari_medclipsam.cli import DONE
from napari_medclipsam.cli.progress import progress_bar
from napari_medclipsam.errors import OutputError
from napari_medclipsam.projects.effort import CaseEffort
from napari_medclipsam.projects.plots import write_plots
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.queue import ReviewQueue
from napari_medclipsam.projects.report import Figures, Report, efforts, report_of, write_tables
from napari_medclipsam.projects.second import ClassAgreement, agreements
from napari_medclipsam.wording import counted


def run(args: Namespace) -> int:
    """Print the figures of a project, and write them as tables and pictures where that was asked for."""
    with Project.open(args.project, args.reader) as project:
        found: list[tuple[str, CaseEffort]] = []
        with progress_bar(len(project.studies), "cases") as bar:
            for one in efforts(project):
                found.append(one)
                bar.update()
        report, progress = report_of(found), str(ReviewQueue.of(project).progress)
        agreed = list(agreements(project))
        names = {c.label: c.name for c in project.classes}
    if args.json:
        value = {"progress": progress, **_value(report), "agreement": _agreement_rows(agreed, names)}
        print(json.dumps(value, ensure_ascii=False, indent=2))
    else:
        _print(report, progress)
        _print_agreement(_agreement_rows(agreed, names))
    if args.output is not None:
        _write(args, report)
    return DONE


def _value(report: Report) -> dict[str, object]:
    groups = {"cases": report.by_case, "days": report.by_day, "readers": report.by_reader, "models": report.by_model}
    return {
        "total": asdict(report.total),
        **{name: [asdict(one) for one in rows()] for name, rows in groups.items()},
        "stop": asdict(report.stop_curve()),
    }


def _agreement_rows(agreed: list[ClassAgreement], names: dict[int, str]) -> list[dict[str, Any]]:
    return [
        {
            "case": one.case,
            "class": names.get(one.label, str(one.label)),
            "slices": one.n_both + one.n_first + one.n_second + one.n_neither,
            "dice": one.dice,
            "nsd": one.nsd,
            "kappa": one.kappa,
        }
        for one in agreed
    ]


def _print(report: Report, progress: str) -> None:
    print(f"Done: {progress} (accepted, or of a study that was called done).")
    print(
        "\nWork of the first readings, without pauses (a slice counts once a reader accepted it here, even if taken "
        "back later; what an import brought as accepted took no work):"
    )
    print(f"  in all: {_work(report.total)}")
    for title, rows in (("day", report.by_day()), ("reader", report.by_reader())):
        _print_several(title, rows, _work)
    print("\nProposals against what was accepted in the end, structure by structure")
    print("(Dice: overlap; NSD: share of the outlines within 2 pixels of each other; 1 is equal, a missed one has 0):")
    print(f"  in all: {_quality(report.total)}")
    _print_several("model", report.by_model(), _quality)
    print(f"\nWhen to stop: {report.stop_curve().message}")


def _print_several(title: str, rows: Sequence[Figures], told: Callable[[Figures], str]) -> None:
    """Print each; a single one would say again what all say."""
    for one in rows if len(rows) > 1 else ():
        print(f"  {title} {one.name}: {told(one)}")


def _work(one: Figures) -> str:
    pace = f" ({one.active_s / one.n_slices:.0f} s each)" if one.n_slices else ""
    hand = f"{counted(one.clicks, 'click')} and {counted(one.strokes, 'brush stroke')}, {one.corrections} of these to"
    return f"{counted(one.n_slices, 'slice')} accepted in {one.active_s / 60:.1f} min{pace}; {hand} correct."


def _quality(one: Figures) -> str:
    if one.dice is None or one.nsd is None or one.unchanged is None:
        return "none to compare yet."
    as_it_was = f"{round(one.unchanged * one.n_proposals)} accepted without a change"
    proposals = counted(one.n_proposals, "proposal")
    return f"{proposals}, {as_it_was}; mean Dice {one.dice:.2f}, NSD {one.nsd:.2f}."


def _print_agreement(rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        print("\nTwo readers, on slices that both have accepted:")
    for row in rows:
        figures = (("Dice", row["dice"]), ("NSD", row["nsd"]), ("kappa", row["kappa"]))
        told = ", ".join(f"{name} {value:.2f}" for name, value in figures if value is not None)
        print(f"  {row['case']} {row['class']}: {counted(row['slices'], 'slice')}, {told}.")


def _write(args: Namespace, report: Report) -> None:
    written = write_tables(report, args.output)
    try:
        written += write_plots(report, args.output)
    except OutputError as error:
        # The tables are there; a report without pictures is no failure.
        print(f"medclipsam: {error}", file=sys.stderr)
    print(f"Wrote {', '.join(path.name for path in written)} to {args.output}.", file=sys.stderr)
