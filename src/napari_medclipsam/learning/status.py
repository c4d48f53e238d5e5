"""What a worker says of itself, in files that any process can read: it may be found again by a viewer that is new.

``work/status.json`` is how things are, replaced several times a second; ``work/progress.jsonl`` has the figures of the
run so far, a line each, for curves; ``work/command.json`` is the last word to the worker.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import psutil

from napari_medclipsam.learning.folders import work_folder

State = Literal[
    "none", "starting", "reading", "fitting", "measuring", "saving", "paused", "done", "failed", "stopped", "cancelled"
]
Verb = Literal["pause", "resume", "stop", "cancel", "adopt"]

#: In these the worker has ended.
ENDED = ("none", "done", "failed", "stopped", "cancelled")
_SLACK_S = 1.0

LOST = (
    "The learning ended unexpectedly: its process was killed, or the memory was not enough. It goes on from its last "
    "checkpoint when it is started again."
)


@dataclass(frozen=True)
class Process:
    """A process, told apart from a later one with the same number.

    Parameters
    ----------
    pid : int
    started : float
        Seconds since 1970.
    """

    pid: int
    started: float

    @classmethod
    def this(cls) -> Process:
        """Return the running process."""
        return cls(os.getpid(), psutil.Process().create_time())

    def find(self) -> psutil.Process | None:
        """Return it, if it still runs."""
        with suppress(psutil.Error):
            found = psutil.Process(self.pid)
            alive = abs(found.create_time() - self.started) < _SLACK_S and found.status() != psutil.STATUS_ZOMBIE
            return found if alive else None
        return None


@dataclass(frozen=True)
class Status:
    """How a worker is.

    Parameters
    ----------
    state : str
        See `State`; "none" where none was ever started.
    process : Process, optional
        The worker's.
    learner, trigger : str
        What is learnt, and what started it, in words.
    doing : str
        What it does just now, in words.
    fraction : float
        Of the whole run, in [0, 1].
    seconds : float
        Of work so far, without pauses.
    seconds_left : float, optional
        About.
    memory_bytes, device_bytes : int
        Of the process, and of the graphics card.
    figures : dict of str to float
        The learner's newest: loss, dice.
    n_slices : int
        Accepted slices there were when the run began.
    message : str
        How it ended, in a sentence.
    version : str
        What came of it; "" for nothing.
    better : bool, optional
        What the gate said.
    """

    state: State = "none"
    process: Process | None = None
    learner: str = ""
    trigger: str = ""
    doing: str = ""
    fraction: float = 0.0
    seconds: float = 0.0
    seconds_left: float | None = None
    memory_bytes: int = 0
    device_bytes: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    n_slices: int = 0
    message: str = ""
    version: str = ""
    better: bool | None = None

    @property
    def has_ended(self) -> bool:
        """True when no worker is at work."""
        return self.state in ENDED

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Status:
        """Undo `to_json`; keys of another version are left out."""
        known = {f.name for f in fields(cls)}
        process = value.get("process")
        plain = {key: v for key, v in value.items() if key in known}
        return cls(**{**plain, "process": Process(**process) if process else None})


def read_status(project: Path) -> Status:
    """Return how the worker of a project is; "failed" where its process is gone without a word."""
    try:
        value = json.loads((work_folder(project) / "status.json").read_text(encoding="utf-8"))
        status = Status.from_json(value)
    except (OSError, ValueError, TypeError):
        return Status()
    if status.has_ended or (status.process is not None and status.process.find() is not None):
        return status
    return Status.from_json({**status.to_json(), "state": "failed", "message": LOST})


def write_status(project: Path, status: Status) -> None:
    """Say how things are; a disk that refuses ends no learning."""
    with suppress(OSError):
        replace_json(work_folder(project) / "status.json", status.to_json())


def give_command(project: Path, worker: Process, verb: Verb, owner: Process | None = None) -> None:
    """Tell a worker what to do.

    Parameters
    ----------
    project : pathlib.Path
        Its project.
    worker : Process
        Another one does not obey.
    verb : str
        pause, resume, stop (what is done is kept), cancel (it is not), or adopt.
    owner : Process, optional
        For "adopt", without whom it stops; None: it goes on without anybody. Else who says so.
    """
    value = {"worker": asdict(worker), "verb": verb, "owner": None if owner is None else asdict(owner)}
    replace_json(work_folder(project) / "command.json", value)


def replace_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a small file whole; not waited for until it is on the disk, for it means nothing after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(path)
