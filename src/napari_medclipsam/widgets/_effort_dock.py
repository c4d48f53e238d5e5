"""The dock "Effort": what a project has cost, how good the proposals are, and whether more slices are worth it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QEvent, Qt, QTimer, Signal
from qtpy.QtGui import QCloseEvent, QFontInfo, QShowEvent
from qtpy.QtWidgets import (
    QDockWidget,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from napari_medclipsam.errors import OutputError
from napari_medclipsam.projects.dashboard import Dashboard, dashboard_steps
from napari_medclipsam.projects.panels import panels_of
from napari_medclipsam.projects.plots import require_matplotlib, write_plots
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.report import Report, write_tables
from napari_medclipsam.widgets import _questions as questions
from napari_medclipsam.widgets._buttons import Button, color_icons
from napari_medclipsam.widgets._dock import MedClipSamDock
from napari_medclipsam.widgets._effort_panels import PanelGrid
from napari_medclipsam.widgets._long_work import LongWork
from napari_medclipsam.widgets._project_desk import ProjectDesk
from napari_medclipsam.widgets._said import said_on_error
from napari_medclipsam.widgets._scrolled import Scrolled

if TYPE_CHECKING:
    from napari.components import ViewerModel

_NO_PROJECT = "No project is open. Open one on the page Project of the dock MedCLIP-SAM, then press Refresh."
_NO_STUDIES = "The project has no studies yet. Add some on the page Project, accept a few slices, then press Refresh."
_NOTHING_YET = "No slice is accepted yet. Accept some on the page Label, then press Refresh."
_CARD_SCALE = 1.7
_SIZE = (1120, 740)


class EffortDock(QWidget):
    """A dock of its own.

    Parameters
    ----------
    napari_viewer : ViewerModel
        Whose project is shown.
    desk : ProjectDesk, optional
        That of the dock of the viewer by default.
    """

    said = Signal(str)

    def __init__(self, napari_viewer: ViewerModel, desk: ProjectDesk | None = None) -> None:
        super().__init__()
        self.viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._given = desk
        self.board: Dashboard | None = None
        self._of: Project | None = None
        self._worker: Any = None
        self._was_shown = False
        self.head = QLabel()
        self.head.setWordWrap(True)
        tip = "Read the journals again; only cases that have changed take time."
        self.again = Button("Refresh", tip, self.refresh, "reset")
        tip = "Write slices.csv, proposals.csv and figures.csv into a folder."
        self.save_tables = Button("Save CSV …", tip, self._save_tables, "save")
        tip = "Write quality.png, days.png and models.png into a folder."
        self.save_pictures = Button("Save pictures …", tip, self._save_pictures, "save")
        self.bar = QProgressBar()
        self.bar.setToolTip("Cases that are read.")
        self.bar.setFormat("Reading case %v of %m")
        self.stop = Button("Cancel", "Stop reading; what was read is kept for the next time.", self._stop, "cancel")
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.cards = QWidget()
        self._cards = QGridLayout(self.cards)
        self._cards.setContentsMargins(0, 0, 0, 0)
        self.panels = PanelGrid(self.viewer)
        self.panels.failed.connect(self.said)
        self.said.connect(self._say)
        self._lay_out()
        self._show_board()
        color_icons(self, self.viewer.theme)

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.setSpacing(3)
        for button in (self.again, self.save_tables, self.save_pictures):
            buttons.addWidget(button)
        buttons.addStretch(1)
        going = QHBoxLayout()
        going.addWidget(self.bar, 1)
        going.addWidget(self.stop)
        page = QWidget()
        read = QVBoxLayout(page)
        read.setContentsMargins(0, 0, 0, 0)
        read.setSpacing(6)
        read.addWidget(self.cards)
        read.addWidget(self.panels, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.setSpacing(6)
        column.addWidget(self.head)
        column.addLayout(buttons)
        column.addLayout(going)
        column.addWidget(self.message)
        column.addWidget(Scrolled(page), 1)
        self.bar.setVisible(False)
        self.stop.setVisible(False)

    @property
    def desk(self) -> ProjectDesk | None:
        """Where the project is open; None while there is no dock MedCLIP-SAM."""
        if self._given is not None:
            return self._given
        window = getattr(self.viewer, "window", None)
        docks = [] if window is None else window.dock_widgets.values()
        return next((dock.project for dock in docks if isinstance(dock, MedClipSamDock)), None)

    def refresh(self) -> None:
        """Compute everything anew, in a thread."""
        self._stop()
        desk = self.desk
        project = None if desk is None else desk.project
        if project is not self._of:
            self.board, self._of = None, project
        self._show_board()
        if project is None or not project.studies:
            return
        self.bar.setRange(0, len(project.studies))
        self._show_going(True)
        worker = create_worker(dashboard_steps, project, _ignore_errors=True)
        worker.yielded.connect(lambda step: self._on_step(worker, *step))
        worker.errored.connect(lambda error: self._on_error(worker, error))
        self._worker = worker
        worker.start()

    def _on_step(self, worker: Any, done: int, total: int, board: Dashboard | None) -> None:
        if worker is not self._worker:
            return
        self.bar.setRange(0, total - 1)
        self.bar.setValue(min(done, total - 1))
        if board is not None:
            self.board = board
            self._stop()
            self._show_board()

    def _on_error(self, worker: Any, error: Exception) -> None:
        if worker is self._worker:
            self._stop()
            self.said.emit(f"The figures could not be made: {error}")

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.quit()
            self._worker = None
        self._show_going(False)

    def _show_going(self, going: bool) -> None:
        self.bar.setVisible(going)
        self.stop.setVisible(going)

    def _show_board(self) -> None:
        project, board = self._of, self.board
        self.head.setText("" if project is None else f"<b>{project.folder.name}</b>")
        told = ""
        if project is None:
            told = _NO_PROJECT
        elif not project.studies:
            told = _NO_STUDIES
        elif board is not None and not board.total.n_slices:
            told = _NOTHING_YET
        has_pictures = board is not None and bool(board.total.n_slices)
        if board is not None and has_pictures:
            try:
                require_matplotlib()
            except OutputError as error:
                has_pictures, told = False, str(error)
        self._say(told)
        self.save_tables.setEnabled(board is not None)
        self.save_pictures.setEnabled(has_pictures)
        self._fill_cards(board.cards if board is not None and board.total.n_slices else [])
        self.panels.show_panels(panels_of(board) if board is not None and has_pictures else [])

    def _fill_cards(self, cards: list[tuple[str, str]]) -> None:
        while (item := self._cards.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        for place, (value, name) in enumerate(cards):
            number = QLabel(value)
            # A font alone gives way to napari's style sheet.
            number.setStyleSheet(
                f"font-size: {round(_CARD_SCALE * QFontInfo(self.font()).pixelSize())}px; font-weight: bold"
            )
            for row, label in enumerate((number, QLabel(name))):
                label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
                label.setToolTip(f"{value} {name}")
                self._cards.addWidget(label, row, place)
        self.cards.setVisible(bool(cards))

    # Files.

    def _save_tables(self) -> None:
        self._save(write_tables)

    def _save_pictures(self) -> None:
        self._save(write_plots)

    def _say(self, sentence: str) -> None:
        self.message.setText(sentence)
        self.message.setVisible(bool(sentence))

    @said_on_error
    def _save(self, write: Callable[[Report, Path], list[Path]]) -> None:
        """Write what the command line writes, into a folder that is asked for."""
        board, folder = self.board, questions.folder(self, "Where to write the figures")
        if board is None or folder is None:
            return
        written = LongWork("Writing the figures", self).run(lambda _: write(board.report, folder))
        self.said.emit(f"Wrote {', '.join(path.name for path in written)} to {folder}.")

    # The window.

    def showEvent(self, event: QShowEvent | None) -> None:
        """Show what is open now."""
        super().showEvent(event)
        holder = self.parent()
        if not self._was_shown and isinstance(holder, QDockWidget):
            # Pictures want room, and beside the image there is none; not now, for it is being docked.
            QTimer.singleShot(0, lambda: _float(holder))
        self._was_shown = True
        desk = self.desk
        if self.board is None or (desk.project if desk is not None else None) is not self._of:
            self.refresh()

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            color_icons(self, self.viewer.theme)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Leave no thread at work."""
        self._stop()
        self.panels.stop()
        super().closeEvent(event)


def open_effort(viewer: Any) -> bool:
    """Open the dashboard, or bring it to the front; False where the viewer has no window."""
    window = getattr(viewer, "window", None)
    if window is None:
        return False
    holder, dock = window.add_plugin_dock_widget("napari-medclipsam", "Effort")
    holder.show()
    holder.raise_()
    dock.refresh()
    return True


def _float(holder: QDockWidget) -> None:
    """Make a dock a window of its own; it can be put back."""
    with suppress(RuntimeError):
        holder.setFloating(True)
        holder.resize(*_SIZE)
