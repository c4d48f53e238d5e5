"""The pictures of the effort dashboard: drawn in a thread, as many beside each other as there is room for."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.qt.threading import create_worker
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QFontInfo, QImage, QPixmap, QResizeEvent
from qtpy.QtWidgets import QFrame, QGridLayout, QLabel, QVBoxLayout, QWidget

from napari_medclipsam.projects.panels import Look, Panel, picture

# In letters: a panel is no narrower than that, and no wider than twice that.
_LETTERS = 38
_MOST_COLUMNS = 3
# Height of a picture as a share of its width, and at most in lines.
_SHAPE = 0.52
_REDRAW_MS = 200


class PanelBox(QFrame):
    """Title, picture and sentence of one panel."""

    def __init__(self, panel: Panel) -> None:
        super().__init__()
        self.panel = panel
        title = QLabel(panel.title)
        title.setWordWrap(True)
        title.setAlignment(Qt.AlignmentFlag.AlignTop)
        font = title.font()
        font.setBold(True)
        title.setFont(font)
        self.picture = QLabel()
        self.picture.setToolTip(panel.words)
        self.words = QLabel(panel.words)
        self.words.setWordWrap(True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 8)
        layout.setSpacing(4)
        layout.addWidget(title)
        layout.addWidget(self.picture)
        layout.addWidget(self.words)
        layout.addStretch(1)
        self.picture.setVisible(panel.draw is not None)

    def show_picture(self, pixels: np.ndarray, ratio: float) -> None:
        """Show a drawn picture; `ratio` is pixels of the screen per unit of the window."""
        height, width = pixels.shape[:2]
        image = QImage(pixels.tobytes(), width, height, 4 * width, QImage.Format.Format_RGBA8888).copy()
        pixmap = QPixmap.fromImage(image)
        pixmap.setDevicePixelRatio(ratio)
        self.picture.setPixmap(pixmap)


class PanelGrid(QWidget):
    """All panels.

    Parameters
    ----------
    viewer : ViewerModel
        Whose theme they follow.
    """

    failed = Signal(str)

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer
        self.boxes: list[PanelBox] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(6)
        self._worker: Any = None
        self._drawn: tuple[Any, ...] = ()
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(_REDRAW_MS)
        self._later.timeout.connect(self._draw)

    def show_panels(self, panels: list[Panel]) -> None:
        """Show other panels; their pictures follow."""
        for box in self.boxes:
            self._grid.removeWidget(box)
            box.deleteLater()
        self.boxes = [PanelBox(panel) for panel in panels]
        self._drawn = ()
        self._arrange()
        self._draw()

    def minimumSizeHint(self) -> QSize:
        """Return the width of one narrow column: what is wider is never cut, and what is narrower scrolls."""
        return QSize(_LETTERS * self.fontMetrics().averageCharWidth() // 2, super().minimumSizeHint().height())

    @property
    def _columns(self) -> int:
        letters = self.width() // max(1, self.fontMetrics().averageCharWidth())
        return max(1, min(_MOST_COLUMNS, letters // _LETTERS))

    def _arrange(self) -> None:
        columns = self._columns
        for place, box in enumerate(self.boxes):
            self._grid.addWidget(box, place // columns, place % columns)
        for column in range(_MOST_COLUMNS):
            self._grid.setColumnStretch(column, int(column < columns))
        for box in self.boxes:
            box.picture.setFixedHeight(self._picture_size()[1])
            # Any width: the picture follows the window, never the other way round.
            box.picture.setMinimumWidth(1)

    def _picture_size(self) -> tuple[int, int]:
        width = self.width() // self._columns - 24
        return max(160, width), min(max(130, int(_SHAPE * width)), 16 * self.fontMetrics().lineSpacing())

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Use the room, and draw anew once the size has come to rest."""
        super().resizeEvent(event)
        self._arrange()
        self._later.start()

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow theme and letters."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._later.start()

    @property
    def look(self) -> Look:
        """Colours and letters of the window."""
        theme = get_theme(self._viewer.theme)
        size = QFontInfo(self.font()).pixelSize() * self.devicePixelRatioF()
        return Look(theme.text.as_hex("long"), theme.foreground.as_hex("long"), size)

    def _draw(self) -> None:
        """Have the pictures drawn in a thread; a newer order takes the place of one that is under way."""
        look = self.look
        self.setStyleSheet(f"PanelBox {{ background: {look.paper}; border-radius: 4px }}")
        width, height = self._picture_size()
        ratio = self.devicePixelRatioF()
        size = (round(width * ratio), round(height * ratio))
        wanted = (size, look)
        if wanted == self._drawn or not self.boxes:
            return
        self._drawn = wanted
        self.stop()
        boxes = [box for box in self.boxes if box.panel.draw is not None]
        worker = create_worker(_pictures, [box.panel for box in boxes], *size, look, _ignore_errors=True)
        worker.yielded.connect(lambda found: self._show(worker, boxes[found[0]], found[1], ratio))
        worker.errored.connect(lambda error: self.failed.emit(str(error)))
        self._worker = worker
        worker.start()

    def _show(self, worker: Any, box: PanelBox, pixels: np.ndarray, ratio: float) -> None:
        if worker is self._worker:
            box.show_picture(pixels, ratio)

    def stop(self) -> None:
        """Draw nothing more."""
        self._later.stop()
        if self._worker is not None:
            self._worker.quit()
            self._worker = None


def _pictures(panels: list[Panel], width_px: int, height_px: int, look: Look) -> Any:
    """Draw one after the other; the body of the thread."""
    for number, panel in enumerate(panels):
        yield number, picture(panel, width_px, height_px, look)
