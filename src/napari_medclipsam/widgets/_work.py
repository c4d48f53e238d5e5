"""What is asked of the models: planned by the session, run by the worker, and told to the widgets while it lasts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QApplication

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import Prompts
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.annotation.worker import OF_IMAGE, Done, Event, Failed, ModelWorker
from napari_medclipsam.widgets._libraries import load_beside_opengl

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
        self._asked: tuple[SliceAt, ObjectKey, Prompts] | None = None
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
        if isinstance(event, (Done, Failed)) and event.request.kind == "mask":
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
                request = session.plan_mask(at, key)
                self._asked = wanted
                self.submit(request)
            return

    def look_ahead(self, session: Session, at: SliceAt, direction: int) -> None:
        """Encode the slice on screen and its neighbours while there is nothing else to do."""
        near = (at.moved(at.index + direction * step) for step in (_AHEAD if at.axis is not None else (0,)))
        planned = (session.plan_embedding(slice_at) for slice_at in near)
        self.worker.prefetch([request for request in planned if request is not None])

    def drop(self) -> None:
        """Forget all work for the image so far; a scan of other images goes on."""
        self._asked = None
        self._pending.clear()
        self.worker.cancel(OF_IMAGE)

    def close(self) -> None:
        """End the thread and deliver nothing more; what the model is at in this moment is waited for."""
        self._receive = None
        self.worker.close()
