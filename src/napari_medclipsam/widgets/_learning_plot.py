"""A small plot, light enough to be drawn anew several times a second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

_LINES = 7
_DOT_PX = 3.0
_FADED = 90
# A flat curve is drawn in the middle.
_LEAST_SPAN = 1e-6


@dataclass(frozen=True)
class Mark:
    """One dot, with the interval it may lie in.

    Parameters
    ----------
    x, y : float
    low, high : float
        Ends of the interval; both y where it is not known.
    name : str
        Below it.
    is_filled : bool
        It stands out.
    """

    x: float
    y: float
    low: float
    high: float
    name: str
    is_filled: bool


class Plot(QWidget):
    """Title, one line or some dots, and the ends of both axes.

    Parameters
    ----------
    color : str
        Of the line.
    """

    def __init__(self, color: str) -> None:
        super().__init__()
        self._color, self._text_color = QColor(color), QColor("gray")
        self.title, self.empty, self.unit = "", "", ""
        self.points: Sequence[tuple[float, float]] = ()
        self.marks: Sequence[Mark] = ()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def color_text(self, color: str) -> None:
        """Write in a colour of the theme."""
        self._text_color = QColor(color)
        self.update()

    def show_line(self, title: str, points: Sequence[tuple[float, float]], empty: str, unit: str = " s") -> None:
        """Show a curve; `empty` is what to say where there is none."""
        self._show(title, points, (), empty, unit)

    def show_marks(self, title: str, marks: Sequence[Mark], empty: str) -> None:
        """Show dots beside each other."""
        self._show(title, (), marks, empty, "")

    def _show(
        self, title: str, points: Sequence[tuple[float, float]], marks: Sequence[Mark], empty: str, unit: str
    ) -> None:
        if (title, points, marks, empty) != (self.title, self.points, self.marks, self.empty):
            self.title, self.points, self.marks, self.empty, self.unit = title, points, marks, empty, unit
            self.update()

    def sizeHint(self) -> QSize:
        """Return room for some lines of letters."""
        metrics = self.fontMetrics()
        return QSize(16 * metrics.averageCharWidth(), _LINES * metrics.lineSpacing())

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw it."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(self._text_color)
        line = self.fontMetrics().lineSpacing()
        painter.drawText(QRectF(0, 0, self.width(), line), Qt.AlignmentFlag.AlignLeft, self.title)
        values = [y for _, y in self.points if not math.isnan(y)] + [end for m in self.marks for end in (m.low, m.high)]
        if not values:
            box = QRectF(0, line, self.width(), self.height() - line)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self.empty)
            return
        low, high = min(values), max(values)
        names = [f"{high:.3g}", f"{low:.3g}"]
        left = max(self.fontMetrics().horizontalAdvance(name) for name in names) + 6
        area = QRectF(left, 1.4 * line, self.width() - left - 6, self.height() - 2.8 * line)
        self._draw_axes(painter, area, names, line)
        span = max(high - low, _LEAST_SPAN)
        ends = [x for x, _ in self.points] + [m.x for m in self.marks]
        first, width = min(ends), max(max(ends) - min(ends), _LEAST_SPAN)

        def place(x: float, y: float) -> QPointF:
            # One dot alone is in the middle.
            across = 0.5 if len(self.marks) == 1 else (x - first) / width
            return QPointF(area.left() + across * area.width(), area.bottom() - (y - low) / span * area.height())

        painter.setPen(QPen(self._color, 2))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for is_gap, part in groupby(self.points, lambda point: math.isnan(point[1])):
            line_points = [] if is_gap else [place(*point) for point in part]
            if len(line_points) == 1:
                painter.drawEllipse(line_points[0], _DOT_PX, _DOT_PX)
            elif line_points:
                painter.drawPolyline(QPolygonF(line_points))
        self._draw_marks(painter, place)
        self._name_ends(painter, area, line, place)

    def _draw_axes(self, painter: QPainter, area: QRectF, names: list[str], line: int) -> None:
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for name, y in zip(names, (area.top(), area.bottom()), strict=True):
            painter.drawText(QRectF(0, y - line / 2, area.left() - 4, line), right, name)
        faded = QColor(self._text_color)
        faded.setAlpha(_FADED)
        painter.setPen(faded)
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        painter.drawLine(area.topLeft(), area.bottomLeft())

    def _draw_marks(self, painter: QPainter, place) -> None:  # type: ignore[no-untyped-def]
        for mark in self.marks:
            painter.setPen(QPen(self._color, 1.5))
            painter.drawLine(place(mark.x, mark.low), place(mark.x, mark.high))
            painter.setBrush(self._color if mark.is_filled else Qt.BrushStyle.NoBrush)
            painter.drawEllipse(place(mark.x, mark.y), _DOT_PX + 1, _DOT_PX + 1)

    def _name_ends(self, painter: QPainter, area: QRectF, line: int, place) -> None:  # type: ignore[no-untyped-def]
        painter.setPen(self._text_color)
        box = QRectF(area.left(), area.bottom() + line * 0.2, area.width(), line)
        if self.points:
            last = f"{self.points[-1][0]:.0f}{self.unit}"
            painter.drawText(box, Qt.AlignmentFlag.AlignLeft, f"{self.points[0][0]:.0f}{self.unit}")
            if self.points[-1][0] - self.points[0][0] >= 1:
                painter.drawText(box, Qt.AlignmentFlag.AlignRight, last)
        ends = {0, len(self.marks) - 1}
        for number in (n for n in ends if 0 <= n < len(self.marks)):
            mark = self.marks[number]
            half = self.fontMetrics().horizontalAdvance(mark.name) / 2 + 2
            x = min(max(place(mark.x, mark.y).x(), half), self.width() - half)
            painter.drawText(QRectF(x - half, box.top(), 2 * half, line), Qt.AlignmentFlag.AlignCenter, mark.name)
