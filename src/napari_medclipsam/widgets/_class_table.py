"""The classes: shown or hidden, label, name, colour, voxels and volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QCursor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHBoxLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medclipsam.annotation.book import Change
from napari_medclipsam.annotation.overview import ClassRow
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.widgets import _questions as questions
from napari_medclipsam.widgets._buttons import Button
from napari_medclipsam.widgets._said import said_on_error
from napari_medclipsam.wording import counted

if TYPE_CHECKING:
    from napari_medclipsam.widgets._project_desk import ProjectDesk
    from napari_medclipsam.widgets._workspace import Workspace

_COLUMNS = (
    ("Label", "Its number in the mask, and its colour: click to choose another. Unchecked: hidden."),
    ("Name", "Double-click to rename."),
    ("Voxels", "In the accepted mask."),
    ("ml", "Volume of the accepted mask; empty where the voxel size is not known."),
)
_LABEL, _NAME, _VOXELS, _ML = range(len(_COLUMNS))
_SHOWN_ROWS = 2


class ClassTable(QWidget):
    """A table and buttons for classes and objects.

    Parameters
    ----------
    workspace : Workspace
        Whose session has the classes.
    desk : ProjectDesk
        Other cases may have masks of them, too.
    """

    def __init__(self, workspace: Workspace, desk: ProjectDesk) -> None:
        super().__init__()
        self._workspace, self._desk = workspace, desk
        self.said = workspace.said
        self._shown: object = None
        self.table = _table()
        self.table.itemChanged.connect(self._on_changed)
        self.table.cellClicked.connect(self._on_clicked)
        self.table.currentCellChanged.connect(self._on_current)
        buttons = QHBoxLayout()
        for label, tip, clicked, icon in (
            ("Class", "Add a class and make it the current one.", self._add_class, "plus"),
            ("Object", "Start another object of the current class.", self._add_object, "plus"),
            ("Words …", "Other words that the current class is asked for with.", self._reword, ""),
            ("Remove", "Remove the current class, if nothing is labelled with it.", self._remove, "minus"),
        ):
            buttons.addWidget(Button(label, tip, clicked, icon))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.table)
        layout.addLayout(buttons)

    def refresh(self) -> None:
        """Show the classes as they are now."""
        session = self._workspace.session
        rows = [] if session is None else session.class_rows(self._workspace.at)
        current = None if session is None else session.current
        if (rows, current) == self._shown:
            return
        self._shown = (rows, current)
        self.table.blockSignals(True)
        try:
            self.table.setRowCount(len(rows))
            for number, row in enumerate(rows):
                self._fill(number, row, session)
                if current is not None and row.structure.label == current.label:
                    self.table.selectRow(number)
        finally:
            self.table.blockSignals(False)

    def _fill(self, number: int, row: ClassRow, session: Session | None) -> None:
        current = session.current if session is not None else None
        label = QTableWidgetItem(str(row.structure.label))
        label.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsUserCheckable)
        label.setCheckState(Qt.CheckState.Checked if row.structure.shown else Qt.CheckState.Unchecked)
        label.setIcon(_swatch(row.structure.color))
        name = QTableWidgetItem(row.structure.name)
        objects = counted(row.n_objects, "object")
        is_current = current is not None and current.label == row.structure.label
        number_of = f", object {current.number} is current" if current is not None and is_current else ""
        words = f"; also: {', '.join(row.structure.prompts)}" if row.structure.prompts else ""
        name.setToolTip(f"{row.structure.name}: {objects}{number_of}{words}")
        self.table.setItem(number, _LABEL, label)
        self.table.setItem(number, _NAME, name)
        figures = (f"{row.voxels:,}", "" if row.ml is None else f"{row.ml:.2f}")
        for column, text in zip((_VOXELS, _ML), figures, strict=True):
            item = QTableWidgetItem(text)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.table.setItem(number, column, item)

    def _label_of(self, row: int) -> int | None:
        item = self.table.item(row, _LABEL)
        return None if item is None else int(item.text())

    @said_on_error
    def _on_changed(self, item: QTableWidgetItem) -> None:
        label, session = self._label_of(item.row()), self._workspace.session
        if label is None or session is None:
            return
        self._shown = None
        try:
            if item.column() == _NAME:
                # A question closes the editor of the table: what was typed is taken first.
                name = item.text()
                if self._desk.classes.may_rename(label, name):
                    session.classes.rename(label, name)
            else:
                session.classes.show(label, item.checkState() == Qt.CheckState.Checked)
        finally:
            self._workspace.draw(Change(classes=True))

    def _on_clicked(self, row: int, column: int) -> None:
        label, session = self._label_of(row), self._workspace.session
        item = self.table.item(row, _LABEL)
        if label is None or session is None or item is None or column != _LABEL:
            return
        # The check box is in the same cell: a click on it has just changed what is shown.
        if (item.checkState() == Qt.CheckState.Checked) != session.classes[label].shown or self._is_on_check_box(item):
            return
        color = QColorDialog.getColor(QColor(session.classes[label].color), self, "Colour of the class")
        if color.isValid():
            session.classes.recolor(label, color.name().upper())
            self._workspace.draw(Change(classes=True))

    def _is_on_check_box(self, item: QTableWidgetItem) -> bool:
        rectangle = self.table.visualItemRect(item)
        viewport = self.table.viewport()
        assert viewport is not None  # every table has one
        return viewport.mapFromGlobal(QCursor.pos()).x() < rectangle.left() + rectangle.height()

    def _on_current(self, row: int, *_: int) -> None:
        label = self._label_of(row)
        if label is not None:
            self._workspace.choose(label)

    @said_on_error
    def _add_class(self) -> None:
        session = self._workspace.require_session()
        number = 1 + max((structure.label for structure in session.classes), default=0)
        added = session.classes.add(f"structure {number}")
        self._workspace.choose(added.label)
        self._workspace.draw(Change(classes=True))

    @said_on_error
    def _add_object(self) -> None:
        session = self._workspace.require_session()
        if session.current is None:
            self._add_class()
            return
        self._workspace.choose(session.current.label, new_object=True)
        assert session.current is not None  # it has just been chosen
        name = session.classes[session.current.label].name
        self.said.emit(f"{name}, object {session.current.number}: click on it or draw a box.")

    @said_on_error
    def _reword(self) -> None:
        session = self._workspace.require_session()
        if session.current is None:
            self.said.emit("Select a class in the table first.")
            return
        structure = session.classes[session.current.label]
        words = questions.class_words(self, structure.name, structure.prompts)
        if words is not None:
            session.classes.reword(structure.label, words)
            self._workspace.draw(Change(classes=True))

    @said_on_error
    def _remove(self) -> None:
        session = self._workspace.require_session()
        if session.current is None:
            return
        is_done = self._desk.classes.remove(session.current.label)
        self._workspace.draw(Change(classes=True) if is_done else session.remove_class(session.current.label))


def _table() -> QTableWidget:
    table = QTableWidget(0, len(_COLUMNS))
    table.setToolTip("The classes; prompts and strokes go to the one that is selected.")
    table.setHorizontalHeaderLabels([name for name, _ in _COLUMNS])
    for column, (_, tip) in enumerate(_COLUMNS):
        header = table.horizontalHeaderItem(column)
        assert header is not None  # it has just been set
        header.setToolTip(tip)
    rows, columns = table.verticalHeader(), table.horizontalHeader()
    assert rows is not None and columns is not None  # every table has them
    rows.setVisible(False)
    columns.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    columns.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
    # Letters are verbs here, not a search in the table.
    table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    table.setMinimumHeight(columns.sizeHint().height() + _SHOWN_ROWS * rows.defaultSectionSize())
    return table


def _swatch(color: str) -> QIcon:
    pixels = QPixmap(14, 14)
    pixels.fill(QColor(color))
    icon = QIcon(pixels)
    # Selected, it keeps its colour.
    icon.addPixmap(pixels, QIcon.Mode.Selected)
    return icon
