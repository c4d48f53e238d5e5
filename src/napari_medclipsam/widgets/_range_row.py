"""Which slices propagation and the whole volume go to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSpinBox, QWidget

from napari_medclipsam.widgets._buttons import Button

if TYPE_CHECKING:
    from napari_medclipsam.widgets._workspace import Workspace


class RangeRow(QWidget):
    """First and last slice, on the axis that is scrolled.

    Parameters
    ----------
    workspace : Workspace
        Gets the range; all slices are None.
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._stack: object = None
        self.first, self.last = (self._box(f"The {name} slice that may be changed.") for name in ("first", "last"))
        self.every = Button("All", "All slices.", self._reset)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (QLabel("Slices"), self.first, QLabel("to"), self.last):
            layout.addWidget(widget, int(isinstance(widget, QSpinBox)))
        layout.addWidget(self.every)

    def refresh(self) -> None:
        """Fit the range to the image and axis on screen."""
        session, at = self._workspace.session, self._workspace.at
        self.setEnabled(session is not None and at is not None and at.axis is not None)
        stack = (session, at.axis if at else None)
        if session is None or at is None or stack == self._stack:
            return
        self._stack = stack
        for box in (self.first, self.last):
            box.blockSignals(True)
            box.setMaximum(session.image.n_slices(at) - 1)
            box.blockSignals(False)
        self._reset()

    def _reset(self) -> None:
        self.first.setValue(0)
        self.last.setValue(self.last.maximum())
        self._workspace.first = self._workspace.last = None

    def _box(self, tip: str) -> QSpinBox:
        box = QSpinBox()
        box.setToolTip(tip)
        box.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        box.valueChanged.connect(self._on_value)
        return box

    def _on_value(self) -> None:
        self._workspace.first, self._workspace.last = self.first.value(), self.last.value()
