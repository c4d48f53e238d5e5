"""The review queue of the project that is open in a window: what comes next, and a scan. Runs on the GUI thread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer, Signal

from napari_medclipsam.annotation.worker_events import Done, Event, Failed, Progressed
from napari_medclipsam.errors import MedclipsamError, ProjectError
from napari_medclipsam.projects.case import Case
from napari_medclipsam.projects.queue import QueueItem, ReviewQueue
from napari_medclipsam.projects.scan import scan_text, unscanned
from napari_medclipsam.projects.scan_request import ScanOutcome, ScanRequest
from napari_medclipsam.projects.walk import Filters, Place, QueueWalk, place_words, why_words
from napari_medclipsam.widgets import _project_work as work
from napari_medclipsam.widgets._said import said_on_error
from napari_medclipsam.wording import counted

if TYPE_CHECKING:
    from napari_medclipsam.widgets._project_desk import ProjectDesk
    from napari_medclipsam.widgets._workspace import Workspace

# Strokes and drags come in bursts; what the list shows may follow a moment later.
_FOLLOW_MS = 150
_MOVED = "its image is not where it was; open it on the page Project to say where it is."
_DAMAGED = "part of its journal is damaged; open it on the page Project to go on with it all the same."
_SECOND = "The queue is for first readings. Open a first reading, then go on."


class QueueDesk(QObject):
    """See the head of this module.

    Parameters
    ----------
    workspace : Workspace
        Shows the slices.
    desk : ProjectDesk
        Opens the cases.

    Attributes
    ----------
    walk : QueueWalk or None
        Through the queue of the project that is open.
    shown : QueueItem or None
        The slice that the reader was brought to last.
    scanned : tuple of (int, int) or None
        Slices that a scan has looked at, of how many; None while there is none.
    changed : Signal
        Any of these, the order or the progress may be another.
    """

    changed = Signal()
    _case_scanned = Signal(str)

    def __init__(self, workspace: Workspace, desk: ProjectDesk) -> None:
        super().__init__(desk)
        self._workspace, self._desk = workspace, desk
        self.said = workspace.said
        self.walk: QueueWalk | None = None
        self.shown: QueueItem | None = None
        self.scanned: tuple[int, int] | None = None
        self._base: ReviewQueue | None = None
        self._open: Case | None = None
        self._known: set[str] = set()
        self._vouched: set[str] = set()
        self._to_rank: set[str] = set()
        self._filters = Filters()
        self._is_ranking = False
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_FOLLOW_MS)
        self._soon.timeout.connect(self._follow)
        desk.changed.connect(self._on_desk)
        workspace.refreshed.connect(self._soon.start)
        workspace.work.happened.connect(self._on_event)
        self._case_scanned.connect(self._on_case_scanned)

    # What there is.

    def _on_desk(self) -> None:
        """Take in a project or case that was opened or closed, and new studies."""
        project, case = self._desk.project, self._desk.case
        if self._desk.queue is not self._base:
            self._base = self._desk.queue
            self.walk = None if self._base is None else QueueWalk(self._base, self._filters)
            self._known, self._open, self.shown = set(project.studies) if project else set(), None, None
            self._vouched.clear()
            self._to_rank.clear()
        if self.walk is not None and project is not None:
            if self._open is not case:
                left, self._open = self._open, case
                if case is not None:
                    # Whatever was wrong with it, a reader has opened it.
                    self.walk.refused.pop(case.study.case, None)
                    self._vouched.add(case.study.case)
                if left is not None:
                    self._rank([left.study.case])
            if new := project.studies.keys() - self._known:
                self._known |= new
                self._rank(new)
        self._follow()

    def _follow(self) -> None:
        """Take in how the open case is now; costs a millisecond."""
        self._take_in()
        self.changed.emit()

    def _take_in(self) -> None:
        if self.walk is not None and self._open is not None and not self._open.is_second:
            self.walk.queue.follow(self._open)

    def _rank(self, cases: Iterable[str] = ()) -> None:
        """Have the queue ranked anew in a thread, with cases that were worked on or are new."""
        self._to_rank |= set(cases)
        project, walk = self._desk.project, self.walk
        if self._is_ranking or project is None or walk is None:
            return
        taken, self._to_rank, self._is_ranking = frozenset(self._to_rank), set(), True
        filters = self._filters

        def ended(queue: ReviewQueue | None) -> None:
            self._is_ranking = False
            if queue is not None and walk is self.walk:
                walk.queue, walk.filters = queue, filters
                self._follow()
            if self._to_rank or filters != self._filters:
                self._rank()

        def failed(error: Exception) -> None:
            self.said.emit(f"The queue is not up to date: {error}")
            ended(None)

        worker = create_worker(work.ranked_anew, walk.queue, project, taken, filters.label, _ignore_errors=True)
        worker.returned.connect(ended)
        worker.errored.connect(failed)
        worker.start()

    def set_filters(self, filters: Filters) -> None:
        """Show other slices; a class is ranked first, in a thread."""
        if filters == self._filters:
            return
        is_ranked = filters.label in (None, self._filters.label)
        self._filters = filters
        if self.walk is not None and is_ranked:
            self.walk.filters = filters
            self.changed.emit()
        elif not is_ranked:
            self._rank()

    @property
    def progress(self) -> str:
        """How far the project is, and a scan of it; "" without a project."""
        if self.walk is None:
            return ""
        told = str(self.walk.queue.progress)
        return told if self.scanned is None else f"{told} · scanned {self.scanned[0]} of {self.scanned[1]}"

    # Going through it.

    @said_on_error
    def accept_and_next(self) -> None:
        """Accept the slice on screen, and go to the one that needs the reader most."""
        self._desk.require_project()
        case, at = self._desk.require_case()
        if case.is_second:
            raise ProjectError(_SECOND)
        change = case.session.accept(at)
        self._workspace.draw(change)
        self._go_on((case.study.case, at), change.message)

    @said_on_error
    def next_in_queue(self) -> None:
        """Leave the slice on screen as it is, and go to the one that needs the reader most."""
        self._desk.require_project(writable=False)
        here = None
        if self._open is not None and self._workspace.session is self._open.session and self._workspace.at is not None:
            if self._open.is_second:
                raise ProjectError(_SECOND)
            here = (self._open.study.case, self._workspace.at)
        self._go_on(here)

    def _go_on(self, here: Place | None, told: str = "") -> None:
        """Go to the next slice whose case can be opened; what was left out on the way is said."""
        walk = self.walk
        assert walk is not None  # a project is open
        self._take_in()
        left_out = []
        while (item := walk.next(here)) is not None:
            try:
                self._require_sound(item.case)
                self._desk.bring(item.case, ask=False)
            except MedclipsamError as error:
                walk.refused[item.case] = str(error)
                left_out.append(f"{item.case} was left out: {error}")
                continue
            self._show(item, told, *left_out)
            return
        self.said.emit(f"{told} {walk.end_words(here)}".strip())
        self._follow()

    def _require_sound(self, case_id: str) -> None:
        """Refuse a case that its reader should look at first, before the one that is open is left."""
        project = self._desk.require_project(writable=False)
        if not project.study(case_id).source(project.folder).exists():
            self._desk.update_row(case_id)
            raise ProjectError(_MOVED)
        if self._desk.rows[case_id].state == "damaged" and case_id not in self._vouched:
            raise ProjectError(_DAMAGED)

    def _show(self, item: QueueItem, *told: str) -> None:
        """Show a slice of the case that is open, and say why; nothing where the reader has stayed with another."""
        if not self._desk.show_slice(item.case, item.at):
            return
        self.shown = item
        self.said.emit(" ".join(filter(None, [*told, f"Here is {place_words(item)}."])))
        self._follow()

    @said_on_error
    def go_to(self, item: QueueItem) -> None:
        """Go to a slice of the list; the reader is asked where its image was moved."""
        self._desk.bring(item.case, ask=True)
        self._show(item)

    @property
    def why(self) -> str:
        """Why the reader was brought to the slice on screen; "" for other slices."""
        item, case = self.shown, self._open
        if item is None or case is None or (item.case, item.at) != (case.study.case, self._workspace.at):
            return ""
        return f"Why this slice: {why_words(item)}."

    # A scan.

    @said_on_error
    def scan(self) -> None:
        """Have the models look at every slice that nobody has decided and that they were not asked about."""
        project = self._desk.require_project()
        if not len(project.classes):
            raise ProjectError("The project has no classes to look for. Add one on the page Label.")
        text, is_open = scan_text(project), self._desk.case
        others = [case for case in project.studies if is_open is None or case != is_open.study.case]
        todo = self._desk.run("Looking for slices", lambda _: unscanned(project, text, others))
        left = "" if is_open is None else f" {is_open.study.case} is open and is left to you: see Whole volume."
        n_slices = sum(map(len, todo.values()))
        if not n_slices:
            self.said.emit(f"Nothing is left to scan.{left}")
            return
        request = ScanRequest(project, text, todo, self._case_scanned.emit)
        self._desk.scan, self.scanned = request, (0, n_slices)
        self._workspace.work.worker.submit(request)
        slices = f"{counted(n_slices, 'slice')} of {counted(len(todo), 'case')}"
        self.said.emit(f'Looking for "{text}" in {slices}; go on working.{left}')
        self.changed.emit()

    def cancel_scan(self) -> None:
        """Stop before the next slice; what was found until then is kept."""
        if self._desk.scan is not None:
            self._desk.scan.stop()

    def _on_case_scanned(self, case_id: str) -> None:
        if case_id in self._desk.rows:
            self._desk.update_row(case_id)
            self._rank([case_id])

    def _on_event(self, event: Event) -> None:
        if getattr(event, "request", None) is not self._desk.scan or self._desk.scan is None:
            return
        if isinstance(event, Progressed):
            self.scanned = (int(event.done), event.total)
            self.changed.emit()
        elif isinstance(event, Failed):
            self._end_scan(event.message)
        elif isinstance(event, Done):
            self._end_scan(_message(event.outcome))

    def _end_scan(self, told: str) -> None:
        self._desk.scan = self.scanned = None
        self.said.emit(told)
        self.changed.emit()


def _message(outcome: Any) -> str:
    return outcome.message if isinstance(outcome, ScanOutcome) else "The scan was cancelled."
