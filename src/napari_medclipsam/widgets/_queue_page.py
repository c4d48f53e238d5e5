"""The page "Queue": the slices that need a reader most, with the reasons, and a scan of those nobody has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QLabel,
    QProgressBar,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medclipsam.annotation.states import Status
from napari_medclipsam.projects.queue import OPEN, QueueItem
from napari_medclipsam.projects.walk import Filters, why_words
from napari_medclipsam.widgets._buttons import Button, row_of
from napari_medclipsam.widgets._list_table import list_table

if TYPE_CHECKING:
    from napari_medclipsam.widgets._project_desk import ProjectDesk
    from napari_medclipsam.widgets._queue_desk import QueueDesk

_COLUMNS = ("Case", "Slice", "Why", "Score")
_WHY = 2
_SHOWN = 20
_STATUSES: dict[str, tuple[Status, ...]] = {
    "Not accepted": OPEN,
    "Proposals": ("proposed",),
    "Prompts only": ("prompted",),
    "Nothing yet": ("untouched",),
    "Accepted": ("accepted",),
}
_EVERY_CLASS = "All classes"


class QueuePage(QWidget):
    """A page of the dock.

    Parameters
    ----------
    desk : ProjectDesk
        Has the project.
    queue : QueueDesk
        Does what is asked for here.
    """

    def __init__(self, desk: ProjectDesk, queue: QueueDesk) -> None:
        super().__init__()
        self._desk, self._queue = desk, queue
        self._shown: list[QueueItem] = []
        self.head = QLabel()
        self.head.setWordWrap(True)
        self.classes = _combo("Only slices where this class has a mask, or was asked for by a text.")
        self.classes.addItem(_EVERY_CLASS)
        self.statuses = _combo("Only slices that are so far.")
        self.statuses.addItems(list(_STATUSES))
        self.only_this = _check("This case only", "Only slices of the case that is open.")
        self.flagged = _check("Flagged only", "Only slices that a reader has flagged.")
        self.table = _table()
        self.table.cellDoubleClicked.connect(self._go_to)
        self.go = Button(
            "Go there", "Go to the selected slice; the same as a double-click.", self._go_to_selected, "look"
        )
        tip = "Let the model look for all classes in every slice that it was not asked about; you can go on working."
        self.scan = Button("Scan the rest", tip, queue.scan, "whole_volume")
        self.bar = QProgressBar()
        self.bar.setToolTip("Slices that the scan has looked at.")
        self.bar.setFormat("Scanning %v of %m")
        self.stop = Button("Cancel", "Stop before the next slice; what was found is kept.", queue.cancel_scan, "cancel")
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.message.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.message.setMinimumHeight(3 * self.fontMetrics().lineSpacing())
        self._lay_out()
        for combo in (self.classes, self.statuses):
            combo.activated.connect(lambda _: self._filter())
        for box in (self.only_this, self.flagged):
            box.clicked.connect(lambda _: self._filter())
        queue.changed.connect(self.refresh)
        queue.said.connect(self.message.setText)
        self.refresh()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(5)
        column.addWidget(self.head)
        for pair in ((self.classes, self.statuses), (self.only_this, self.flagged)):
            column.addLayout(row_of(*pair))
        column.addWidget(self.table, 1)
        column.addLayout(row_of(self.go, self.scan))
        column.addLayout(row_of(self.bar, self.stop))
        column.addWidget(self.message)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Show what has changed while another page was on top."""
        super().showEvent(event)
        self.refresh()

    def refresh(self) -> None:
        """Show the first of the queue, and a scan."""
        walk, scanned = self._queue.walk, self._queue.scanned
        for widget in (self.classes, self.statuses, self.only_this, self.flagged, self.go, self.scan):
            widget.setEnabled(walk is not None)
        self.scan.setEnabled(walk is not None and scanned is None)
        self.bar.setVisible(scanned is not None)
        self.stop.setVisible(scanned is not None)
        if scanned is not None:
            self.bar.setRange(0, scanned[1])
            self.bar.setValue(scanned[0])
        self._fill_classes()
        # The case that is open may be another.
        self._filter()
        if walk is None:
            self.head.setText("No project is open. Open one on the page Project.")
            self._fill([])
        elif self.isVisible():
            items = walk.items(_SHOWN)
            self.head.setText("" if items else walk.end_words())
            self._fill(items)
        self.head.setVisible(bool(self.head.text()))

    def _fill_classes(self) -> None:
        project = self._desk.project
        names = [_EVERY_CLASS, *([c.name for c in project.classes] if project is not None else [])]
        if names != [self.classes.itemText(i) for i in range(self.classes.count())]:
            chosen = self.classes.currentText()
            self.classes.clear()
            self.classes.addItems(names)
            self.classes.setCurrentIndex(max(0, self.classes.findText(chosen)))

    def _filter(self) -> None:
        project, case = self._desk.project, self._desk.case
        chosen = project.classes.named(self.classes.currentText()) if project and self.classes.currentIndex() else None
        self._queue.set_filters(
            Filters(
                _STATUSES[self.statuses.currentText()],
                None if chosen is None else chosen.label,
                case.study.case if case is not None and self.only_this.isChecked() else None,
                self.flagged.isChecked(),
            )
        )

    def _fill(self, items: list[QueueItem]) -> None:
        if items == self._shown:
            return
        self.table.setRowCount(len(items))
        for number, item in enumerate(items):
            why = why_words(item)
            index = "" if item.at.axis is None else str(item.at.index)
            for column, text in enumerate((item.case, index, why, f"{item.score:.2f}")):
                cell = QTableWidgetItem(text)
                cell.setToolTip(f"{item.status}: {why}")
                if column not in (0, _WHY):
                    cell.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(number, column, cell)
        self._shown = items

    def _go_to_selected(self) -> None:
        self._go_to(self.table.currentRow())

    def _go_to(self, row: int, column: int = 0) -> None:
        if 0 <= row < len(self._shown):
            self._queue.go_to(self._shown[row])


def _combo(tip: str) -> QComboBox:
    combo = QComboBox()
    combo.setToolTip(tip)
    # Letters are verbs here, not a search in the list.
    combo.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)
    return combo


def _check(text: str, tip: str) -> QCheckBox:
    box = QCheckBox(text)
    box.setToolTip(tip)
    box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return box


def _table() -> QTableWidget:
    return list_table(_COLUMNS, _WHY, "What needs you most comes first: double-click to go there.")
