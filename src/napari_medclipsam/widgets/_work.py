"""What is asked of the models: planned by the session, run by the worker, and told to the widgets while it lasts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QApplication

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import Prompts
from napari_medclipsam.annotation.requests import MaskRequest
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.annotation.worker import OF_IMAGE, ModelWorker
from napari_medclipsam.annotation.worker_events import Done, Event, Failed
from napari_medclipsam.errors import MedclipsamError
from napari_medclipsam.widgets._libraries import load_beside_opengl

_Wanted = tuple[SliceAt, ObjectKey, Prompts]

# How far ahead slices are encoded, nearest first; the reader is likely to go on in the same direction.
_AHEAD = (0, 1, -1, 2, 3, -2, 4)


class Work(QObject):
    """The model worker of one viewer, with its events on the GUI thread.

    Parameters
    ----------
    receive : callable
        Called on the GUI thread with each event of the worker, after the widgets were told.
    parent : QObject
        Lives on the GUI thread.

    Attributes
    ----------
    happened : Signal of Event
        For widgets that show progress.
    """

    happened = Signal(object)
    _posted = Signal(object)

    def __init__(self, receive: Callable[[Event], None], parent: QObject) -> None:
        super().__init__(parent)
        self._receive: Callable[[Event], None] | None = receive
        self._posted.connect(self._on_posted, Qt.ConnectionType.QueuedConnection)
        self.worker = ModelWorker(self._post, load_beside_opengl)
        self._asked: _Wanted | None = None
        self._early: _Early | None = None
        # Weak: a request that gives way to a newer one is never heard of again.
        self._pending: WeakSet[Any] = WeakSet()
        application = QApplication.instance()
        assert application is not None  # a QObject has been made
        # A dock's closeEvent does not come when the whole program ends.
        application.aboutToQuit.connect(self.close)

    def _post(self, event: Event) -> None:
        # Between two calls of the worker, Qt may already have taken this object apart.
        with suppress(RuntimeError):
            self._posted.emit(event)

    def _on_posted(self, event: Event) -> None:
        if self._receive is None:
            return
        if self._early is not None and getattr(event, "request", None) is self._early.request:
            self._early.events.append(event)
            return
        if isinstance(event, (Done, Failed)) and _wanted(event.request) == self._asked:
            self._asked = None
        self.happened.emit(event)
        self._receive(event)

    def submit(self, request: Any) -> None:
        """Run a request as soon as its turn comes."""
        self._pending.add(request)
        self.worker.submit(request)

    def outcome_of(self, event: Event) -> Any:
        """Return what a `Done` brings; None for other events and for the work of an image that was left."""
        if not isinstance(event, (Done, Failed)) or event.request not in self._pending:
            return None
        self._pending.discard(event.request)
        return event.outcome if isinstance(event, Done) else None

    def ask_masks(self, session: Session, at: SliceAt) -> None:
        """Ask for the mask of the first object of a slice whose prompts have changed; the next one follows it.

        Raises
        ------
        MedclipsamError
            If its prompts describe nothing.
        """
        for key in session.outdated(at):
            wanted = (at, key, session.state(at).of(key).prompts)
            if wanted != self._asked:
                if not self._adopt_early(wanted):
                    self.submit(session.plan_mask(at, key))
                self._asked = wanted
            return

    def ask_early(self, session: Session, at: SliceAt, key: ObjectKey, prompts: Prompts) -> None:
        """Begin with the mask of an object whose prompts are about to become these.

        Its answer waits until `ask_masks` asks for the very same; if that never happens, nothing comes of it.
        """
        # A mask that was asked for must not give way to one that may never be.
        if self._asked is None:
            prompts = session.state(at).of(key).corrected(prompts)
            with suppress(MedclipsamError):
                self._early = _Early((at, key, prompts), session.plan_mask(at, key, prompts))
                self.worker.submit(self._early.request)

    def _adopt_early(self, wanted: _Wanted) -> bool:
        """Take the early mask for the one that is asked for now, if it is; else forget it."""
        early, self._early = self._early, None
        if early is None or early.wanted != wanted:
            return False
        self._pending.add(early.request)
        for event in early.events:
            self._posted.emit(event)
        return True

    def look_ahead(self, session: Session, at: SliceAt, direction: int) -> None:
        """Encode the slice on screen and its neighbours while there is nothing else to do."""
        near = (at.moved(at.index + direction * step) for step in (_AHEAD if at.axis is not None else (0,)))
        planned = (session.plan_embedding(slice_at) for slice_at in near)
        self.worker.prefetch([request for request in planned if request is not None])

    def cancel(self) -> None:
        """Stop what the models are at in this image, before its next slice; its outcome until then still comes."""
        self._asked = self._early = None
        self.worker.cancel(OF_IMAGE)

    def drop(self) -> None:
        """Forget all work for the image so far; a scan of other images goes on."""
        self._pending.clear()
        self.cancel()

    def close(self) -> None:
        """End the thread and deliver nothing more; what the model is at in this moment is waited for."""
        self._receive = None
        self.worker.close()


def _wanted(request: Any) -> _Wanted | None:
    """Return what a request for a mask answers; None for other requests."""
    return (request.at, request.key, request.prompts) if isinstance(request, MaskRequest) else None


@dataclass
class _Early:
    """A mask that was begun before it was asked for, and what the worker has said of it."""

    wanted: _Wanted
    request: MaskRequest
    events: list[Event] = field(default_factory=list)
