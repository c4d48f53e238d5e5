"""The learning of the project that is open in a window: its worker, its versions, and which of them answers.

Runs on the GUI thread; what reads or writes files is done in others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_medclipsam.annotation.worker_events import Event, ModelChoice
from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning import wording
from napari_medclipsam.learning.clip_home import CLIP
from napari_medclipsam.learning.clip_start import tuning
from napari_medclipsam.learning.contracts import Budget, Settings
from napari_medclipsam.learning.loading import device_of
from napari_medclipsam.learning.overview import Overview, Patients, read_overview
from napari_medclipsam.learning.run import Request
from napari_medclipsam.learning.status import Status
from napari_medclipsam.learning.trigger import LearningSettings
from napari_medclipsam.learning.versions import Version
from napari_medclipsam.learning.worker import Worker
from napari_medclipsam.saliency.pair import takes_method
from napari_medclipsam.widgets import _questions as questions
from napari_medclipsam.widgets._in_thread import in_thread
from napari_medclipsam.widgets._learning_in_use import VersionInUse
from napari_medclipsam.widgets._learning_verbs import VersionVerbs
from napari_medclipsam.widgets._said import said_on_error
from napari_medclipsam.wording import counted

if TYPE_CHECKING:
    from napari_medclipsam.projects.project import Project
    from napari_medclipsam.widgets._project_desk import ProjectDesk
    from napari_medclipsam.widgets._workspace import Workspace

_LOOK_MS, _LOOK_WHILE_LEARNING_MS = 4000, 1000
#: "Only when idle": nobody has done anything for so long.
IDLE_S = 20.0
_OF_USER = ("mask", "text", "propagation", "volume")
_MINUTE_S = 60.0
_ASKED = "asked for in the window"
_ENCODER = "biomedclip"
_GO_ON, _STOP = "Go on learning", "Stop and keep"


class LearningDesk(QObject):
    """See the head of this module.

    Parameters
    ----------
    workspace : Workspace
        Uses the models.
    desk : ProjectDesk
        Has the project open.
    parent : QWidget
        Its window is the one that asks.

    Attributes
    ----------
    overview : Overview
        What was read last.
    status : Status
        Of the worker, as it is now.
    project : Project or None
        Whose learning this is.
    is_busy : bool
        Something that was asked for is under way; nothing else is begun meanwhile.
    versions : VersionVerbs
        What can be done with versions.
    changed : Signal
        Any of these may be another.
    said : Signal of str
        A sentence for the user.
    """

    changed = Signal()
    said = Signal(str)
    _told = Signal(object, object)

    def __init__(self, workspace: Workspace, desk: ProjectDesk, parent: QWidget) -> None:
        super().__init__(parent)
        self.workspace, self._desk, self._parent = workspace, desk, parent
        self.overview, self.status = Overview(), Status()
        self.project: Project | None = None
        self.is_busy = False
        self._own: Worker | None = None
        self._tuning: Worker | None = None
        self._patients: Patients | None = None
        self._is_looking = self._look_again = self._is_left = False
        self._in_use = VersionInUse(workspace, lambda: (self.folder, self.overview))
        self._trouble = ""
        self._last_act = 0.0
        self._tried_at = 0
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._on_timer)
        self._told.connect(self._on_told, Qt.ConnectionType.QueuedConnection)
        self.said.connect(workspace.said)
        self.versions = VersionVerbs(self, desk, parent)
        workspace.refreshed.connect(self._on_act)
        workspace.work.happened.connect(self._on_event)
        workspace.viewer.mouse_drag_callbacks.append(self._on_press)
        desk.changed.connect(self._on_project)

    @property
    def _worker(self) -> Worker | None:
        """The one that is at work on captions, else that of the project."""
        return self._tuning if self._tuning is not None and self._tuning.is_running else self._own

    # What there is.

    @property
    def folder(self) -> Path | None:
        """That of the project."""
        return None if self.project is None else self.project.folder

    @property
    def is_learning(self) -> bool:
        """True while a worker is at work or paused, whoever has started it."""
        return not self.status.has_ended

    @property
    def refusal(self) -> str:
        """Why nothing can be changed here, in a sentence; "" where it can."""
        if self.project is None:
            return "No project is open. Learning needs one: open or make it on the page Project of MedCLIP-SAM."
        return self.project.read_only

    @property
    def n_accepted(self) -> int:
        """Accepted slices of the project."""
        return sum(row.n_accepted for row in self._desk.rows.values())

    @property
    def settings(self) -> LearningSettings:
        """How the project learns."""
        return LearningSettings.of({"settings": {} if self.project is None else self.project.settings})

    @property
    def using(self) -> Version | None:
        """The version that answers in this window; None where it is the model itself."""
        return self._in_use.version

    @property
    def model(self) -> ModelChoice:
        """The models that were chosen, whatever version of them answers."""
        return self.workspace.model or ModelChoice()

    # What can be done.

    @said_on_error
    def learn(self, learner: str, minutes: float, trigger: str = _ASKED) -> None:
        """Start a run, or go on with one that was stopped."""
        self._desk.require_project()
        worker, choice = self._worker, self.model
        if not self.n_accepted or worker is None:
            raise LearningError(wording.outlook(0, 0, 0))
        # Two models beside each other are nothing to build on.
        base = choice.name if "+" not in choice.name else ModelChoice().name

        def start() -> None:
            worker.start(Request(learner, _settings(choice, minutes, base), trigger))

        self._tried_at = self.n_accepted
        self.do(start)

    @said_on_error
    def learn_captions(self, table: Path, minutes: float) -> None:
        """Fine-tune a text-image encoder on a table of images and captions; it is kept beside the versions."""
        folder, choice = self._desk.require_project().folder, self.model
        base = choice.name.partition("+")[0] if takes_method(choice.name) else _ENCODER

        def start() -> tuple[Worker, tuple[str, ...]]:
            return tuning(folder, table, _settings(choice, minutes, base), _ASKED, partial(self._post, folder))

        def begun(found: tuple[Worker, tuple[str, ...]]) -> None:
            self._tuning, notes = found
            if notes:
                self.said.emit(" ".join(notes))

        self.do(start, begun)

    def pause(self) -> None:
        """Hold the work until `resume`."""
        self._command(lambda worker: worker.pause())

    def resume(self) -> None:
        """Let the work go on."""
        self._command(lambda worker: worker.resume())

    def stop(self) -> None:
        """End the work and keep what is done."""
        self._command(lambda worker: worker.stop())

    def cancel(self) -> None:
        """End the work and drop what is done."""
        self._command(lambda worker: worker.cancel())

    @said_on_error
    def keep_settings(self, settings: LearningSettings) -> None:
        """Keep how the project learns, in the project."""
        project = self._desk.require_project()
        if settings == self.settings:
            return
        settings.into(project.settings)
        project.changed_classes()
        in_thread(project.write_classes, lambda _: None, self.said.emit)
        self.changed.emit()
        self._check_trigger()

    def _command(self, give: Callable[[Worker], Any]) -> None:
        worker = self._worker
        if worker is not None:
            self.do(lambda: give(worker))

    def do(self, work: Callable[[], Any], done: Callable[[Any], None] | None = None) -> None:
        """Do something in a thread, one at a time, and look at everything afterwards."""
        if self.is_busy:
            return
        self.is_busy = True

        def ended(result: Any) -> None:
            self.is_busy = False
            if done is not None and not isinstance(result, Exception):
                done(result)
            if self._worker is not None and self._worker.is_running:
                self.status = self._worker.status
            self.look()
            self.changed.emit()

        in_thread(work, ended, self.said.emit)
        self.changed.emit()

    # The worker, and what it has made.

    def look(self) -> None:
        """Read everything anew, in a thread."""
        project, patients = self.project, self._patients
        if project is None or patients is None:
            return
        if self._is_looking:
            self._look_again = True
            return
        self._is_looking = True
        home = project.folder / CLIP if self._worker is self._tuning else None
        accepted = [project.studies[case] for case, row in self._desk.rows.items() if row.n_accepted]
        read = partial(read_overview, project.folder, accepted, patients, home)
        in_thread(read, partial(self._on_overview, project.folder), self.said.emit)

    def _on_overview(self, folder: Path, found: Overview | Exception) -> None:
        self._is_looking = False
        if self._look_again or folder != self.folder:
            self._look_again = False
            self.look()
        if folder != self.folder or not isinstance(found, Overview):
            return
        is_same = found == self.overview
        self.overview = found
        worker = self._worker
        # The last word of a fine-tuning may still be on its way.
        is_tuning = self.is_learning and self.status.learner == CLIP
        if worker is not None and not worker.is_running and not is_tuning:
            self.status, is_same = found.status, is_same and self.status == found.status
            if not found.status.has_ended and not self.refusal and not self.is_busy:
                # Left by another window, or started by the command line.
                self.do(worker.attach)
        if found.trouble != self._trouble:
            self._trouble = found.trouble
            if found.trouble:
                self.said.emit(found.trouble)
        self._in_use.adopt()
        if not is_same:
            self.changed.emit()

    def _on_told(self, folder: Path, status: Status) -> None:
        """Take in what the supervising thread says."""
        if folder != self.folder:
            return
        before, self.status = self.status, status
        self._set_pace()
        if status.has_ended and not before.has_ended:
            # The Learning dock shows all of it; the other one has little room.
            words = status.message if status.state == "failed" else status.message.partition(". ")[0].rstrip(".") + "."
            (self.said if status.learner == CLIP else self.workspace.said).emit(f"Learning: {words}")
            self.look()
        self.changed.emit()

    def _on_timer(self) -> None:
        self._set_pace()
        self.look()
        self._check_trigger()

    def _set_pace(self) -> None:
        wanted = _LOOK_WHILE_LEARNING_MS if self.is_learning else _LOOK_MS
        if self._timer.interval() != wanted:
            self._timer.setInterval(wanted)

    def _check_trigger(self) -> None:
        """Start by itself, where that is wanted and time."""
        settings, n_accepted = self.settings, self.n_accepted
        if self.refusal or self.is_learning or self.is_busy or not self._patients or not settings.every:
            return
        learnt = [int(v.lineage["data"]["n_slices"]) for v in self.overview.versions if v.lineage]
        n_before = max(self.overview.status.n_slices, self._tried_at, *learnt, 0)
        is_idle = time.monotonic() - self._last_act > IDLE_S
        if settings.is_due(n_accepted, n_before) and (is_idle or not settings.only_when_idle):
            self.learn(settings.learner, settings.minutes, counted(n_accepted - n_before, "new slice"))

    def _on_event(self, event: Event) -> None:
        if self._in_use.take(event):
            self.changed.emit()
        elif getattr(getattr(event, "request", None), "kind", "") in _OF_USER:
            self._on_act()

    # What the user does.

    def _on_press(self, viewer: Any, event: Any) -> None:
        self._on_act()

    def _on_act(self) -> None:
        self._last_act = time.monotonic()
        if self._worker is not None and self.is_learning:
            self._worker.user_acts()

    def _on_project(self) -> None:
        project = self._desk.project
        if project is self.project:
            self._check_trigger()
            self.changed.emit()
            return
        self._leave()
        self.project, self._patients = project, None
        self._own = self._tuning = None
        self.overview, self.status = Overview(), Status()
        self._trouble = ""
        self._in_use.forget()
        self._tried_at, self._is_left = 0, False
        self._timer.stop()
        if project is not None:
            self._own = Worker(project.folder, partial(self._post, project.folder))
            self._patients = Patients(project.folder, project.id)
            self._timer.start(_LOOK_MS)
            self.look()
        self._in_use.adopt()
        self.changed.emit()

    def _post(self, folder: Path, status: Status) -> None:
        # Between two looks of the supervising thread, Qt may already have taken this object apart.
        with suppress(RuntimeError):
            self._told.emit(folder, status)

    # Leaving.

    def may_close(self) -> bool:
        """Ask whether learning goes on without the window; False where the reader wants to stay."""
        return self._leave(may_stay=True)

    def _leave(self, *, may_stay: bool = False) -> bool:
        worker = self._worker
        if worker is None or not worker.is_running or self._is_left:
            return True
        goes_on = self.settings.goes_on
        if not goes_on:
            text = (
                f"The learner {self.status.learner} is at work ({self.status.fraction:.0%} done). Shall it go on "
                "without this window? What it has done is kept in either case."
            )
            answer = questions.choose(self._parent, "Learning", text, [_GO_ON, _STOP])
            if answer is None and may_stay:
                return False
            goes_on = answer == _GO_ON
        self._is_left = True
        # Not waited for: without this process it stops by itself.
        leave = worker.let_go if goes_on else worker.stop
        threading.Thread(target=leave, daemon=True, name="leave learning").start()
        return True

    def shut(self) -> None:
        """Let go of everything; the dock goes."""
        self._timer.stop()
        self._desk.changed.disconnect(self._on_project)
        self.workspace.refreshed.disconnect(self._on_act)
        self.workspace.work.happened.disconnect(self._on_event)
        with suppress(ValueError):
            self.workspace.viewer.mouse_drag_callbacks.remove(self._on_press)
        self._leave()
        self.project = self._own = self._tuning = None


def _settings(choice: ModelChoice, minutes: float, base: str) -> Settings:
    return Settings(device_of(choice.device), budget=Budget(minutes * _MINUTE_S), base=base)
