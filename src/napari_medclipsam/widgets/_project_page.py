"""The page "Project": which project is open, its studies and how far they are, masks in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medclipsam.projects.progress import StudyRow
from napari_medclipsam.widgets import _questions as questions
from napari_medclipsam.widgets._buttons import Button
from napari_medclipsam.widgets._export_dialog import ask_export
from napari_medclipsam.widgets._list_table import list_table
from napari_medclipsam.widgets._second_rows import SecondButtons

if TYPE_CHECKING:
    from napari_medclipsam.widgets._mask_exchange import MaskExchange
    from napari_medclipsam.widgets._project_desk import ProjectDesk
    from napari_medclipsam.widgets._second_desk import SecondDesk

_COLUMNS = (
    ("Case", "Its id: it names files and layers, and says nothing about the patient."),
    ("Image", "The file or folder that was added."),
    ("State", "new, in work, done, flagged (a slice is), damaged (its journal is), or source moved."),
    ("Slices", "Accepted slices of all slices; after +, those of the second reading."),
)
_CASE, _IMAGE, _STATE, _SLICES = range(len(_COLUMNS))
_NO_PROJECT = "No project is open. A project keeps many studies, and every step of labelling, in one folder."


class ProjectPage(QWidget):
    """A page of the dock.

    Parameters
    ----------
    desk : ProjectDesk
        Does what is asked for here.
    exchange : MaskExchange
        Masks in and out.
    second : SecondDesk
        Does what belongs to second readings.
    """

    effort_wanted = Signal()

    def __init__(self, desk: ProjectDesk, exchange: MaskExchange, second: SecondDesk) -> None:
        super().__init__()
        self._desk, self._exchange = desk, exchange
        self.name = _label()
        self.saved = QLabel()
        self.saved.setToolTip("Whether every step is on the disk.")
        self.warning = _label()
        self.table = _table()
        self.table.cellDoubleClicked.connect(self._on_double_click)
        self.copy = QCheckBox("Copy into the project")
        self.copy.setToolTip("Else images stay where they are, and the project remembers where.")
        self.done = Button("Done", "This case needs no more work; pressed again, it does.", self._toggle_done, "accept")
        self.done.setCheckable(True)
        self.second = SecondButtons(desk, second, self._selected)
        self.message = _label()
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.message.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.message.setMinimumHeight(3 * self.fontMetrics().lineSpacing())
        self._shown: list[StudyRow] = []
        self._bold: str | None = None
        self._lay_out()
        self.setAcceptDrops(True)
        desk.changed.connect(self.refresh)
        desk.saved.connect(self._show_saved)
        desk.said.connect(self.message.setText)
        self.refresh()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(5)
        new = Button("New …", "Make a project in a new folder.", self._new, "plus")
        opening = Button("Open …", "Open the folder of a project.", self._open, "open")
        close = Button("Close", "Save and close the project.", self._desk.close, "cancel")
        tip = "Open the selected study where it was left; the same as a double-click."
        self.open_case = Button("Open study", tip, self._open_selected, "look")
        files = Button(
            "Add files …", "Add NIfTI files, pictures or DICOM files; or drop them here.", self._add_files, "plus"
        )
        tip = "Add a DICOM folder, or a folder of studies; or drop it here."
        folder = Button("Add folder …", tip, self._add_folder, "plus")
        tip = "Write accepted masks as NIfTI, DICOM-SEG, nnU-Net, COCO or a table of volumes."
        self.export = Button("Export …", tip, self._export, "export")
        tip = "Take a mask of another program into the open case."
        self.import_mask = Button("Import mask …", tip, self._import, "save")
        tip = "What the work has cost, how good proposals are, and when to stop: plots, CSV and pictures."
        effort = Button("Effort …", tip, self.effort_wanted.emit, "effort")
        self._of_project = (close, files, folder, self.copy, self.export, effort)
        column.addLayout(_row(new, opening, close))
        head = QHBoxLayout()
        head.addWidget(self.name, 1)
        head.addWidget(self.saved)
        column.addLayout(head)
        column.addWidget(self.warning)
        column.addWidget(self.table, 1)
        column.addLayout(_row(self.open_case, self.done, effort))
        column.addWidget(self.second)
        column.addLayout(_row(files, folder))
        column.addWidget(self.copy)
        column.addLayout(_row(self.export, self.import_mask))
        column.addWidget(self.message)

    def add_row(self, widget: QWidget) -> None:
        """Add what belongs to a project as a whole, above the sentences."""
        column = self.layout()
        assert isinstance(column, QVBoxLayout)  # it was made here
        column.insertWidget(column.count() - 1, widget)

    def color_warning(self, color: str) -> None:
        """Show warnings in a colour of the theme."""
        self.warning.setStyleSheet(f"color: {color}; font-weight: bold")

    def refresh(self) -> None:
        """Show the project and its studies as they are now."""
        project, case = self._desk.project, self._desk.case
        if project is None:
            self.name.setText(_NO_PROJECT)
        else:
            self.name.setText(f"{project.folder.name}, read by {project.reader}")
            self.name.setToolTip(str(project.folder))
        self._show_saved()
        for widget in self._of_project:
            widget.setEnabled(project is not None)
        self.open_case.setEnabled(project is not None)
        for button in (self.done, self.import_mask):
            button.setEnabled(case is not None and project is not None and not project.read_only)
        self.done.setChecked(case is not None and bool(case.notes.get(None, {}).get("done")))
        self._fill([] if project is None else list(self._desk.rows.values()))

    def _show_saved(self) -> None:
        """Show what is on the disk: in a word, and trouble in a sentence of its own."""
        project, (text, is_warning) = self._desk.project, self._desk.saved_text
        self.saved.setText("" if is_warning else text)
        self.warning.setText("" if project is None else project.read_only or (text if is_warning else ""))
        self.warning.setVisible(bool(self.warning.text()))

    def _fill(self, rows: list[StudyRow]) -> None:
        self.table.setRowCount(len(rows))
        current = None if self._desk.case is None else self._desk.case.study.case
        for number, row in enumerate(rows):
            if number >= len(self._shown) or self._shown[number] != row:
                flags = f" ({row.n_flags})" if row.n_flags else ""
                second = "" if row.n_second is None else f" + {row.n_second}"
                slices = f"{row.n_accepted}{second} / {row.n_slices}"
                texts = (row.case, row.name, f"{row.state}{flags}", slices)
                for column, text in enumerate(texts):
                    self.table.setItem(number, column, _item(text, right=column == _SLICES))
            if row.case in (current, self._bold):
                item = self.table.item(number, _CASE)
                assert item is not None  # it has just been set
                font = item.font()
                font.setBold(row.case == current)
                item.setFont(font)
        self._bold = current
        self._shown = rows

    # Buttons.

    def _new(self) -> None:
        path = questions.new_folder(self)
        if path is not None:
            self._desk.create(path)

    def _open(self) -> None:
        path = questions.folder(self, "Open a project")
        if path is not None:
            self._desk.open(path)

    def _selected(self) -> str:
        item = self.table.item(self.table.currentRow(), _CASE)
        return "" if item is None else item.text()

    def _open_selected(self) -> None:
        self._on_double_click(self.table.currentRow())

    def _on_double_click(self, row: int, column: int = 0) -> None:
        item = self.table.item(row, _CASE)
        if item is not None:
            self._desk.open_case(item.text())

    def _add_files(self) -> None:
        self._add(questions.image_files(self))

    def _add_folder(self) -> None:
        path = questions.folder(self, "Add a folder of images")
        self._add([] if path is None else [path])

    def _add(self, paths: list[Path]) -> None:
        if paths:
            self._desk.add(paths, copy=self.copy.isChecked())

    def _toggle_done(self) -> None:
        self._desk.set_done(self.done.isChecked())
        self.refresh()

    def _export(self) -> None:
        project, case = self._desk.project, self._desk.case
        if project is None:
            return
        chosen = ask_export(self, project.folder.name, None if case is None else case.study.case)
        if chosen is not None:
            self._exchange.export(chosen.form, chosen.output, only_this=chosen.only_this, deidentify=chosen.deidentify)

    def _import(self) -> None:
        path = questions.mask_file(self)
        if path is not None:
            self._exchange.import_mask(path)

    # Drag and drop.

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take files and folders."""
        mime = None if event is None else event.mimeData()
        if event is not None and mime is not None and mime.hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Add what was dropped."""
        mime = None if event is None else event.mimeData()
        if event is None or mime is None:
            return
        event.acceptProposedAction()
        self._add([Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile()])


def _row(*widgets: QWidget) -> QGridLayout:
    layout = QGridLayout()
    layout.setSpacing(3)
    for column, widget in enumerate(widgets):
        layout.addWidget(widget, 0, column)
        layout.setColumnStretch(column, 1)
    return layout


def _label() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    return label


def _item(text: str, *, right: bool) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    item.setToolTip(text)
    if right:
        item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return item


def _table() -> QTableWidget:
    tip = "The studies of the project: double-click one to open it. Drop images here to add them."
    table = list_table([name for name, _ in _COLUMNS], _IMAGE, tip)
    for column, (_, tip) in enumerate(_COLUMNS):
        header = table.horizontalHeaderItem(column)
        assert header is not None  # it has just been set
        header.setToolTip(tip)
    table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
    return table
