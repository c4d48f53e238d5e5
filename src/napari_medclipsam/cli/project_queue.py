"""``medclipsam project queue``."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import Any

from napari_medclipsam.cli import DONE, REFUSED
from napari_medclipsam.cli.progress import progress_bar
from napari_medclipsam.errors import ProjectError
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.queue import OPEN, UNSEEN, QueueCase, QueueItem, ReviewQueue
from napari_medclipsam.projects.scan import kept_words, scan, scan_text, unscanned
from napari_medclipsam.wording import counted

_MOST_CASES = 5


def run(args: Namespace) -> int:
    """Scan if that was asked for, and print the queue."""
    if args.text is not None and not args.scan:
        raise ProjectError("--text says what a scan looks for; add --scan, or choose a class of the project: --class.")
    with Project.open(args.project, args.reader) as project:
        # Before a scan: a filter that fits nothing must not cost the user an hour.
        label = _label(project, args.class_name)
        if args.case is not None:
            project.study(args.case)
        n_failed = _scan(args, project) if args.scan else 0
        queue = ReviewQueue.of(project)
        statuses = tuple(args.status or OPEN)
        items = queue.items(args.limit, statuses=statuses, label=label, case=args.case, flagged=args.flagged)
        cases = queue.cases(statuses=statuses, label=label)
        _print(args, queue, items, cases)
    return REFUSED if n_failed else DONE


def _label(project: Project, name: str | None) -> int | None:
    if name is None:
        return None
    structure = project.classes.named(name)
    if structure is None:
        known = ", ".join(c.name for c in project.classes) or "none yet"
        raise ProjectError(f'There is no class "{name}"; there are: {known}.')
    return structure.label


def _scan(args: Namespace, project: Project) -> int:
    """Scan, and return how many cases could not be."""
    from napari_medclipsam.cli.project_models import load_project_models

    project.require_writable()
    text, n_failed, n_slices, n_found, n_kept = scan_text(project, args.text), 0, 0, 0, 0
    models = load_project_models(args)
    todo = unscanned(project, text, None if args.case is None else [args.case])
    with progress_bar(sum(map(len, todo.values())), "slices") as bar:
        for done in scan(project, text, *models, todo=todo, progress=bar.update):
            n_slices, n_found, n_kept = n_slices + done.n_slices, n_found + done.n_found, n_kept + done.n_kept
            if done.trouble:
                n_failed += 1
            for words in filter(None, (done.trouble, done.caution)):
                bar.write(f"medclipsam: {done.case}: {words}", file=sys.stderr)
    seen, refused = counted(n_slices, "slice"), counted(n_failed, "case")
    told = f'Looked for "{text}" in {seen}: proposals in {n_found}, {refused} refused.'
    told = f"{told} {kept_words(n_kept)}".rstrip()
    print(told, file=sys.stderr if args.json else sys.stdout)
    return n_failed


def _print(args: Namespace, queue: ReviewQueue, items: list[QueueItem], cases: list[QueueCase]) -> None:
    progress = queue.progress
    if args.json:
        value = {
            "accepted": progress.n_done,
            "slices": progress.n_slices,
            "seconds_left": progress.seconds_left,
            "cases": [{"case": c.case, "score": round(c.score, 3), "open": c.n_open} for c in cases],
            "items": [_value(item) for item in items],
        }
        print(json.dumps(value, ensure_ascii=False, indent=2))
        return
    print(f"{progress}.")
    if len(cases) > 1:
        first = ", ".join(f"{c.case} ({c.n_open} open)" for c in cases[:_MOST_CASES])
        print(f"Cases that need a reader most: {first}.")
    for item in items:
        flag = "flagged; " if item.flagged else ""
        note = f' — "{item.note}"' if item.note else ""
        print(f"{item.score:.2f}  {item.case} slice {item.at.index} ({item.status}): {flag}{_joined(item)}{note}")
    if items and all(item.reasons == UNSEEN for item in items):
        print("No model has looked at these slices: add --scan to rank them by what it finds.")
    if not items:
        print("No slice is left that fits.")


def _joined(item: QueueItem) -> str:
    return "; ".join(item.reasons)


def _value(item: QueueItem) -> dict[str, Any]:
    return {
        "case": item.case,
        "at": list(item.at.position),
        "slice": item.at.index,
        "score": round(item.score, 3),
        "status": item.status,
        "reasons": list(item.reasons),
        "flagged": item.flagged,
        "note": item.note,
    }
