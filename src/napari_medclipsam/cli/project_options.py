"""The options of ``medclipsam project`` and ``medclipsam find``."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_medclipsam.cli.common_options import add_format, add_loaded_models
from napari_medclipsam.cli.option_types import like, positive
from napari_medclipsam.cli.usage import Verbs


def add_project(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    """Add ``project``."""
    p = verbs.add_parser("project", parents=[common], help="make a project of many studies, add to it, check it")
    actions = p.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, summary: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, parents=[common], help=summary)
        added.add_argument("project", type=Path, metavar="PROJECT", help="its folder")
        added.add_argument("--reader", metavar="NAME", help="who works with it (default: the user of this computer)")
        return added

    init = action("init", "make a project in an empty folder")
    init.add_argument("--class", action="append", default=[], dest="classes", metavar="NAME", help="repeat for more")
    add = action("add", "add images: files, DICOM folders, or folders of them")
    add.add_argument("images", nargs="+", type=Path, metavar="PATH")
    add.add_argument(
        "--copy", action="store_true", help="copy them into the project (default: they stay where they are)"
    )
    add.add_argument(
        "--patient",
        default="",
        metavar="NAME",
        help="whose they all are, where the files do not say it; kept as a hash only, so that learning never tests "
        "itself on a patient that it has learnt from",
    )
    relocate = action("relocate", "say where the image of a case is now, or accept that it has changed")
    relocate.add_argument("case", metavar="CASE", help="such as c0001")
    relocate.add_argument("path", type=Path, metavar="PATH")
    relocate.add_argument("--accept-changed", action="store_true", help="take it although its content is another")
    queue = action("queue", "which cases and slices need a reader most, and why")
    queue.add_argument(
        "--scan", action="store_true", help="first let the model look at every slice (of --case) that it has not seen"
    )
    queue.add_argument("--text", metavar="TEXT", help="what the scan looks for (default: all classes)")
    add_loaded_models(queue)
    queue.add_argument("--case", metavar="CASE", help="only this case")
    queue.add_argument("--class", dest="class_name", metavar="NAME", help="only this class")
    queue.add_argument(
        "--status",
        action="append",
        choices=("untouched", "prompted", "proposed", "accepted"),
        help="only slices that are so; repeat for more (default: all but accepted)",
    )
    queue.add_argument("--flagged", action="store_true", help="only slices that a reader has flagged")
    queue.add_argument("--limit", type=positive, default=20, metavar="N", help="show N slices (default: 20)")
    queue.add_argument("--json", action="store_true", help="print JSON")
    disputes = action("disputes", "slices on which two readers differ, those that differ most first")
    disputes.add_argument("--case", metavar="CASE", help="only this case")
    disputes.add_argument("--json", action="store_true", help="print JSON")
    report = action("report", "what the work has cost, how good proposals were, and when to stop")
    report.add_argument(
        "--output", type=Path, metavar="FOLDER", help="also write tables (CSV) and, with matplotlib, pictures (PNG)"
    )
    report.add_argument("--json", action="store_true", help="print JSON")
    export = action("export", "write the accepted masks in the format of another program")
    add_format(export)
    export.add_argument("--output", type=Path, required=True, metavar="PATH", help="a new folder; for csv a file")
    export.add_argument(
        "--case",
        action="append",
        default=[],
        dest="cases",
        metavar="CASE",
        help="such as c0001; repeat for more (default: every case with something accepted)",
    )
    export.add_argument(
        "--deidentify",
        action="store_true",
        help="dicom-seg: write de-identified copies of the series too, and a report; the other formats hold no header",
    )
    importing = action("import", "take in a mask of another program, as proposals")
    importing.add_argument("case", metavar="CASE", help="such as c0001")
    importing.add_argument("mask", type=Path, metavar="MASK", help="NIfTI, PNG, TIFF or DICOM-SEG")
    importing.add_argument("--accept", action="store_true", help="accept it at once")
    importing.add_argument(
        "--every-slice",
        action="store_true",
        help="accept it and every slice without a mask: whoever made it has read them, and they have no finding",
    )
    importing.add_argument(
        "--class", dest="class_name", metavar="NAME", help="what a mask of one label shows (default: by its name)"
    )
    importing.add_argument(
        "--resample", action="store_true", help="take the nearest voxels where the mask is on another grid"
    )
    for name, summary in (
        ("status", "how far each case is"),
        ("verify", "check every checksum, geometry and reference"),
    ):
        action(name, summary).add_argument("--json", action="store_true", help="print JSON")


def add_find(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    """Add ``find``."""
    p = verbs.add_parser("find", parents=[common], help="find slices of a project by a text, or like a region")
    p.add_argument("project", type=Path, metavar="PROJECT", help="its folder")
    what = p.add_mutually_exclusive_group()
    what.add_argument("--text", metavar="TEXT", help="what the slices show, such as 'brain tumor'")
    what.add_argument(
        "--like",
        type=like,
        metavar="CASE:SLICE:CLASS",
        help="look like what is accepted of a class in a slice, such as c0001:12:tumor",
    )
    p.add_argument("--build", action="store_true", help="first index what is missing or has changed; Ctrl-C keeps it")
    p.add_argument("--case", metavar="CASE", help="only this case")
    p.add_argument("--other-cases", action="store_true", help="not in the case of --like")
    p.add_argument("--accepted", action="store_true", help="only regions that a reader has accepted")
    p.add_argument("--top", type=positive, default=20, metavar="N", help="show N slices (default: 20)")
    p.add_argument("--model", default="lite", metavar="NAME", help="what makes the vectors (default: lite)")
    p.add_argument("--device", metavar="NAME", help="cuda, mps or cpu (default: the best there is)")
    p.add_argument("--reader", metavar="NAME", help="who looks (default: the user of this computer)")
    p.add_argument("--json", action="store_true", help="print JSON")
