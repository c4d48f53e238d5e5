"""The review queue beside the labelling: accept and go on, why this slice, and how far the project is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_medclipsam.widgets._actions import QUEUE_ACTIONS
from napari_medclipsam.widgets._buttons import Button

if TYPE_CHECKING:
    from napari_medclipsam.widgets._queue_desk import QueueDesk
    from napari_medclipsam.widgets._verbs import Verbs
    from napari_medclipsam.widgets._workspace import Workspace


class QueueRow(QWidget):
    """Two buttons and a sentence, while a project is open.

    Parameters
    ----------
    workspace : Workspace
        Shows the slice.
    queue : QueueDesk
        Knows why.
    verbs : Verbs
        What the buttons do.
    """

    def __init__(self, workspace: Workspace, queue: QueueDesk, verbs: Verbs) -> None:
        super().__init__()
        self._queue = queue
        self.buttons = {
            action.verb: Button(action.label, action.tooltip, getattr(verbs, action.verb), action.icon)
            for action in QUEUE_ACTIONS
        }
        self.why = QLabel()
        self.why.setWordWrap(True)
        self.why.setToolTip("Why the queue has brought you to this slice.")
        row = QHBoxLayout()
        row.setSpacing(3)
        for number, button in enumerate(self.buttons.values()):
            row.addWidget(button, 2 - number)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addLayout(row)
        layout.addWidget(self.why)
        queue.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show why this slice, if the queue has brought the reader here."""
        self.setVisible(self._queue.walk is not None)
        self.why.setText(self._queue.why)
        self.why.setVisible(bool(self.why.text()))


class ProgressLine(QLabel):
    """How far the project is, on every page."""

    def __init__(self, queue: QueueDesk) -> None:
        super().__init__()
        self._queue = queue
        self.setContentsMargins(6, 2, 6, 3)
        self.setToolTip("Slices of the project that need no more work, and how long the rest takes at your pace.")
        queue.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show it anew."""
        self.setText(self._queue.progress)
        self.setVisible(bool(self.text()))
