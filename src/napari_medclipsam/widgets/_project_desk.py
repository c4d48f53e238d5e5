"""The project that is open in a window, and the case of it that is labelled. Runs on the GUI thread."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari.layers import Image, Layer
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QApplication, QWidget

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import MedclipsamError, OutputError, ProjectError, PromptError
from napari_medclipsam.projects.case import Case
from napari_medclipsam.projects.progress import StudyRow, study_row
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.queue import ReviewQueue
from napari_medclipsam.projects.reader import remember_reader, remembered_reader
from napari_medclipsam.projects.scan_request import ScanRequest
from napari_medclipsam.projects.studies import SourceChangedError, SourceMovedError
from napari_medclipsam.widgets import _adapters as adapters
from napari_medclipsam.widgets import _project_work as work
from napari_medclipsam.widgets import _questions as questions
from napari_medclipsam.widgets._long_work import LongWork, Tell
from napari_medclipsam.widgets._mending import mended
from napari_medclipsam.widgets._said import said_on_error
from napari_medclipsam.widgets._shared_classes import SharedClasses
from napari_medclipsam.widgets._when_saved import WhenSaved
from napari_medclipsam.wording import counted

if TYPE_CHECKING:
    from napari_medclipsam.widgets._workspace import Workspace

_POLL_MS = 400
T = TypeVar("T")


class ProjectDesk(QObject):
    """See the head of this module.

    Parameters
    ----------
    workspace : Workspace
        Labels the case.
    parent : QWidget
        Its window is the one that waits and asks.

    Attributes
    ----------
    held : list of Project
        The project that is open, if one is; for `release`.
    case : Case or None
        Which case of it is labelled.
    classes : SharedClasses
        Those of the project.
    rows : dict
        Case id → `StudyRow`.
    queue : ReviewQueue or None
        As it was when the project was opened.
    scan : ScanRequest or None
        What the models look through beside the work in the window: it gives way to a case that is opened.
    changed : Signal
        Any of these may be another.
    saved : Signal
        Time to show `saved_text` again.
    """

    changed = Signal()
    saved = Signal()

    def __init__(self, workspace: Workspace, parent: QWidget) -> None:
        super().__init__(parent)
        self._workspace, self._parent = workspace, parent
        self.said = workspace.said
        self.classes = SharedClasses(workspace, self, parent)
        self.held: list[Project] = []
        self.case: Case | None = None
        self.rows: dict[str, StudyRow] = {}
        self.queue: ReviewQueue | None = None
        self.scan: ScanRequest | None = None
        self._layer: Image | None = None
        workspace.settled.connect(self._on_settled)
        workspace.classes_changed.connect(self._on_classes)
        workspace.viewer.layers.events.removed.connect(self._on_removed, position="last")
        self._poll = QTimer(self)
        self._poll.setInterval(_POLL_MS)
        self._poll.timeout.connect(self._on_poll)
        self.when_saved = WhenSaved(self)
        application, held = QApplication.instance(), self.held
        assert application is not None  # a QObject has been made
        application.aboutToQuit.connect(lambda: release(held))

    def run(self, title: str, do: Callable[[Tell], T]) -> T:
        """Do something in a thread while the window waits; see `LongWork`."""
        return LongWork(title, self._parent).run(do)

    # The project.

    @property
    def project(self) -> Project | None:
        """What is open."""
        return self.held[0] if self.held else None

    @said_on_error
    def create(self, folder: Path) -> None:
        """Make a project in a folder that is not there or empty, and open it."""
        names = [] if self._workspace.session is None else [c.name for c in self._workspace.session.classes]
        self._begin("New project", lambda reader: Project.create(folder, names, reader))

    @said_on_error
    def open(self, folder: Path) -> None:
        """Open a project."""
        self._begin("Opening the project", lambda reader: Project.open(folder, reader))

    def _begin(self, title: str, open_project: Callable[[str], Project]) -> None:
        reader = remembered_reader()
        if not reader:
            reader = questions.reader_name(self._parent, getpass.getuser())
            remember_reader(reader)
        if not reader or not self.close():
            return
        opened = self.run(title, lambda tell: work.opened(lambda: open_project(reader), tell))
        project, self.rows, self.queue = opened
        self.held.append(project)
        self.said.emit(
            project.read_only or f"{counted(len(self.rows), 'study', 'studies')}; double-click one to open it."
        )
        self.changed.emit()

    def require_project(self, *, writable: bool = True) -> Project:
        """Return the project, or refuse in words."""
        if self.project is None:
            raise ProjectError("No project is open. Open one, or make a new one.")
        if writable:
            self.project.require_writable()
        return self.project

    @said_on_error
    def add(self, paths: Sequence[Path], *, copy: bool) -> None:
        """Add the images of files and folders."""
        project = self.require_project()
        try:
            result = self.run("Adding images", lambda tell: work.added(project, paths, copy, tell))
            self.rows |= result.rows
            self.said.emit(result.sentence)
        finally:
            # After a stop, too.
            self.rows |= {case: study_row(project, case) for case in project.studies if case not in self.rows}
            self.changed.emit()

    # The case.

    @said_on_error
    def open_case(self, case_id: str, *, second: bool = False) -> None:
        """Close the case that is open, and open another, or its second reading, where it was left."""
        self.bring(case_id, ask=True, second=second)

    def bring(self, case_id: str, *, ask: bool, second: bool = False) -> None:
        """Do that, or raise why it can't be done; with `ask` the reader is asked about an image that was moved."""
        project = self.require_project(writable=False)
        is_open = self.case is not None and (self.case.study.case, self.case.is_second) == (case_id, second)
        if is_open or not self.leave_case():
            return
        opened = self._opened(project, case_id, second, ask)
        if opened is None:
            return
        self.case, data = opened
        self.case.waits = False
        self._show(self.case, data)
        n_damages = len(self.case.damages)
        damaged = (
            f" {counted(n_damages, 'place')} of its journal damaged: see medclipsam project verify."
            if n_damages
            else ""
        )
        which = f"The second reading of {case_id}" if second else case_id
        self.said.emit(f"{which} is open{', for reading only' if project.read_only else ''}.{damaged}")
        self._poll.start()
        self._on_poll()
        self.changed.emit()

    def _opened(self, project: Project, case_id: str, second: bool, ask: bool) -> tuple[Case, Any] | None:
        """Open a case; where its image is not what it was, as the reader decides."""
        while True:
            try:
                return self.run(f"Opening {case_id}", lambda _: work.opened_case(project, case_id, second, self.scan))
            except (SourceMovedError, SourceChangedError) as error:
                self.update_row(case_id)
                if not ask:
                    raise
                project.require_writable()
                if not mended(project, case_id, error, self._parent):
                    return None

    def _show(self, case: Case, data: Any) -> None:
        viewer, session = self._workspace.viewer, case.session
        layer = Layer.create(*data)
        assert isinstance(layer, Image)  # `view_layer` makes nothing else
        self._layer = layer
        self._workspace.adopt(layer, session)
        viewer.add_layer(layer)
        self._workspace.label(layer)
        viewer.layers.selection.active = layer
        if case.at is not None:
            adapters.go_to(layer, viewer.dims, case.at)
        viewer.reset_view()
        if session.window != "auto" and not session.image.rgb:
            self._workspace.set_window(session.window)

    def show_slice(self, case_id: str, at: SliceAt) -> bool:
        """Show a slice of the case that is open; False where the reader has stayed with another, or reads blind."""
        case, image = self.case, self._workspace.image
        if case is None or case.study.case != case_id or image is None or case.is_second:
            return False
        adapters.go_to(image, self._workspace.viewer.dims, at)
        return True

    def leave_case(self) -> bool:
        """Close the case that is open and take its layers out; False where it can't be saved, and stays open."""
        return self.case is None or self._leave(self.case.close, may_lose=False)

    def _leave(self, save: Callable[[], None], *, may_lose: bool) -> bool:
        case, layer = self.case, self._layer
        self._workspace.going = layer
        try:
            return self._left(case, layer, save, may_lose)
        finally:
            self._workspace.going = None

    def _left(self, case: Case | None, layer: Image | None, save: Callable[[], None], may_lose: bool) -> bool:
        # First the layers of the work, so that nothing can be done while it is saved.
        if layer is not None and self._workspace.image is layer:
            self._workspace.label(None)
        layers = self._workspace.viewer.layers
        if not self._saved(save, may_lose=may_lose):
            if layer is not None:
                if layer not in layers:
                    layers.append(layer)
                self._workspace.label(layer)
            return False
        self._poll.stop()
        self.case = self._layer = None
        if case is not None:
            # The image first: where masks go first, the image that is left is labelled anew.
            masks = [other for other in layers if other.data is case.session.labels]
            adapters.remove_layers(self._workspace.viewer, [layer, *masks])
            self.update_row(case.study.case)
        return True

    def _saved(self, save: Callable[[], None], *, may_lose: bool) -> bool:
        """Save, again and again if the reader wants it; False: stay as we are."""
        while True:
            try:
                if may_lose:
                    # The window is closing: events that run meanwhile would find parts of it gone.
                    save()
                else:
                    self.run("Saving", lambda _: save())
                return True
            except OutputError as error:
                n_steps = 0 if self.case is None else self.case.unsaved
                answer = questions.not_saved(self._parent, str(error), n_steps, may_lose=may_lose)
                if answer != "again":
                    return answer == "lose"

    def save(self) -> bool:
        """Wait until all is on the disk, before the window closes; False: the reader wants to stay."""
        case = self.case
        return case is None or self._saved(case.save, may_lose=True)

    def close(self, *, may_lose: bool = False) -> bool:
        """Close case and project; False where something can't be saved, and all stays open."""
        if (project := self.project) is not None:
            if not self._leave(lambda: work.closed(project, self.scan), may_lose=may_lose):
                return False
            self.held.clear()
            self.rows, self.queue = {}, None
            self.changed.emit()
        return True

    def shut(self) -> None:
        """Close everything, for the dock goes; what can't be saved is lost only if the reader says so."""
        while not self.close(may_lose=True):
            pass
        self._workspace.viewer.layers.events.removed.disconnect(self._on_removed)

    def update_row(self, case_id: str) -> None:
        """Show anew how far a case is."""
        if self.project is not None:
            self.rows[case_id] = study_row(self.project, case_id)
            self.changed.emit()

    # The slice on screen.

    def require_case(self) -> tuple[Case, SliceAt]:
        """Return the case and its slice on screen, or refuse in words."""
        session, at = self._workspace.require_slice()
        if self.case is None or self.case.session is not session:
            raise PromptError("The image on screen is not of a project. Open a case on the page Project.")
        return self.case, at

    def noted(self) -> dict[str, Any] | None:
        """Return what was noted of the slice on screen; None where no case is."""
        try:
            case, at = self.require_case()
        except MedclipsamError:
            return None
        return dict(case.notes.get(at, {}))

    @said_on_error
    def toggle_flag(self) -> None:
        """Flag the slice on screen, or take its flag away."""
        case, at = self.require_case()
        flag = not case.notes.get(at, {}).get("flag", False)
        told = case.note({"flag": flag}, at)
        self._noted(told or ("Flagged." if flag else "The flag is gone."))

    @said_on_error
    def write_note(self, text: str, at: SliceAt) -> None:
        """Keep one line about a slice of the case."""
        case, _ = self.require_case()
        line = " ".join(text.split())
        if line != case.notes.get(at, {}).get("note", ""):
            self._noted(case.note({"note": line}, at) or "Noted.")

    @said_on_error
    def set_done(self, done: bool) -> None:
        """Say whether the case needs no more work."""
        case, _ = self.require_case()
        self._noted(case.note({"done": done}) or (f"{case.study.case} is done." if done else "It is open again."))

    def _noted(self, told: str) -> None:
        self.when_saved.say(told)
        self._on_poll()
        self._workspace.refreshed.emit()

    # What happens in the viewer.

    @property
    def saved_text(self) -> tuple[str, bool]:
        """What is on the disk, in words, and whether the reader should worry."""
        if self.project is not None and self.project.read_only:
            return "READ ONLY: not kept", True
        if self.case is None:
            return "", False
        if trouble := self.case.trouble:
            return trouble, True
        return ("saving …" if self.case.unsaved else "saved"), False

    def _on_poll(self) -> None:
        if self.case is None or self.project is None:
            return
        row = study_row(self.project, self.case.study.case, is_there=True)
        if row != self.rows.get(row.case):
            self.rows[row.case] = row
            self.changed.emit()
        self.saved.emit()

    def _on_settled(self, at: SliceAt) -> None:
        if self.case is not None and self._workspace.session is self.case.session:
            self.case.looked_at(at)

    def _on_classes(self) -> None:
        if self.case is not None and self._workspace.session is self.case.session:
            self.case.keep_classes()

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer and self.case is not None:
            # Not now: napari is in the middle of removing it.
            QTimer.singleShot(0, self.leave_case)


def release(held: list[Project]) -> None:
    """Close a project whose window is gone, without a question: what can't be saved has been asked before."""
    while held:
        with suppress(MedclipsamError):
            held.pop().close()
