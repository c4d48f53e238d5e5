"""``medclipsam project report``."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
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
        for row in _agreement_rows(agreed, names):
            told = ", ".join(f"{name} {row[name]:.2f}" for name in ("dice", "nsd", "kappa") if row[name] is not None)
            print(f"two readers, {row['case']} {row['class']}: {counted(row['slices'], 'slice')}, {told}.")
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
    print(f"{progress}.")
    print(_line(report.total))
    for title, rows in (("day", report.by_day()), ("reader", report.by_reader()), ("model", report.by_model())):
        for one in rows:
            print(f"{title} {_line(one)}")
    print(report.stop_curve().message)


def _line(one: Figures) -> str:
    told = f"{one.name}: {one.n_slices} slices accepted, {one.active_s / 60:.1f} min of work"
    if one.n_slices:
        told += f" ({one.active_s / one.n_slices:.0f} s a slice)"
    told += f", {one.clicks} clicks, {one.strokes} strokes, {one.corrections} of them corrections"
    if one.dice is not None and one.nsd is not None and one.unchanged is not None:
        told += f"; {one.n_proposals} proposals: Dice {one.dice:.2f}, NSD {one.nsd:.2f}, {one.unchanged:.0%} unchanged"
    return told + "."


def _write(args: Namespace, report: Report) -> None:
    written = write_tables(report, args.output)
    try:
        written += write_plots(report, args.output)
    except OutputError as error:
        # The tables are there; a report without pictures is no failure.
        print(f"medclipsam: {error}", file=sys.stderr)
    print(f"Wrote {', '.join(path.name for path in written)} to {args.output}.", file=sys.stderr)
