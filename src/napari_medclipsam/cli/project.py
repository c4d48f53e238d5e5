"""``medclipsam project init | add | relocate | status | queue | disputes | report | export | import | verify``."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing
from typing import Any

from napari_medclipsam.cli import DONE, REFUSED, project_disputes, project_queue, project_report
from napari_medclipsam.cli.progress import progress_bar
from napari_medclipsam.errors import MedclipsamError
from napari_medclipsam.images.folders import Found
from napari_medclipsam.projects.exchanging import (
    export_project,
    import_into,
    labelled_cases,
    read_masks,
    unlabelled_words,
)
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import Study, images_in
from napari_medclipsam.projects.summary import Summary
from napari_medclipsam.projects.verify import verify
from napari_medclipsam.wording import counted


def run(args: Namespace) -> int:
    """Run one of the actions."""
    actions: dict[str, Callable[[Namespace], int]] = {
        "init": _init,
        "add": _add,
        "relocate": _relocate,
        "status": _status,
        "queue": project_queue.run,
        "disputes": project_disputes.run,
        "report": project_report.run,
        "export": _export,
        "import": _import,
        "verify": _verify,
    }
    return actions[args.action](args)


def _init(args: Namespace) -> int:
    with Project.create(args.project, args.classes, args.reader) as project:
        names = ", ".join(c.name for c in project.classes) or "none yet"
        print(f"The project is in {project.folder}. Classes: {names}.")
        print(f"Add images: medclipsam project add {args.project} PATH …")
    return DONE


def _add(args: Namespace) -> int:
    n_added = n_failed = 0
    images = [image for path in args.images for image in images_in(path, _warn)]
    with Project.open(args.project, args.reader) as project:
        project.require_writable()
        before = set(project.studies)
        # Closed before the project is, also by Ctrl-C: the list of what was added is written then.
        adding_images = project.add(images, copy=args.copy, patient=args.patient)
        with progress_bar(len(images), "images") as bar, closing(adding_images) as adding:
            for found, result in adding:
                bar.update()
                if not isinstance(result, Study):
                    n_failed += 1
                    bar.write(f"medclipsam: {_named(found)}: {result}", file=sys.stderr)
                elif result.case in before:
                    bar.write(f"{result.case}  is there already: {_named(found)}", file=sys.stdout)
                else:
                    n_added += 1
                    bar.write(f"{result.case}  {_named(found)}", file=sys.stdout)
        print(f"{n_added} added, {n_failed} refused; the project has {_studies(len(project.studies))}.")
    return REFUSED if n_failed else DONE


def _warn(message: str) -> None:
    print(f"medclipsam: {message}", file=sys.stderr)


def _named(found: Found) -> str:
    part = "" if found.volume_index is None else f", volume {found.volume_index}"
    return f"{found.path}{part}"


def _relocate(args: Namespace) -> int:
    with Project.open(args.project, args.reader) as project:
        study = project.relocate(args.case, args.path, accept_changed=args.accept_changed)
        print(f"The image of {study.case} is {study.path}.")
    return DONE


def _status(args: Namespace) -> int:
    with Project.open(args.project, args.reader) as project:
        summaries = project.summaries()
        rows = [_row(study, summaries[study.case]) for study in project.studies.values()]
        if args.json:
            print(json.dumps({"read_only": project.read_only, "cases": rows}, ensure_ascii=False, indent=2))
            return DONE
        n_accepted, n_slices = sum(r["accepted"] for r in rows), sum(r["slices"] for r in rows)
        of_slices = counted(n_slices, "slice")
        print(f"{_studies(len(rows))}, {n_accepted} of {of_slices} accepted; classes: {_classes(project)}.")
        if project.read_only:
            print(project.read_only)
        for r in rows:
            told = f", {counted(r['damages'], 'damaged place')}, see project verify" if r["damages"] else ""
            proposed = f", {r['proposed']} with proposals to decide on" if r["proposed"] else ""
            prompted = f", {r['prompted']} with clicks that wait for a mask" if r["prompted"] else ""
            last = (
                f"; last worked on {r['last'][:16].replace('T', ' ')} UTC; readers {', '.join(r['readers'])}"
                if r["last"]
                else ""
            )
            done = f"{r['accepted']} of {counted(r['slices'], 'slice')} accepted"
            print(f"{r['case']}  {done}{proposed}{prompted}{last}{told}")
    return DONE


def _row(study: Study, summary: Summary) -> dict[str, Any]:
    counts, shape = summary.counts, study.grid.shape
    axis = None if summary.at is None else summary.at.axis
    return {
        "case": study.case,
        "slices": 1 if len(shape) == 2 else shape[axis or 0],
        "accepted": counts["accepted"],
        "waiting": summary.n_waiting,
        "proposed": counts["proposed"],
        "prompted": counts["prompted"],
        "voxels": {str(label): n for label, n in summary.voxels.items()},
        "readers": summary.history.readers,
        "last": summary.history.last_worked,
        "damages": summary.n_damages,
    }


def _studies(n: int) -> str:
    return counted(n, "study", "studies")


def _classes(project: Project) -> str:
    return ", ".join(f"{c.label} {c.name}" for c in project.classes) or "none yet"


def _export(args: Namespace) -> int:
    n_left_out = 0
    with Project.open(args.project, args.reader) as project:
        cases = args.cases or labelled_cases(project)
        with progress_bar(len(cases), "cases") as bar:

            def told(case: str, error: MedclipsamError | None) -> None:
                nonlocal n_left_out
                bar.update()
                if error is not None:
                    n_left_out += 1
                    bar.write(f"medclipsam: {case}: {error}", file=sys.stderr)

            export_project(project, args.format, args.output, cases, told, deidentify=args.deidentify)
        n_written, of_cases = len(cases) - n_left_out, counted(len(project.studies), "case")
        others = "" if args.cases else unlabelled_words(len(project.studies) - len(cases))
        print(f"{args.output}: {n_written} of {of_cases}, {n_left_out} refused{others}.")
    return REFUSED if n_left_out else DONE


def _import(args: Namespace) -> int:
    with Project.open(args.project, args.reader) as project:
        project.require_writable()
        with project.open_case(args.case) as case:
            masks = read_masks(case, args.mask, resample=args.resample)
            named, every = args.class_name or "", args.every_slice
            change = import_into(case, masks, accept=args.accept or every, class_name=named, every_slice=every)
            row = _row(project.study(args.case), case.summary())
        n_open = row["slices"] - row["accepted"]
        rest = ""
        if args.accept and change and n_open:
            # A mask does not say whether its empty slices were read.
            stay = f"{counted(n_open, 'slice')} without a mask {'stays' if n_open == 1 else 'stay'} open"
            rest = f" {stay}; if all were read, import with --every-slice."
        print(f"{args.case}: {change.message}{rest}")
    return DONE


def _verify(args: Namespace) -> int:
    problems = []
    with Project.open(args.project, args.reader) as project:
        with progress_bar(len(project.studies) + 1, "cases") as bar:
            for _, found in verify(project):
                problems += found
                bar.update()
        if args.json:
            print(json.dumps([problem.__dict__ for problem in problems], ensure_ascii=False, indent=2))
        else:
            for problem in problems:
                print(f"{problem.case or 'project'}: {problem.message}")
            print(f"{_studies(len(project.studies))} checked, {counted(len(problems), 'problem')} found.")
    return REFUSED if problems else DONE
