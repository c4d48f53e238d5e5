"""``medclipsam learn``."""

from __future__ import annotations

import json
import sys
from argparse import Namespace

from napari_medclipsam.cli import DONE, INTERRUPTED, REFUSED
from napari_medclipsam.cli.progress import progress_bar
from napari_medclipsam.learning.contracts import Budget, Settings
from napari_medclipsam.learning.loading import device_of
from napari_medclipsam.learning.run import Request
from napari_medclipsam.learning.status import Status
from napari_medclipsam.learning.worker import Worker
from napari_medclipsam.projects.documents import read_document
from napari_medclipsam.projects.project import PROJECT_FORMAT

_PERCENT = 100
_LOOK_S = 0.5


def run(args: Namespace) -> int:
    """Learn in a process of its own; Ctrl-C stops it and keeps what is done."""
    read_document(args.project / "project.json", PROJECT_FORMAT)
    settings = Settings(
        device_of(args.device), args.seed, args.deterministic, Budget(args.budget), args.model, n_devices=args.devices
    )
    with progress_bar(_PERCENT, "%") as bar:

        def told(status: Status) -> None:
            bar.n = round(status.fraction * _PERCENT)
            bar.set_description(status.doing, refresh=False)
            bar.set_postfix({name: f"{value:.3f}" for name, value in status.figures.items()})

        worker = Worker(args.project, told, debug=args.debug)
        worker.start(Request(args.learner, settings, "the command line"))
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
