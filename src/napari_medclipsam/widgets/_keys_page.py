"""The cheat sheet."""

from __future__ import annotations

from html import escape

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_medclipsam.widgets._actions import ACTIONS, MOUSE, shown_key


class KeysPage(QWidget):
    """Every key and what the mouse does."""

    def __init__(self) -> None:
        super().__init__()
        lines = [(shown_key(action.key), action.tip) for action in ACTIONS] + list(MOUSE)
        rows = "".join(
            f"<tr><td style='padding: 2px 10px 2px 0'><b>{escape(key)}</b></td><td>{escape(text)}</td></tr>"
            for key, text in lines
        )
        label = QLabel(f"<table>{rows}</table>")
        label.setWordWrap(True)
        label.setToolTip("These keys work whatever layer is selected.")
        layout = QVBoxLayout(self)
        layout.addWidget(label)
        layout.addStretch(1)
