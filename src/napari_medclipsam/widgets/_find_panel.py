"""Finding slices of the project by a text, or because they look like the region that is selected."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QLabel,
    QProgressBar,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medclipsam.annotation.text_history import TextHistory
from napari_medclipsam.search.finding import Answer
from napari_medclipsam.search.rows import Kind
from napari_medclipsam.widgets._buttons import Button, row_of
from napari_medclipsam.widgets._find_row import FindRow
from napari_medclipsam.widgets._list_table import list_table

if TYPE_CHECKING:
    from napari_medclipsam.widgets._find_desk import FindDesk, Where
    from napari_medclipsam.widgets._project_desk import ProjectDesk

_COLUMNS = ("Case", "Slice", "How sure", "What")
_WHAT = 3
_KINDS = {Kind.SLICE: "whole slice", Kind.PART: "part of it", Kind.REGION: "accepted"}
_WHERE = {"Everywhere": "everywhere", "Other cases": "other cases", "This case": "this case"}


class FindPanel(QWidget):
    """A part of a page of the dock.

    Parameters
    ----------
    desk : ProjectDesk
        Has the project.
    find : FindDesk
        Does what is asked for here.
    history : TextHistory
        Gets the texts.
    """

    def __init__(self, desk: ProjectDesk, find: FindDesk, history: TextHistory) -> None:
        super().__init__()
        self._desk, self._find = desk, find
        self._shown: tuple[Answer, ...] = ()
        self.closed = QLabel("Open a project to search all its slices.")
        self.parts = QWidget()
        self.row = FindRow(self._find_text, history)
        self.row.field.setPlaceholderText("Find slices that show … e.g. brain tumor")
        self.row.field.setToolTip("Type what the slices should show, and press Enter.")
        self.row.button.setToolTip("Look for it in all slices of the project that are indexed (Enter).")
        tip = "Look for slices with something like the object that is selected, as it is in the slice on screen."
        self.like = Button("Find slices like this region", tip, self._find_like, "find")
        self.where = QComboBox()
        self.where.addItems(list(_WHERE))
        self.where.setToolTip("Where to look.")
        # Letters are verbs here, not a search in the list.
        self.where.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.accepted = QCheckBox("Accepted only")
        self.accepted.setToolTip("Only regions that a reader has accepted.")
        self.accepted.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.table = list_table(_COLUMNS, _WHAT, "The surest first: double-click, or Enter, to go there.")
        self.table.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.table.cellDoubleClicked.connect(self._go_to)
        for key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            enter = QShortcut(QKeySequence(key), self.table)
            enter.setContext(Qt.ShortcutContext.WidgetShortcut)
            enter.activated.connect(self._go_to_selected)
        tip = "Go to the selected slice; the same as a double-click."
        self.go = Button("Go there", tip, self._go_to_selected, "look")
        tip = "Index all slices that can't be found yet; you can go on working. Accepted slices come by themselves."
        self.build = Button("Index the rest", tip, find.build, "whole_volume")
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.bar = QProgressBar()
        self.bar.setToolTip("Slices that indexing has been through.")
        self.bar.setFormat("Indexing %v of %m")
        self.stop = Button("Cancel", "Stop before the next slice; what is indexed is kept.", find.cancel, "cancel")
        self._lay_out()
        find.changed.connect(self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        outer, column = QVBoxLayout(self), QVBoxLayout(self.parts)
        outer.addWidget(self.closed)
        outer.addWidget(self.parts)
        for layout in (outer, column):
            # Those of the page are around it.
            layout.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        column.addWidget(QLabel("Find in the whole project:"))
        column.addWidget(self.row)
        column.addWidget(self.like)
        column.addLayout(row_of(self.where, self.accepted))
        column.addWidget(self.message)
        column.addWidget(self.table, 1)
        column.addLayout(row_of(self.go, self.build))
        column.addLayout(row_of(self.bar, self.stop))
        column.addWidget(self.state)

    def refresh(self) -> None:
        """Show what was found, and how much is indexed."""
        find, has_project = self._find, self._desk.project is not None
        self.closed.setVisible(not has_project)
        self.parts.setVisible(has_project)
        is_indexing = find.indexed is not None
        self.build.setEnabled(not is_indexing)
        for part in (self.bar, self.stop):
            part.setVisible(is_indexing)
        if find.indexed is not None:
            done, total = find.indexed
            self.bar.setRange(0, total)
            self.bar.setValue(done)
        self.message.setText(find.message)
        self.message.setVisible(bool(self.message.text()))
        self.state.setText(find.coverage.words if find.coverage is not None else "")
        # Meanwhile the bar says it.
        self.state.setVisible(bool(self.state.text()) and not is_indexing)
        self._fill(() if find.found is None else find.found.answers)

    def _fill(self, answers: tuple[Answer, ...]) -> None:
        if answers != self._shown:
            names = self._find.class_names
            self.table.setRowCount(len(answers))
            for number, answer in enumerate(answers):
                what = f"{_KINDS[answer.kind]} {names.get(answer.label, '')}".strip()
                index = "–" if answer.at.axis is None else str(answer.at.index)
                for column, text in enumerate((answer.case, index, answer.words, what)):
                    cell = QTableWidgetItem(text)
                    cell.setToolTip(f"{answer.words} ({answer.score:.2f}): {what}")
                    self.table.setItem(number, column, cell)
            if answers:
                self.table.selectRow(0)
            self._shown = answers
        self.go.setEnabled(bool(answers))

    def _find_text(self, text: str) -> None:
        self._find.find(text, self._where(), accepted=self.accepted.isChecked())

    def _find_like(self) -> None:
        self._find.find_like(self._where(), accepted=self.accepted.isChecked())

    def _where(self) -> Where:
        return cast("Where", _WHERE[self.where.currentText()])

    def _go_to_selected(self) -> None:
        self._go_to(self.table.currentRow())

    def _go_to(self, row: int, column: int = 0) -> None:
        if 0 <= row < len(self._shown):
            self._find.go_to(self._shown[row])
