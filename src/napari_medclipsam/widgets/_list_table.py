"""A table that is looked at and chosen from, never typed into."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget


def list_table(columns: Sequence[str], stretched: int, tip: str) -> QTableWidget:
    """Return a table without rows, of which whole rows are selected; the column `stretched` takes the room there is."""
    table = QTableWidget(0, len(columns))
    table.setToolTip(tip)
    table.setHorizontalHeaderLabels(list(columns))
    rows, header = table.verticalHeader(), table.horizontalHeader()
    assert rows is not None and header is not None  # every table has them
    rows.setVisible(False)
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(stretched, QHeaderView.ResizeMode.Stretch)
    table.setWordWrap(False)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    # Letters are verbs here, not a search in the table.
    table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return table
