"""``medclipsam learn``."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

from napari_medclipsam.cli import DONE, INTERRUPTED, REFUSED
from napari_medclipsam.cli.progress import progress_bar
from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.contracts import Budget, Settings
from napari_medclipsam.learning.loading import device_of
from napari_medclipsam.learning.run import Request
from napari_medclipsam.learning.status import Status
from napari_medclipsam.learning.worker import Worker
from napari_medclipsam.projects.documents import read_document
from napari_medclipsam.projects.project import PROJECT_FORMAT

ASKED_BY = "the command line"
_PERCENT = 100
_LOOK_S = 0.5


def run(args: Namespace) -> int:
    """Learn from the accepted slices of a project."""
    if args.project.is_file():
        raise LearningError(
            f"{args.project} is a file, not a project. If it is a table of images and captions, say: medclipsam learn "
            f"clip {args.project}"
        )
    read_document(args.project / "project.json", PROJECT_FORMAT)
    return work(args.project, Request(args.learner, settings_of(args, args.devices), ASKED_BY), args)


def settings_of(args: Namespace, n_devices: int = 1) -> Settings:
    """Return what the options say."""
    budget = Budget(args.budget)
    return Settings(device_of(args.device), args.seed, args.deterministic, budget, args.model, n_devices=n_devices)


def work(folder: Path, request: Request, args: Namespace) -> int:
    """Learn in a process of its own; Ctrl-C stops it and keeps what is done."""
    with progress_bar(_PERCENT, "%") as bar:

        def told(status: Status) -> None:
            bar.n = round(status.fraction * _PERCENT)
            bar.set_description(status.doing, refresh=False)
            bar.set_postfix({name: f"{value:.3f}" for name, value in status.figures.items()})

        worker = Worker(folder, told, debug=args.debug)
        worker.start(request)
        try:
            while worker.is_running:
                worker.wait(_LOOK_S)
        except KeyboardInterrupt:
            worker.stop()
    status = worker.status
    if args.json:
        print(json.dumps(status.to_json(), ensure_ascii=False, indent=2))
    elif status.state == "done":
        print(status.message)
    if status.state == "done":
        return DONE
    print(f"medclipsam: {status.message}", file=sys.stderr)
    return REFUSED if status.state == "failed" else INTERRUPTED
