"""A page that scrolls down where there is little room."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QFrame, QScrollArea, QWidget


class Scrolled(QScrollArea):
    """Scrolls down only: never narrower than its page wants to be, and as low as need be.

    Parameters
    ----------
    page : QWidget
        Is shown as high as there is room, and no lower than its least height.
    """

    def __init__(self, page: QWidget) -> None:
        super().__init__()
        self._page = page
        self.setWidgetResizable(True)
        self.setWidget(page)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Grow with the page."""
        if watched is self._page and event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Leave the keys to the viewer, where they mean verbs."""
        if event is not None:
            event.ignore()

    def sizeHint(self) -> QSize:
        """Return what the page would like."""
        return QSize(self.minimumSizeHint().width(), self._page.sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        """Return the width of the page and of the bar beside it."""
        bar = self.verticalScrollBar()
        width = self._page.minimumSizeHint().width() + (0 if bar is None else bar.sizeHint().width())
        return QSize(width, super().minimumSizeHint().height())
