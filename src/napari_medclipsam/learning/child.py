"""The worker's process, which `worker.Worker` starts: ``python -m napari_medclipsam.learning.child``.

Arguments: folder of the project, request and owner as JSON.

Exit codes: 0 a version was registered; 1 an unexpected error; 2 it could not be done; 3 it was stopped or cancelled.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from napari_medclipsam.errors import MedclipsamError
from napari_medclipsam.learning.clip_request import ClipRequest, request_from_json
from napari_medclipsam.learning.contracts import LearningCancelled
from napari_medclipsam.learning.control import Stopped
from napari_medclipsam.learning.folders import work_folder
from napari_medclipsam.learning.gate import Verdict
from napari_medclipsam.learning.run import Request, Run
from napari_medclipsam.learning.status import Process, Status
from napari_medclipsam.learning.teller import Teller
from napari_medclipsam.learning.versions import Version
from napari_medclipsam.projects.documents import read_document
from napari_medclipsam.projects.locking import FileLock, Owner
from napari_medclipsam.projects.project import STUDIES_FORMAT

if TYPE_CHECKING:
    from napari_medclipsam.learning.clip_run import ClipRun

DONE, UNEXPECTED, REFUSED, INTERRUPTED = 0, 1, 2, 3

# A quarter of a processor beside one other program that works all the time; at 10 it would be a tenth, and a run of
# minutes would take an hour. While the user acts it is paused anyway.
_NICE = 5

_KEPT = "What was done is kept: it goes on from there when it is started again."


def main(argv: list[str]) -> int:
    """Work for one request, and return the exit code."""
    project, request = Path(argv[0]), request_from_json(json.loads(argv[1]))
    owner = json.loads(argv[2])
    _give_way()
    try:
        work_folder(project).mkdir(parents=True, exist_ok=True)
        lock = FileLock.acquire(work_folder(project) / "lock.json", Owner.here("learning"))
    except OSError as error:
        return _refuse(f"Can't write {work_folder(project)}: {error.strerror or error}. Check space and permissions.")
    if not isinstance(lock, FileLock):
        where = "" if lock is None else f" on {lock.host} (process {lock.pid})"
        return _refuse(
            f"Something is being learnt in this project already{where}; wait until it has ended, or cancel it. If that "
            "computer has crashed, delete models/work/lock.json in the project."
        )
    status = Status("starting", learner=request.learner, trigger=request.trigger, doing="starting")
    teller = Teller(project, Process(**owner) if owner else None, status)
    code = _work(project, request, teller)
    lock.release()
    return code


def _work(project: Path, request: Request, teller: Teller) -> int:
    run: Run | ClipRun | None = None
    try:
        run = _run_of(project, request, teller)
        version, verdict = run.work()
    except Stopped:
        teller.ends("stopped", f"Stopped. {_KEPT}")
        return INTERRUPTED
    except LearningCancelled:
        if run is not None:
            run.drop()
        teller.ends("cancelled", "Cancelled; nothing was kept of it.")
        return INTERRUPTED
    except MedclipsamError as error:
        teller.ends("failed", _without_paths(str(error), project))
        return REFUSED
    except Exception as error:
        traceback.print_exc()
        expected = _in_words(error)
        teller.ends("failed", expected or _place_of(error))
        return REFUSED if expected else UNEXPECTED
    teller.ends("done", _outcome(version, verdict), version.name, verdict.better)
    return DONE


def _run_of(project: Path, request: Request, teller: Teller) -> Run | ClipRun:
    if not isinstance(request, ClipRequest):
        return Run(project, request, teller)
    # Here, for it brings torch.
    from napari_medclipsam.learning.clip_run import ClipRun

    return ClipRun(project, request, teller)


def _outcome(version: Version, verdict: Verdict) -> str:
    if verdict.better and version.state == "promoted":
        return f"{version.name} is in use from now on. {verdict.message}"
    if verdict.better:
        return f"{version.name} is kept; another version was put into use meanwhile. {verdict.message}"
    if verdict.better is None:
        return (
            f"{version.name} is kept as a candidate; look at what it draws and promote it yourself. {verdict.message}"
        )
    in_use = version.lineage.get("compared_with")
    stays = f"; {in_use} stays in use" if in_use else ""
    return f"{version.name} is kept and not used{stays}. {verdict.message}"


def _in_words(error: Exception) -> str:
    """Return what to say of an error of the machine; "" for one of ours."""
    text = f"{type(error).__name__}: {error}"
    if getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in text or "No space left" in text:
        return f"The disk is full: free some space and start again. {_KEPT}"
    if isinstance(error, MemoryError) or "OutOfMemory" in text or "out of memory" in text:
        return f"The memory is not enough for this learner: close other programs, or use --device cpu. {_KEPT}"
    if "CUDA" in text or "cuDNN" in text:
        return f"The graphics card has failed: start again, perhaps with --device cpu. {_KEPT}"
    return ""


def _place_of(error: Exception) -> str:
    """Return where an error came from, without its text: that may name a file or a patient."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}, line {frame.lineno}"
    return f"Unexpected {type(error).__name__} in {where}; please report it. {_KEPT}"


def _without_paths(message: str, project: Path) -> str:
    """Put case ids for the paths of images: what a worker says is kept in a file."""
    with suppress(MedclipsamError, KeyError):
        for study in read_document(project / "studies.json", STUDIES_FORMAT)["studies"]:
            for path in (str(project / study["path"]), study["path"]):
                message = message.replace(path, f"the image of {study['case']}")
    return message


def _refuse(message: str) -> int:
    """Say why nothing is done, where the status belongs to another worker."""
    print(json.dumps(Status("failed", message=message).to_json()), flush=True)
    return REFUSED


def _give_way() -> None:
    """Let everything else on the machine go first."""
    process = psutil.Process()
    with suppress(psutil.Error, OSError):
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else max(process.nice(), _NICE))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # Without the rites of the interpreter: libraries on a graphics card take seconds for them, and all is on the disk.
    os._exit(code)
