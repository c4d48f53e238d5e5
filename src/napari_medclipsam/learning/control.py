"""The worker's ear: commands of whoever supervises it, between any two steps of the work."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from napari_medclipsam.learning.clock import WORK_CLOCK
from napari_medclipsam.learning.contracts import LearningCancelled
from napari_medclipsam.learning.folders import work_folder
from napari_medclipsam.learning.status import Process

_LISTEN_S = 0.01
_LOOK_FOR_OWNER_S = 0.5


class Stopped(LearningCancelled):
    """The work ends here for now; what is done stays."""


class Control:
    """Listens in a thread; the work asks with `check`.

    Parameters
    ----------
    project : pathlib.Path
        Whose worker this is.
    owner : Process, optional
        The work stops when this process ends.
    told : callable
        Called with True when a pause begins, with False when it ends; in the thread of the work.
    """

    def __init__(self, project: Path, owner: Process | None, told: Callable[[bool], None]) -> None:
        self._path = work_folder(project) / "command.json"
        self._me, self._owner, self._told = Process.this(), owner, told
        self._pauser: Process | None = None
        self._closed = threading.Event()
        self._go_on, self._end = threading.Event(), ""
        self._go_on.set()
        self._seen: tuple[int, int] | None = None
        _wake_when_the_parent_ends()
        threading.Thread(target=self._listen, daemon=True, name="commands").start()

    def close(self) -> None:
        """Listen no longer."""
        self._closed.set()

    def check(self) -> None:
        """Return at once, or when a pause ends.

        Raises
        ------
        LearningCancelled
            If the work shall end; `Stopped` if it shall go on later.
        """
        if not self._go_on.is_set() and not self._end:
            with WORK_CLOCK.held():
                self._told(True)
                self._go_on.wait()
            if not self._end:
                self._told(False)
        if self._end:
            raise LearningCancelled if self._end == "cancel" else Stopped

    def _listen(self) -> None:
        last_look = time.monotonic()
        while not self._closed.wait(_LISTEN_S):
            WORK_CLOCK.tick()
            with suppress(OSError, ValueError, KeyError, TypeError):
                self._hear()
            if time.monotonic() - last_look > _LOOK_FOR_OWNER_S:
                last_look = time.monotonic()
                self._look_for_owner()
        WORK_CLOCK.stop()

    def _hear(self) -> None:
        found = self._path.stat()
        mark = (found.st_mtime_ns, found.st_ino)
        if mark == self._seen:
            return
        value = json.loads(self._path.read_text(encoding="utf-8"))
        self._seen = mark
        if Process(**value["worker"]) != self._me:
            return
        verb, owner = value["verb"], None if value["owner"] is None else Process(**value["owner"])
        if verb == "pause":
            self._pauser = owner
            self._go_on.clear()
        elif verb == "adopt":
            self._owner = owner
        else:
            self._end = verb if verb in ("stop", "cancel") else ""
            self._go_on.set()

    def _look_for_owner(self) -> None:
        """Stop when whom it works for is gone; and wait for nobody who is gone."""
        if self._owner is not None and self._owner.find() is None:
            self._end = self._end or "stop"
            self._go_on.set()
        if not self._go_on.is_set() and self._pauser is not None and self._pauser.find() is None:
            self._go_on.set()


def _wake_when_the_parent_ends() -> None:
    """Have the system continue this process when its parent ends: a supervisor may have suspended it (Linux only)."""
    if sys.platform.startswith("linux"):
        import ctypes
        import signal

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGCONT)  # PR_SET_PDEATHSIG
