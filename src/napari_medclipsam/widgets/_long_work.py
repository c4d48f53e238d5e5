"""Work that takes a while: in a thread, with progress and a way to stop it, while the window waits and stays drawn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from qtpy.QtCore import QEventLoop, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QProgressDialog, QWidget

from napari_medclipsam.errors import MedclipsamError

# What is done in less needs no dialog.
_PATIENCE_MS = 400
_NO_INPUT = QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents
_ALL = QEventLoop.ProcessEventsFlag.AllEvents

Tell = Callable[[str, int, int], None]
"""Told what is being done, and how much of how much is done (0 of 0: not known); raises `StoppedError` on Cancel."""
T = TypeVar("T")


class StoppedError(MedclipsamError):
    """The user has stopped it."""


class LongWork(QObject):
    """One piece of work; nothing else can be done in the window until it ends.

    Parameters
    ----------
    title : str
        What is done, for the user.
    parent : QWidget
        Whose window waits.
    """

    _moved = Signal(str, int, int)
    _ended = Signal()

    def __init__(self, title: str, parent: QWidget) -> None:
        super().__init__(parent)
        self._dialog = QProgressDialog(f"{title} …", "Cancel", 0, 0, parent.window())
        self._dialog.setWindowTitle(title)
        self._dialog.setWindowModality(Qt.WindowModality.WindowModal)
        self._dialog.setAutoReset(False)
        self._dialog.setAutoClose(False)
        self._dialog.setMinimumWidth(360)
        # A new dialog shows itself after a while; this one is shown here.
        self._dialog.reset()
        self._stop = threading.Event()
        self._is_done = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._moved.connect(self._show)
        self._loop = QEventLoop()
        self._ended.connect(self._loop.quit)

    def run(self, work: Callable[[Tell], T]) -> T:
        """Do it, and return what it returns.

        Raises
        ------
        BaseException
            What it raises; `StoppedError` where it was stopped.
        """
        thread = threading.Thread(target=self._work, args=(work,), name="medclipsam project work", daemon=True)
        thread.start()
        try:
            self._wait()
            thread.join()
        finally:
            self._dialog.close()
            self._dialog.deleteLater()
            self.deleteLater()
        if self._error is not None:
            raise self._error
        result: T = self._result
        return result

    def _work(self, work: Callable[[Tell], Any]) -> None:
        try:
            self._result = work(self._tell)
        except BaseException as error:
            self._error = error
        finally:
            self._is_done = True
            with suppress(RuntimeError):
                self._ended.emit()

    def _tell(self, text: str, done: int, total: int) -> None:
        if self._stop.is_set():
            raise StoppedError("Stopped; what was done until then is kept.")
        self._moved.emit(text, done, total)

    def _wait(self) -> None:
        """Wait a little without a dialog, then with it; once it is cancelled, for the work to notice."""
        patience = QTimer(self)
        patience.setSingleShot(True)
        patience.timeout.connect(self._loop.quit)
        patience.start(_PATIENCE_MS)
        # What the user types meanwhile waits, too: it may mean what is about to change.
        self._loop.exec(_NO_INPUT)
        patience.stop()
        if not self._is_done:
            self._dialog.canceled.connect(self._stop.set)
            self._dialog.canceled.connect(self._loop.quit)
            self._dialog.show()
            self._loop.exec(_ALL)
        while not self._is_done:
            self._loop.exec(_NO_INPUT)

    def _show(self, text: str, done: int, total: int) -> None:
        if not self._stop.is_set():
            self._dialog.setLabelText(text)
            self._dialog.setRange(0, total)
            self._dialog.setValue(done)
