"""Searching the project that is open in a window, and keeping its index. Runs on the GUI thread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.states import SliceState
from napari_medclipsam.annotation.worker import Done, Event, Failed, Progressed, Ready
from napari_medclipsam.errors import ProjectError, PromptError
from napari_medclipsam.projects.case import Case
from napari_medclipsam.search.finding import Answer, Found
from napari_medclipsam.search.index import Coverage, Scope
from napari_medclipsam.search.wanted import WantedSlice, indexed_window, slices_of
from napari_medclipsam.search.work import FindRequest, IndexOutcome, IndexRequest, Shelf, SliceIndexRequest
from napari_medclipsam.widgets._find_outline import FindOutline
from napari_medclipsam.widgets._said import said_on_error

if TYPE_CHECKING:
    from napari_medclipsam.widgets._project_desk import ProjectDesk
    from napari_medclipsam.widgets._workspace import Workspace

Where = Literal["everywhere", "this case", "other cases"]

# Accepting comes in bursts; that a slice can be found may follow a moment later.
_FOLLOW_MS = 700
_AT_ONCE = 4
_STOPPED = "Stopped; what is indexed is kept."
_SECOND = "A second reading is blind: search when a first reading is open."


class FindDesk(QObject):
    """See the head of this module.

    Parameters
    ----------
    workspace : Workspace
        Shows the slices.
    desk : ProjectDesk
        Opens the cases.

    Attributes
    ----------
    found : Found or None
        What the last search has brought.
    coverage : Coverage or None
        How much of the project is indexed; None before that is known.
    indexed : tuple of (int, int) or None
        Slices that indexing has been through, of how many; None while there is none. Those of the case that is open
        count where the reader has asked for them.
    outline : FindOutline
        Where in the slice on screen it was found.
    message : str
        What there is to say, in a sentence.
    is_finding : bool
        True while a search runs.
    changed : Signal
        Any of these may be another.
    said : Signal of str
        What was refused, in words; it becomes the message.
    """

    changed = Signal()
    said = Signal(str)

    def __init__(self, workspace: Workspace, desk: ProjectDesk) -> None:
        super().__init__(desk)
        self._workspace, self._desk = workspace, desk
        self.outline = FindOutline(workspace)
        self.found: Found | None = None
        self.coverage: Coverage | None = None
        self.message = ""
        self._shelf: Shelf | None = None
        self._open: Case | None = None
        self._open_id = ""
        self._seen: dict[SliceAt, SliceState] = {}
        self._waiting: dict[SliceAt, None] = {}
        self._left: set[str] = set()
        self._finding: FindRequest | None = None
        self._indexing: IndexRequest | None = None
        self._slices: SliceIndexRequest | None = None
        # Of other cases; and how many slices of the open one the reader has asked for, 0 once all is done.
        self._indexed: tuple[int, int] | None = None
        self._n_own = 0
        self._n_counted = 0
        # Models that make no vectors say so once.
        self._is_refused = False
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_FOLLOW_MS)
        self._soon.timeout.connect(self._follow)
        self.said.connect(self._say)
        desk.changed.connect(self._on_desk)
        workspace.refreshed.connect(self._soon.start)
        workspace.work.happened.connect(self._on_event)

    @property
    def is_finding(self) -> bool:
        """See the class."""
        return self._finding is not None

    @property
    def indexed(self) -> tuple[int, int] | None:
        """See the class."""
        if not self._n_own:
            return self._indexed
        done, total = self._indexed or (0, 0)
        return done + max(0, self._n_own - self._n_own_left), total + self._n_own

    @property
    def _n_own_left(self) -> int:
        return len(self._waiting) + (0 if self._slices is None else len(self._slices.slices))

    @property
    def class_names(self) -> dict[int, str]:
        """Label → name of the classes of the project."""
        project = self._desk.project
        return {} if project is None else {c.label: c.name for c in project.classes}

    # What there is.

    def _on_desk(self) -> None:
        """Take in a project or case that was opened or closed."""
        project, case = self._desk.project, self._desk.case
        if project is not (None if self._shelf is None else self._shelf.project):
            self.cancel()
            self._shelf = None if project is None else Shelf(project)
            self.found = self.coverage = self._indexed = None
            # What is under way was for another project.
            self._finding = self._indexing = self._slices = None
            self.message = ""
            self._left.clear()
            self._n_counted = 0
        if case is not self._open:
            if self._open is not None and not self._open.is_second and self._shelf is not None:
                self._left.add(self._open_id)
            self._open, self._open_id = case, "" if case is None else case.study.case
            self._seen = {} if case is None else dict(case.session.book.states)
            self._waiting.clear()
            self._n_own = 0
            self._index_left()
        self._count()
        self.changed.emit()

    def _count(self) -> None:
        """Ask how much there is to index, once there are other cases than before."""
        n = 0 if self._shelf is None else len(self._shelf.project.studies)
        if self._shelf is not None and self._indexing is None and (self.coverage is None or n != self._n_counted):
            # What is shown meanwhile must not deny what was just added.
            self._n_counted, self.coverage = n, None
            self._index([])

    def _follow(self) -> None:
        """Have slices indexed that were accepted, or are so no more."""
        case = self._open
        if case is None or case.is_second:
            return
        states, seen = case.session.book.states, self._seen
        changed = [at for at in states.keys() | seen.keys() if states.get(at) is not seen.get(at)]
        self._seen = dict(states)
        self._wait_for(at for at in changed if _is_accepted(states.get(at)) or _is_accepted(seen.get(at)))

    def _wait_for(self, slices: Iterable[SliceAt]) -> None:
        self._waiting |= dict.fromkeys(slices)
        case, shelf = self._open, self._shelf
        if not self._waiting or self._slices is not None or case is None or shelf is None or self._is_refused:
            return
        taken = list(self._waiting)[:_AT_ONCE]
        for at in taken:
            del self._waiting[at]
        session = case.session
        wanted = tuple(WantedSlice.of(session.book, at) for at in taken)
        self._slices = SliceIndexRequest(shelf, case.study, session.image, indexed_window(session.window), wanted)
        self._workspace.work.worker.submit(self._slices)

    # Indexing.

    @said_on_error
    def build(self) -> None:
        """Have all slices indexed that are not, beside the work in the window."""
        self._desk.require_project(writable=False)
        # Whatever was wrong before, the reader tries again.
        self._is_refused = False
        self._index(None)
        if self._open is not None and not self._open.is_second:
            book = self._open.session.book
            self._wait_for(slices_of(book.masks.labels.shape, self._workspace.at, book.states))
            self._n_own = self._n_own_left
        if not self.is_finding and (self.found is None or not self.found.answers):
            # "There is nothing to search" does not stay true.
            self.message = ""
        self.changed.emit()

    def _index(self, cases: list[str] | None) -> None:
        if self._shelf is not None and not self._is_refused:
            self._indexing = IndexRequest(self._shelf, cases, lambda case: case == self._open_id)
            self._indexed = (0, 0) if cases is None else None
            self._workspace.work.worker.submit(self._indexing)
            self.changed.emit()

    def _index_left(self) -> None:
        """Look at cases that were worked on; those that nothing was indexed of come with the rest."""
        if self._indexing is None and self._left and self.coverage is not None and self.coverage.n_indexed:
            cases, self._left = sorted(self._left), set()
            self._index(cases)

    def cancel(self) -> None:
        """Stop before the next slices; what is indexed is kept."""
        self._waiting.clear()
        self._n_own = 0
        if self._indexing is not None:
            self._indexing.stop()
        self.message = _STOPPED
        self.changed.emit()

    # Searching.

    @said_on_error
    def find(self, text: str, where: Where = "everywhere", *, accepted: bool = False) -> None:
        """Look for slices that show what a text names."""
        self._require_first_reading()
        if not text.strip():
            raise PromptError("Type what to look for, for example: brain tumor")
        self._submit(text, where, accepted)

    @said_on_error
    def find_like(self, where: Where = "everywhere", *, accepted: bool = False) -> None:
        """Look for slices with something like the object that is selected, as it is in the slice on screen."""
        self._require_first_reading()
        session, at = self._workspace.require_slice()
        key = session.current
        proposal = None if key is None else session.state(at).of(key).proposal
        if proposal is not None:
            mask_yx = proposal.mask.unpacked()
        elif key is not None:
            mask_yx = session.object_mask(at, key)
        if key is None or not mask_yx.any():
            raise PromptError("The object that is selected is not in this slice: outline something first.")
        image = session.image
        turned = np.ascontiguousarray(image.turn(at).to_turned(mask_yx))
        self._submit((image.slice_pixels(at, indexed_window(session.window)), turned), where, accepted)

    def _require_first_reading(self) -> None:
        self._desk.require_project(writable=False)
        if self._open is not None and self._open.is_second:
            raise ProjectError(_SECOND)

    def _submit(self, query: object, where: Where, accepted: bool) -> None:
        if self._shelf is None:
            return
        if where != "everywhere" and not self._open_id:
            raise ProjectError("No case is open; look everywhere, or open one first.")
        at = self._workspace.at
        scope = Scope(
            self._open_id if where == "this case" else None,
            self._open_id if where == "other cases" else None,
            None if isinstance(query, str) or not self._open_id or at is None else (self._open_id, at),
            accepted,
        )
        self._finding = FindRequest(self._shelf, query, scope)  # type: ignore[arg-type]
        self.found, self.message = None, "Looking …"
        self._workspace.work.worker.submit(self._finding)
        self.changed.emit()

    @said_on_error
    def go_to(self, answer: Answer) -> None:
        """Go to a slice that was found and outline where; the reader is asked where its image was moved."""
        self._desk.bring(answer.case, ask=True)
        if self._desk.show_slice(answer.case, answer.at) and self._workspace.image is not None:
            self.outline.show(self._workspace.image, answer.at, answer.box_xyxy)

    # What the models say.

    def _say(self, sentence: str) -> None:
        self.message = sentence
        self.changed.emit()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Ready):
            self._is_refused = False
            if self._shelf is not None and self._indexing is None:
                self._index([])
            return
        request = getattr(event, "request", None)
        if request is None:
            return
        if isinstance(event, Progressed) and request is self._indexing:
            self._indexed = (int(event.done), event.total)
            self.changed.emit()
        elif isinstance(event, (Done, Failed)) and request in (self._finding, self._indexing, self._slices):
            self._ended(event)
            self.changed.emit()

    def _ended(self, event: Done | Failed) -> None:
        outcome = event.outcome if isinstance(event, Done) else None
        told = event.message if isinstance(event, Failed) else ""
        if event.request is self._finding:
            self._finding = None
            self.message = told
            if isinstance(outcome, Found):
                self.found, self.coverage = outcome, outcome.coverage
                # How much is indexed is shown for itself, and goes on growing.
                self.message = outcome.message.removesuffix(outcome.coverage.words).rstrip()
            return
        if isinstance(outcome, IndexOutcome):
            self.coverage = outcome.coverage
            told = outcome.message
        self.message = told or self.message
        self._is_refused = isinstance(event, Failed)
        if event.request is self._indexing:
            self._indexing = self._indexed = None
            self._index_left()
            self._count()
        else:
            self._slices = None
            self._wait_for(())
        if self._is_refused or (self._indexed is None and not self._n_own_left):
            self._n_own = 0


def _is_accepted(state: SliceState | None) -> bool:
    return state is not None and any(one.accepted is not None for one in state.objects.values())
