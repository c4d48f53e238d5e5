"""Flag, note and whether all is saved: one row about the slice on screen, while a case of a project is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QWidget

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.widgets._actions import PROJECT_ACTIONS
from napari_medclipsam.widgets._buttons import Button

if TYPE_CHECKING:
    from napari_medclipsam.widgets._project_desk import ProjectDesk
    from napari_medclipsam.widgets._workspace import Workspace

_LONGEST_STATE = 20


class CaseRow(QWidget):
    """One row.

    Parameters
    ----------
    workspace : Workspace
        Shows the slice.
    desk : ProjectDesk
        Keeps flag and note.
    """

    def __init__(self, workspace: Workspace, desk: ProjectDesk) -> None:
        super().__init__()
        self._workspace, self._desk = workspace, desk
        self._at: SliceAt | None = None
        self._warning_color = ""
        (action,) = PROJECT_ACTIONS
        self.flag = Button(action.label, action.tooltip, desk.toggle_flag, action.icon)
        self.flag.setCheckable(True)
        self.note = QLineEdit()
        self.note.setPlaceholderText("Note on this slice")
        self.note.setToolTip("One line about the slice on screen; Enter keeps it.")
        self.note.editingFinished.connect(self._write)
        self.note.returnPressed.connect(self.note.clearFocus)
        self.state = QLabel()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.flag)
        layout.addWidget(self.note, 1)
        layout.addWidget(self.state)
        desk.changed.connect(self.refresh)
        desk.saved.connect(self.show_state)
        self.refresh()

    def color_warning(self, color: str) -> None:
        """Show warnings in a colour of the theme."""
        self._warning_color = color
        self.show_state()

    def refresh(self) -> None:
        """Show what is noted of the slice on screen; what was being typed belongs to the slice before."""
        if self._workspace.at != self._at:
            self._write()
        noted = self._desk.noted()
        self.setVisible(noted is not None)
        self._at = self._workspace.at
        if noted is not None and not self.note.isModified():
            self.flag.setChecked(bool(noted.get("flag")))
            self.note.setText(noted.get("note", ""))
            self.note.setCursorPosition(0)
        self.show_state()

    def show_state(self) -> None:
        """Show whether all is saved."""
        text, is_warning = self._desk.saved_text
        # A long trouble is in the tooltip and among the sentences.
        self.state.setText(text if len(text) <= _LONGEST_STATE else "NOT SAVED")
        self.state.setToolTip(text)
        self.state.setStyleSheet(f"color: {self._warning_color}; font-weight: bold" if is_warning else "")

    def _write(self) -> None:
        if self.note.isModified() and self._at is not None:
            self.note.setModified(False)
            self._desk.write_note(self.note.text(), self._at)
