"""What a run of learning tells while it works: the status, the curve, and the watch that its learner sees."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from napari_medclipsam.learning.clock import WORK_CLOCK
from napari_medclipsam.learning.control import Control
from napari_medclipsam.learning.folders import work_folder
from napari_medclipsam.learning.status import Process, State, Status, write_status

_TELL_EVERY_S = 0.2
_CURVE_EVERY_S = 0.5
_MEMORY_EVERY_S = 1.0
# Less of the work says nothing about how long the rest takes.
_LEAST_FRACTION = 0.02


class Teller:
    """Tells how a run is.

    Parameters
    ----------
    project : pathlib.Path
        Whose run it is.
    owner : Process, optional
        See `Control`.
    status : Status
        To begin with.
    spent_s : float
        Work that was done before this process went on with it.
    """

    def __init__(self, project: Path, owner: Process | None, status: Status, spent_s: float = 0.0) -> None:
        self._project, self._spent_s = project, spent_s
        self._status = replace(status, process=Process.this())
        self._began = WORK_CLOCK.seconds()
        self._told_at = self._curve_at = self._memory_at = 0.0
        self._part = (0.0, 1.0)
        self._busy: State = status.state
        self.control = Control(project, owner, self._paused)
        self._write()

    @property
    def seconds(self) -> float:
        """Work so far, without pauses."""
        return self._spent_s + WORK_CLOCK.seconds() - self._began

    def went_before(self, seconds: float) -> None:
        """Count work that an earlier process has done."""
        self._spent_s += seconds

    def begins(self, state: State, doing: str, start: float, stop: float) -> None:
        """Say what comes next, and which part of the whole it is."""
        self._busy, self._part = state, (start, stop)
        self._status = replace(self._status, state=state, doing=doing, fraction=start)
        self._write()
        self.control.check()

    def step(self, fraction: float, **figures: float) -> None:
        """See `contracts.Watch`; `fraction` is of the part that began last."""
        start, stop = self._part
        self._status = replace(
            self._status,
            fraction=start + (stop - start) * min(1.0, max(0.0, fraction)),
            figures={**self._status.figures, **{name: float(value) for name, value in figures.items()}},
        )
        now = time.monotonic()
        if figures and now - self._curve_at > _CURVE_EVERY_S:
            self._curve_at = now
            self._draw(figures)
        if now - self._told_at > _TELL_EVERY_S:
            self._write()
        self.control.check()

    def ends(self, status: State, message: str, version: str = "", better: bool | None = None) -> None:
        """Say how it ended, also on standard output: the disk may be full."""
        self.control.close()
        fraction = 1.0 if status == "done" else self._status.fraction
        self._busy = status
        self._status = replace(
            self._status, state=status, message=message, version=version, better=better, fraction=fraction
        )
        self._write()
        with suppress(OSError):
            print(json.dumps(self._status.to_json()), flush=True)

    def changes(self, **fields: object) -> None:
        """Replace fields of the status."""
        self._status = replace(self._status, **fields)  # type: ignore[arg-type]

    def _paused(self, paused: bool) -> None:
        self._status = replace(self._status, state="paused" if paused else self._busy)
        self._write()

    def _write(self) -> None:
        now = self._told_at = time.monotonic()
        fraction, seconds = self._status.fraction, self.seconds
        left = seconds * (1 - fraction) / fraction if fraction > _LEAST_FRACTION else None
        self._status = replace(self._status, seconds=round(seconds, 1), seconds_left=left)
        if now - self._memory_at > _MEMORY_EVERY_S:
            self._memory_at = now
            self._status = replace(
                self._status, memory_bytes=psutil.Process().memory_info().rss, device_bytes=_device_bytes()
            )
        write_status(self._project, self._status)

    def _draw(self, figures: dict[str, float]) -> None:
        line = {"seconds": round(self.seconds, 2), "doing": self._status.doing, **figures}
        with suppress(OSError), open(work_folder(self._project) / "progress.jsonl", "a", encoding="utf-8") as curve:
            curve.write(json.dumps(line) + "\n")


def _device_bytes() -> int:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0
    return int(torch.cuda.memory_reserved())
