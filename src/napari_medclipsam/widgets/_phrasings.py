"""A window that compares phrasings: what each sees in the slice on screen, side by side; a click asks one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import (
    QDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_medclipsam.annotation.phrasings import PhrasingsRequest
from napari_medclipsam.annotation.requests import verdict_of
from napari_medclipsam.annotation.worker_events import Done, Event, Failed, Progressed
from napari_medclipsam.errors import MedclipsamError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.wording import duration
from napari_medclipsam.models.contracts import SaliencyMap
from napari_medclipsam.prompting.text import MAX_PHRASINGS
from napari_medclipsam.saliency.caution import caution_of
from napari_medclipsam.saliency.overlay import overlaid
from napari_medclipsam.widgets._answer_label import SIGNS, figures
from napari_medclipsam.widgets._buttons import Button, color_icons

if TYPE_CHECKING:
    from napari_medclipsam.widgets._workspace import Workspace

_COLUMNS = 3
_PICTURE_PX = 200
_HOW = f"One phrasing in a line, at most {MAX_PHRASINGS}. A click on a picture asks that one."


class PhrasingsWindow(QDialog):
    """See the head of this module.

    Parameters
    ----------
    workspace : Workspace
        Has the slice and the models.
    ask : callable
        Told the phrasing that was chosen.
    parent : QWidget
        Whose window this one lies over.
    """

    def __init__(self, workspace: Workspace, ask: Callable[[str], None], parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Compare phrasings")
        self._workspace, self._ask = workspace, ask
        self._asked: PhrasingsRequest | None = None
        self.field = QPlainTextEdit()
        self.field.setPlaceholderText("brain tumor\nglioma\na bright mass")
        self.field.setToolTip(_HOW)
        self.field.setTabChangesFocus(True)
        self.field.setFixedHeight((MAX_PHRASINGS + 1) * self.fontMetrics().lineSpacing())
        self.button = Button("Compare", "See what each phrasing finds in the slice on screen.", self.compare, "compare")
        self.stop = Button("Cancel", "Stop; nothing changes.", self._cancel, "cancel")
        self.told = QLabel(_HOW)
        self.told.setWordWrap(True)
        self.cards: list[QToolButton] = []
        self._grid = QGridLayout()
        self._grid.setSpacing(6)
        row = QHBoxLayout()
        row.addWidget(self.told, 1)
        row.addWidget(self.stop)
        row.addWidget(self.button)
        column = QVBoxLayout(self)
        column.addWidget(self.field)
        column.addLayout(row)
        column.addLayout(self._grid)
        column.addStretch(1)
        self.stop.setVisible(False)
        color_icons(self, workspace.viewer.theme)
        workspace.work.happened.connect(self._on_event)

    def open_with(self, texts: Sequence[str]) -> None:
        """Come to the front; where nothing is written yet, with these texts."""
        if not self.field.toPlainText().strip():
            self.field.setPlainText("\n".join(texts[:MAX_PHRASINGS]))
        self.show()
        self.raise_()
        self.field.setFocus()

    def compare(self) -> None:
        """Ask for all phrasings in the slice on screen."""
        try:
            session, at = self._workspace.require_slice()
            request = session.plan_phrasings(at, self.field.toPlainText().splitlines())
        except MedclipsamError as error:
            self.told.setText(str(error))
            return
        self._asked = request
        self._workspace.work.worker.submit(request)
        self._show_busy("Looking …")

    def _cancel(self) -> None:
        self._workspace.work.worker.cancel([PhrasingsRequest.kind])
        self._asked = None
        self._show_busy("")

    def _show_busy(self, told: str) -> None:
        self.told.setText(told or _HOW)
        self.stop.setVisible(self._asked is not None)
        self.button.setEnabled(self._asked is None)

    def _on_event(self, event: Event) -> None:
        asked = self._asked
        if asked is None:
            return
        image = asked.image
        if getattr(event, "request", None) is not asked:
            return
        if isinstance(event, Progressed):
            left = "" if event.left_s is None else f", about {duration(event.left_s)} left"
            self.told.setText(f"Looking: {event.done / event.total:.0%}{left}")
        elif isinstance(event, (Done, Failed)):
            self._asked = None
            self._show_busy(event.message if isinstance(event, Failed) else "")
            if isinstance(event, Done) and event.outcome is not None:
                self._show(image, event.outcome)

    def _show(self, image: Slice, answers: Sequence[SaliencyMap]) -> None:
        for card in self.cards:
            self._grid.removeWidget(card)
            card.deleteLater()
        self.cards = [self._card(image, seen) for seen in answers]
        for place, card in enumerate(self.cards):
            self._grid.addWidget(card, place // _COLUMNS, place % _COLUMNS)
        session = self._workspace.session
        if session is not None and (caution := caution_of(answers, session.image)):
            self.told.setText(caution)
        self.adjustSize()

    def _card(self, image: Slice, seen: SaliencyMap) -> QToolButton:
        verdict = verdict_of(seen)
        card = QToolButton()
        card.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        picture = _pixmap(image, overlaid(image, seen.values_yx))
        card.setIcon(QIcon(picture))
        card.setIconSize(QSize(_PICTURE_PX, picture.height()))
        title = self.fontMetrics().elidedText(seen.text, Qt.TextElideMode.ElideRight, _PICTURE_PX)
        card.setText(f"{title}\n{SIGNS[verdict]} {verdict}\n{figures(seen) if seen.known else ''}")
        card.setToolTip(f"{seen.text}\nClick to look for this one.")
        card.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        card.clicked.connect(partial(self._choose, seen.text))
        return card

    def _choose(self, text: str, _: bool = False) -> None:
        self.hide()
        self._ask(text)

    def shut(self) -> None:
        """Listen no more, and go."""
        self._workspace.work.happened.disconnect(self._on_event)
        self.close()


def _pixmap(image: Slice, pixels: np.ndarray) -> QPixmap:
    height, width = pixels.shape[:2]
    made = QImage(np.ascontiguousarray(pixels).tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888).copy()
    size_xy = image.drawn_size_xy(_PICTURE_PX)
    ignored, smooth = Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
    return QPixmap.fromImage(made).scaled(*size_xy, ignored, smooth)
