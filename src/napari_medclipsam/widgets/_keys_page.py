"""The cheat sheet."""

from __future__ import annotations

from html import escape

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_medclipsam.widgets._actions import ACTIONS, MOUSE, shown_key


class KeysPage(QWidget):
    """Every key and what the mouse does."""

    def __init__(self) -> None:
        super().__init__()
        keys = "".join(
            f"<tr><td style='padding: 2px 10px 2px 0'><b>{escape(shown_key(action.key))}</b></td>"
            f"<td>{escape(action.tip)}</td></tr>"
            for action in ACTIONS
        )
        # What the mouse does is too long for a column.
        mouse = "".join(f"<p><b>{escape(gesture)}:</b> {escape(text)}</p>" for gesture, text in MOUSE)
        label = QLabel(f"<table>{keys}</table>{mouse}")
        label.setWordWrap(True)
        label.setToolTip("These keys work whatever layer is selected.")
        layout = QVBoxLayout(self)
        layout.addWidget(label)
        layout.addStretch(1)
