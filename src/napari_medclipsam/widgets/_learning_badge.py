"""What the main dock shows of learning: a badge while a learnt version answers, and the way to the Learning dock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QWidget

from napari_medclipsam.learning import wording
from napari_medclipsam.widgets._buttons import Button
from napari_medclipsam.wording import counted

if TYPE_CHECKING:
    from napari_medclipsam.widgets._learning_desk import LearningDesk


class LearningBadge(QPushButton):
    """Says which version answers; pressed, it opens the Learning dock. Hidden while the model itself answers.

    Parameters
    ----------
    learning : LearningDesk
        Knows.
    opened : callable
        Opens the dock.
    model : QLabel
        Says which model answers; hidden while the badge does, for there is little room.
    """

    def __init__(self, learning: LearningDesk, opened: Callable[[], None], model: QLabel) -> None:
        super().__init__()
        self._learning, self._model = learning, model
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setToolTip("Which version of the model answers.")
        self.clicked.connect(lambda _=False: opened())
        learning.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what answers now."""
        version = self._learning.using
        self.setVisible(version is not None)
        self._model.setVisible(version is None)
        if version is not None:
            self.setText(wording.badge_words(version))
            self.setToolTip(f"{self._model.text()}.\n{wording.version_words(version)}\nClick for all versions.")


class LearningRow(QWidget):
    """A line of the page Project: how learning is, and the button that opens its dock."""

    def __init__(self, learning: LearningDesk, opened: Callable[[], None]) -> None:
        super().__init__()
        self._learning = learning
        tip = "Learn from the accepted slices, see what came of it, and choose the version in use."
        self.button = Button("Learning …", tip, opened, "learn")
        self.words = QLabel()
        self.words.setWordWrap(True)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.button)
        layout.addWidget(self.words, 1)
        learning.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show how it is."""
        learning, using = self._learning, self._learning.using
        self.button.setEnabled(learning.project is not None)
        words = "" if using is None else f"{wording.badge_words(using)}."
        if learning.is_learning:
            words = wording.state_words(learning.status)
        elif learning.project is not None and using is None:
            words = f"{counted(learning.n_accepted, 'accepted slice')} to learn from."
        self.words.setText(words)
