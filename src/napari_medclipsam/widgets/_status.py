"""What goes on: the model's state, progress with a way to stop it, and the last sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable

from napari.utils import progress
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QVBoxLayout, QWidget

from napari_medclipsam.annotation.worker import OF_PROJECT
from napari_medclipsam.annotation.worker_events import (
    Done,
    Event,
    Failed,
    Loading,
    NotReady,
    Progressed,
    Ready,
    Started,
)
from napari_medclipsam.learning.wording import duration
from napari_medclipsam.widgets._buttons import Button
from napari_medclipsam.wording import counted

# What is done in less needs no bar.
_PATIENCE_MS = 500
# Whose progress is that of the steps of a map, which mean nothing to the reader.
_STEPS = ("text", "phrasings")
# Of a slice, so that a slow one is seen to move.
_PARTS = 100
_NAMES = {
    "text": "Looking for the text",
    "phrasings": "Comparing phrasings",
    "mask": "Outlining",
    "ask": "Answering",
    "propagation": "Propagating",
    "volume": "Going through the slices",
}


class Status(QWidget):
    """Progress, in napari's activity dock as well, and sentences.

    Parameters
    ----------
    cancel : callable
        Called when the user wants to stop.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        super().__init__()
        self.model = QLabel("Model: loading …")
        self.model.setWordWrap(True)
        self.model.setToolTip("The model and its state. Choose another one under Options.")
        self.bar = QProgressBar()
        self.bar.setToolTip("How far the models are.")
        self.bar.setTextVisible(True)
        self.stop = Button("Cancel", "Stop before the next slice; what was found until then is kept.", cancel, "cancel")
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.message.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.message.setMinimumHeight(2 * self.fontMetrics().lineSpacing() + 4)
        self._activity: progress | None = None
        self._running: list[object] = []
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(_PATIENCE_MS)
        self._patience.timeout.connect(self._show_busy)
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.stop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.message)
        layout.addLayout(row)
        layout.addWidget(self.model)
        self._hide_bar()

    def say(self, sentence: str) -> None:
        """Show a sentence until the next one."""
        self.message.setText(sentence)

    def show_event(self, event: Event) -> None:
        """Show what the model worker reports; work on a whole project is shown with it."""
        if getattr(getattr(event, "request", None), "kind", "") in OF_PROJECT:
            return
        match event:
            case Loading():
                self.model.setText(f"Model: loading {event.choice.title} …")
            case Ready():
                # The message stays here: the next answer would take its place among the other sentences.
                state = f"Model: {event.choice.title} on {_device(event.choice.device)}, ready"
                self.model.setText(f"{state}. {event.message}" if event.message else state)
            case NotReady():
                self.model.setText(f"Model: {event.choice.title} can't be used")
                self.say(event.message)
            case Started():
                self._running.append(event.request)
                self._patience.start()
            case Progressed():
                self._show_progress(event)
            case Done() | Failed():
                self._end(event)

    def close_activity(self) -> None:
        """Take our bar out of napari's activity dock."""
        if self._activity is not None:
            self._activity.close()
            self._activity = None

    def _end(self, event: Done | Failed) -> None:
        self._running = [request for request in self._running if request is not event.request]
        if isinstance(event, Failed):
            self.say(event.message)
        if not self._running:
            self._patience.stop()
            self._hide_bar()
            self.close_activity()

    def _show_busy(self) -> None:
        if self._running and self._activity is None:
            self.bar.setRange(0, 0)
            self._show_bar(self._running[-1])

    def _show_progress(self, event: Progressed) -> None:
        if self._patience.isActive():
            # Our bar comes first, by itself: napari draws the whole window anew when its own appears.
            return
        if self._activity is None:
            self._activity = progress(total=event.total, desc=_name(event.request))
            self._show_bar(event.request)
        self.bar.setRange(0, event.total * _PARTS)
        self.bar.setValue(round(event.done * _PARTS))
        in_steps = event.request.kind in _STEPS
        told = (
            f"{event.done / event.total:.0%}" if in_steps else f"{int(event.done)} of {counted(event.total, 'slice')}"
        )
        left = "" if event.left_s is None else f", about {duration(event.left_s)} left"
        # What it is stands in the activity dock; here is room for little more than the time.
        self.bar.setFormat(told + left)
        self._activity.update(int(event.done) - self._activity.n)

    def _show_bar(self, request: object) -> None:
        self.bar.setFormat(f"{_name(request)} …")
        self.bar.setVisible(True)
        self.stop.setVisible(True)

    def _hide_bar(self) -> None:
        self.bar.setVisible(False)
        self.stop.setVisible(False)


def _device(chosen: str | None) -> str:
    """Return the device that is used, in the library's own words where one was found for the user."""
    # Importing the library for a word would take seconds; where it is not loaded, neither is a model of it.
    if chosen is None and "torch" in sys.modules:
        from napari_medclipsam.models.device import choose_device

        return str(choose_device())
    return chosen or "the best device"


def _name(request: object) -> str:
    return _NAMES.get(getattr(request, "kind", ""), "Working")
