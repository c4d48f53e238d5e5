"""Pages that scroll where there is little room."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QFrame, QScrollArea, QSizePolicy, QVBoxLayout, QWidget


class Scrolled(QScrollArea):
    """Scrolls down only: never narrower than its page wants to be, and as low as need be.

    Parameters
    ----------
    page : QWidget
        Is shown as high as there is room, and no lower than its least height.
    """

    def __init__(self, page: QWidget) -> None:
        super().__init__()
        self._page = _Lowest(page)
        self.setWidgetResizable(True)
        self.setWidget(self._page)
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


def scrolled_above(page: QWidget, *last: QWidget) -> QWidget:
    """Return a page that scrolls where other docks leave it little room, and below it what is always to be seen."""
    whole = QWidget()
    column = QVBoxLayout(whole)
    column.setContentsMargins(0, 0, 0, 4)
    column.setSpacing(5)
    column.addWidget(Scrolled(page), 1)
    below = QVBoxLayout()
    below.setContentsMargins(4, 0, 4, 0)
    for widget in last:
        below.addWidget(widget)
    column.addLayout(below)
    return whole


def both_ways(page: QWidget) -> QScrollArea:
    """Return a page that asks for no room of its own, and scrolls both ways."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setWidget(page)
    # As wide as the other pages want it.
    area.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
    return area


class _Lowest(QWidget):
    """Has a page scroll where there is less room than it needs; `QScrollArea` does where it is less than it likes."""

    def __init__(self, page: QWidget) -> None:
        super().__init__()
        self._held = page
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(page)

    def heightForWidth(self, width: int) -> int:
        """Return the least height at which all is seen."""
        layout = self._held.layout()
        return -1 if layout is None else layout.minimumHeightForWidth(width)
