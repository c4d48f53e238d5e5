"""What the dock shows of second readings: a banner while one is read, a panel while two are settled, and buttons."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QGridLayout,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medclipsam.projects.settling import Dispute
from napari_medclipsam.widgets._buttons import Button
from napari_medclipsam.wording import counted

if TYPE_CHECKING:
    from napari_medclipsam.widgets._project_desk import ProjectDesk
    from napari_medclipsam.widgets._second_desk import SecondDesk
    from napari_medclipsam.widgets._workspace import Workspace

_SHOWN_ROWS = 2


class SecondButtons(QWidget):
    """A row of the project page.

    Parameters
    ----------
    desk : ProjectDesk
        Whose project it is.
    second : SecondDesk
        Does what is asked for here.
    selected : callable
        Returns the id of the study that is selected; "" for none.
    """

    def __init__(self, desk: ProjectDesk, second: SecondDesk, selected: Callable[[], str]) -> None:
        super().__init__()
        self._desk, self._second, self._selected = desk, second, selected
        tip = "Read the selected study a second time, blind: nothing of the first reading is shown. For another reader."
        self.blind = Button("Second reading", tip, self._read, "look")
        tip = "Where two readers differ in the selected study: keep the first, take the second, or edit."
        self.settle = Button("Settle …", tip, self._settle, "accept")
        self.reader = Button("Reader …", "Go on under another name.", second.change_reader)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        for column, button in enumerate((self.blind, self.settle, self.reader)):
            layout.addWidget(button, 0, column)
            layout.setColumnStretch(column, 1)
        desk.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Offer what can be done."""
        project = self._desk.project
        self.reader.setEnabled(project is not None)
        for button in (self.blind, self.settle):
            button.setEnabled(project is not None and not project.read_only)

    def _read(self) -> None:
        self._do(self._second.read_blind)

    def _settle(self) -> None:
        self._do(self._second.settle)

    def _do(self, verb: Callable[[str], None]) -> None:
        if case_id := self._selected():
            verb(case_id)
        else:
            self._desk.said.emit("Select a study in the list first.")


class ReadingBanner(QLabel):
    """Says, above all pages, that a second reading is open; hidden while none is."""

    def __init__(self, second: SecondDesk) -> None:
        super().__init__()
        self._second = second
        self.setWordWrap(True)
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setToolTip("What you do belongs to the second reading. Nothing of the first one is shown or used.")
        second.changed.connect(self.refresh)
        self.refresh()

    def color(self, background: str, text: str) -> None:
        """Show it in colours of the theme."""
        self.setStyleSheet(f"background: {background}; color: {text}; font-weight: bold; padding: 4px")

    def refresh(self) -> None:
        """Show what is read now."""
        self.setText(self._second.blind_text)
        self.setVisible(bool(self.text()))


class SettlingPanel(QWidget):
    """Above all pages, while two readings are settled: the slices that differ, and what can be done with each.

    Parameters
    ----------
    workspace : Workspace
        Shows the slice.
    second : SecondDesk
        Does what is asked for here.
    """

    def __init__(self, workspace: Workspace, second: SecondDesk) -> None:
        super().__init__()
        self._workspace, self._second = workspace, second
        self._shown: list[Dispute] = []
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.title.setToolTip("The first reading is filled, the second one drawn as an outline.")
        self.table = _table()
        self.table.cellClicked.connect(self._on_clicked)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 4)
        column.setSpacing(3)
        column.addWidget(self.title)
        column.addWidget(self.table)
        grid = QGridLayout()
        grid.setSpacing(3)
        self.buttons = (
            Button("Keep first", "Keep the first reading of this slice.", partial(second.choose, "first"), "undo"),
            Button("Take second", "Take the second reading of this slice.", partial(second.choose, "second"), "redo"),
            Button(
                "Accept as edited",
                "Accept the slice as it is in the mask now: edit it with brush or prompts first.",
                partial(second.choose, "edit"),
                "accept",
            ),
        )
        end = Button("End", "Settle the rest another time.", second.finish, "cancel")
        for place, button in enumerate((*self.buttons, end)):
            grid.addWidget(button, place // 2, place % 2)
        column.addLayout(grid)
        second.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what is left."""
        settling, disputes = self._second.settling, self._second.disputes
        self.setVisible(settling is not None)
        if settling is None:
            return
        who = f" ({', '.join(settling.readers)})" if settling.readers else ""
        self.title.setText(f"The second reading{who} differs on {counted(len(disputes), 'slice')}.")
        session, at = self._workspace.session, self._workspace.at
        if disputes != self._shown and session is not None:
            self._shown = list(disputes)
            self.table.setRowCount(len(disputes))
            for row, dispute in enumerate(disputes):
                names = {label: session.classes[label].name for label in dispute.dice if label in session.classes}
                told = ", ".join(f"{names.get(label, label)} {dice:.2f}" for label, dice in dispute.dice.items())
                for place, text in enumerate((str(dispute.at.index), told)):
                    item = QTableWidgetItem(text)
                    item.setToolTip(text)
                    self.table.setItem(row, place, item)
        here = next((row for row, dispute in enumerate(disputes) if dispute.at == at), None)
        self.table.clearSelection() if here is None else self.table.selectRow(here)
        for button in self.buttons:
            button.setEnabled(here is not None)

    def _on_clicked(self, row: int, _: int) -> None:
        self._second.go(self._second.disputes[row].at)


def _table() -> QTableWidget:
    table = QTableWidget(0, 2)
    table.setToolTip("The slices that differ, those that differ most first. Click one to see it.")
    table.setHorizontalHeaderLabels(["Slice", "Dice of the two readings"])
    rows, columns = table.verticalHeader(), table.horizontalHeader()
    assert rows is not None and columns is not None  # every table has them
    rows.setVisible(False)
    columns.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
    columns.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    # Letters are verbs here, not a search in the table.
    table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    table.setFixedHeight(columns.sizeHint().height() + _SHOWN_ROWS * rows.defaultSectionSize() + 2)
    return table
