"""What a reader decides is called done when it is on the disk; until then the window says "saving …" and goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from napari_medclipsam.widgets._project_desk import ProjectDesk

_LOOK_MS = 15
_SLOW_S = 1.0
_SLOW = "The disk is slow: not everything is on it yet."


class WhenSaved(QObject):
    """Says sentences as soon as what they are about is on the disk.

    Parameters
    ----------
    desk : ProjectDesk
        Whose case is written.
    """

    def __init__(self, desk: ProjectDesk) -> None:
        super().__init__(desk)
        self._desk = desk
        self._sentence, self._since = "", 0.0
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)

    def say(self, sentence: str) -> None:
        """Say a sentence now where all is saved, or nothing is to be; else soon. A newer sentence takes its place."""
        self._sentence, self._since = sentence, time.monotonic()
        self._desk.saved.emit()
        self._look()

    def _look(self) -> None:
        case = self._desk.case
        trouble = "" if case is None else case.trouble
        if case is None or not case.unsaved or trouble:
            self._end(trouble or self._sentence)
        elif time.monotonic() - self._since > _SLOW_S:
            self._end(_SLOW)
        else:
            self._timer.start()

    def _end(self, sentence: str) -> None:
        self._timer.stop()
        self._sentence = ""
        self._desk.said.emit(sentence)
        self._desk.saved.emit()
