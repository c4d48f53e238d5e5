"""Learning in a process of its own, supervised by a thread of whoever asked for it: the window or the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.folders import work_folder
from napari_medclipsam.learning.learners import require_learner
from napari_medclipsam.learning.run import Request
from napari_medclipsam.learning.status import (
    LOST,
    Process,
    State,
    Status,
    Verb,
    give_command,
    read_status,
    write_status,
)

_LOOK_S = 0.05
#: A step of the work that takes longer than this is interrupted by the system.
_STEP_S = 0.025
_LOOK_FOR_ANSWER_S = 0.005
#: A worker that has not ended by then is killed: nothing it writes can be left half-written.
_LAST_RESPITE_S = 1.5
#: How long after the last act of the user the work goes on.
IDLE_S = 2.0
# Suspended there, it would keep others from the register of versions.
_NOT_SUSPENDED = ("saving",)
_KILLED: dict[Verb, tuple[State, str]] = {
    "cancel": ("cancelled", "Cancelled; nothing was kept of it."),
    "stop": ("stopped", "Stopped. It goes on from its last checkpoint when it is started again."),
}
_NO_START = "The learning could not be started; check this installation with: medclipsam doctor."
# On Windows: no console of its own, and Ctrl-C in ours does not reach it.
_FLAGS = getattr(subprocess, "CREATE_NO_WINDOW", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)


class Worker:
    """The learning of one project. May be used from any thread; nothing blocks for longer than cancelling takes.

    Parameters
    ----------
    project : pathlib.Path
        Its folder. The project itself need not be open, and may be open anywhere.
    told : callable, optional
        Called with the status whenever it has changed, from the supervising thread.
    debug : bool
        Let the process write its errors to standard error.
    """

    def __init__(self, project: Path, told: Callable[[Status], None] | None = None, *, debug: bool = False) -> None:
        self._project, self._told, self._debug = Path(project).resolve(), told, debug
        self._child: subprocess.Popen[str] | None = None
        self._process: Process | None = None
        # Not asked of the thread: Ctrl-C in the middle of `Thread.join` makes Python take it for ended.
        self._ended = threading.Event()
        self._ended.set()
        self._status = read_status(self._project)
        self._changing = threading.RLock()
        self._paused_by_reader = self._suspended = False
        self._resume_at: float | None = None
        self._letting_go = threading.Event()
        self._killed_for: Verb | None = None

    @property
    def status(self) -> Status:
        """How it is."""
        return self._status

    @property
    def is_running(self) -> bool:
        """True while its process is at work, or paused."""
        return not self._ended.is_set()

    def start(self, request: Request, *, goes_on: bool = False) -> None:
        """Start a run, or go on with the one of this learner that was stopped.

        Parameters
        ----------
        request : Request
            What to learn.
        goes_on : bool
            Also when this process has ended; else it stops then, and what is done is kept.

        Raises
        ------
        LearningError
            If the project learns already, or there is no such learner.
        """
        require_learner(request.learner)
        with self._changing:
            if self.is_running or not read_status(self._project).has_ended:
                raise LearningError(
                    "Something is being learnt in this project already; wait until it has ended, or cancel it."
                )
            owner = None if goes_on else asdict(Process.this())
            arguments = [str(self._project), json.dumps(request.to_json()), json.dumps(owner)]
            self._child = subprocess.Popen(
                [sys.executable, "-m", "napari_medclipsam.learning.child", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=None if self._debug else subprocess.DEVNULL,
                text=True,
                # So that Ctrl-C in a terminal is ours to pass on, and closing it ends nothing.
                start_new_session=True,
                creationflags=_FLAGS,
            )
            started = psutil.Process(self._child.pid).create_time()
            self._process = Process(self._child.pid, started)
            self._supervise(Status("starting", self._process, request.learner, request.trigger, "starting"))

    def attach(self) -> bool:
        """Supervise a worker that another process has left; False where there is none."""
        with self._changing:
            if self.is_running:
                return True
            status = read_status(self._project)
            if status.has_ended or status.process is None:
                self._status = status
                return False
            self._child, self._process = None, status.process
            self._say("adopt", Process.this())
            # Whoever suspended it may be gone.
            self._continue()
            self._supervise(status)
            return True

    def pause(self) -> None:
        """Hold the work until `resume`; it uses nothing of the processor when this returns."""
        with self._changing:
            self._paused_by_reader = True
            self._hold()

    def resume(self) -> None:
        """Let the work go on."""
        with self._changing:
            self._paused_by_reader, self._resume_at = False, None
            self._release()

    def user_acts(self) -> None:
        """Hold the work until `IDLE_S` after the last call of this; returns at once."""
        first = self._resume_at is None
        self._resume_at = time.monotonic() + IDLE_S
        if first and self.is_running:
            threading.Thread(target=self._hold_for_user, daemon=True, name="pause learning").start()

    def stop(self) -> Status:
        """End the work and keep what is done; returns when it has ended."""
        return self._end("stop")

    def cancel(self) -> Status:
        """End the work and drop what is done; returns when it has ended."""
        return self._end("cancel")

    def let_go(self) -> None:
        """Leave the work alone, so that it goes on when this process ends."""
        with self._changing:
            self._paused_by_reader = False
            if self.is_running:
                self._say("adopt", None)
                self._release()
            self._letting_go.set()

    def wait(self, timeout_s: float | None = None) -> Status:
        """Wait until the work has ended, or for a time; returns the status."""
        self._ended.wait(timeout_s)
        return self._status

    # The supervising thread.

    def _supervise(self, status: Status) -> None:
        self._status = status
        self._suspended, self._killed_for = False, None
        self._letting_go.clear()
        self._ended.clear()
        threading.Thread(target=self._watch, daemon=True, name="learning").start()

    def _watch(self) -> None:
        try:
            self._follow()
        finally:
            self._ended.set()

    def _follow(self) -> None:
        while self._is_alive() and not self._letting_go.is_set():
            found = read_status(self._project)
            if found.process == self._process and not found.has_ended:
                self._show(found)
            if self._resume_at is not None and time.monotonic() > self._resume_at:
                self._resume_after_user()
            self._letting_go.wait(_LOOK_S)
        if not self._letting_go.is_set():
            self._show(self._last_words())

    def _resume_after_user(self) -> None:
        # Not waited for: who holds it may be waiting for this thread to end.
        if not self._changing.acquire(blocking=False):
            return
        try:
            self._resume_at = None
            if not self._paused_by_reader:
                self._release()
        finally:
            self._changing.release()

    def _is_alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return self._process is not None and self._process.find() is not None

    def _last_words(self) -> Status:
        """Return how it ended: from the pipe, for the disk may be full; else from the file."""
        if self._killed_for:
            told = _KILLED[self._killed_for]
            return replace(self._status, state=told[0], message=told[1])
        if self._child is not None and self._child.stdout is not None:
            with suppress(ValueError, TypeError, IndexError), self._child.stdout as pipe:
                return Status.from_json(json.loads(pipe.read().splitlines()[-1]))
        found = read_status(self._project)
        if found.process == self._process and found.has_ended:
            return found
        code = None if self._child is None else self._child.returncode
        # A kill is a negative number; a positive one comes from an interpreter that could not even begin.
        return replace(self._status, state="failed", message=_NO_START if code and code > 0 else LOST)

    def _show(self, status: Status) -> None:
        if self._suspended and not status.has_ended:
            status = replace(status, state="paused")
        if status != self._status:
            self._status = status
            if self._told is not None:
                self._told(status)

    # Words to the process.

    def _say(self, verb: Verb, owner: Process | None) -> None:
        if self._process is not None:
            with suppress(OSError):
                give_command(self._project, self._process, verb, owner)

    def _hold_for_user(self) -> None:
        with self._changing:
            if self._resume_at is not None and not self._paused_by_reader:
                self._hold()

    def _hold(self) -> None:
        """Ask it to pause, and have the system suspend it where a step takes too long for that."""
        if not self.is_running or self._suspended:
            return
        self._say("pause", Process.this())
        deadline = time.monotonic() + _STEP_S
        while time.monotonic() < deadline:
            found = read_status(self._project)
            if found.state in ("paused", *_NOT_SUSPENDED) or found.has_ended:
                return
            time.sleep(_LOOK_FOR_ANSWER_S)
        if self._process is not None and (process := self._process.find()) is not None:
            with suppress(psutil.Error):
                process.suspend()
                self._suspended = True

    def _release(self) -> None:
        self._say("resume", Process.this())
        self._continue()

    def _continue(self) -> None:
        if self._process is not None and (process := self._process.find()) is not None:
            with suppress(psutil.Error):
                process.resume()
        self._suspended = False

    def _end(self, verb: Verb) -> Status:
        with self._changing:
            if self.is_running:
                self._resume_at, self._paused_by_reader = None, False
                self._say(verb, Process.this())
                self._continue()
                self.wait(_LAST_RESPITE_S)
                if self.is_running:
                    self._kill(verb)
            return self._status

    def _kill(self, verb: Verb) -> None:
        """End a process that does not listen: it is in the middle of a long step."""
        self._killed_for = verb
        if self._process is not None and (process := self._process.find()) is not None:
            with suppress(psutil.Error):
                process.kill()
        self.wait()
        if verb == "cancel":
            shutil.rmtree(work_folder(self._project) / self._status.learner, ignore_errors=True)
        write_status(self._project, self._status)
