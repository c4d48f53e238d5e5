"""The dock "Learning": what learns from the accepted slices, what came of it, and which version is in use."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QSize, Qt, QTimer
from qtpy.QtGui import QCloseEvent, QShowEvent
from qtpy.QtWidgets import QDockWidget, QLabel, QMainWindow, QTabWidget, QVBoxLayout, QWidget

from napari_medclipsam.widgets._buttons import color_icons
from napari_medclipsam.widgets._dock import MedClipSamDock
from napari_medclipsam.widgets._learning_compare import VersionCompare
from napari_medclipsam.widgets._learning_now import NowPage
from napari_medclipsam.widgets._learning_versions import VersionsPage
from napari_medclipsam.widgets._scrolled import Scrolled

if TYPE_CHECKING:
    from napari.components import ViewerModel

_NO_DOCK = "Learning needs the dock MedCLIP-SAM, which keeps the project: open it from Plugins > MedCLIP-SAM."


class LearningDock(QWidget):
    """A dock of its own, beside that of the work.

    Parameters
    ----------
    napari_viewer : ViewerModel
        Whose project learns.
    dock : MedClipSamDock, optional
        That of the viewer by default.
    """

    def __init__(self, napari_viewer: ViewerModel, dock: MedClipSamDock | None = None) -> None:
        super().__init__()
        self.viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._given = dock
        self._is_docked = False
        self.of: MedClipSamDock | None = None
        self.now: NowPage | None = None
        self.versions: VersionsPage | None = None
        self.compare: VersionCompare | None = None
        self.tabs = QTabWidget()
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.tabs, 1)
        column.addWidget(self.message)
        self._bind()

    def _bind(self) -> None:
        """Show the learning of the dock of the work, once there is one."""
        dock = self._given or _dock_of(self.viewer)
        if dock is self.of and dock is not None:
            return
        self._unbind()
        self.of = dock
        self.tabs.setVisible(dock is not None)
        self.message.setText(_NO_DOCK if dock is None else "")
        if dock is None:
            return
        self.compare = VersionCompare(dock.learning)
        self.now, self.versions = NowPage(dock.learning), VersionsPage(dock.learning, self.compare)
        self.tabs.addTab(Scrolled(self.now), "Learn")
        self.tabs.addTab(Scrolled(self.versions), "Versions")
        self.tabs.setTabToolTip(0, "What is being learnt, and how.")
        self.tabs.setTabToolTip(1, "What was learnt, how good it is, and which version is in use.")
        dock.learning.said.connect(self.message.setText)
        dock.destroyed.connect(self._on_destroyed)
        self._color()

    def _unbind(self) -> None:
        if self.compare is not None:
            with suppress(RuntimeError):
                self.compare.shut()
        while self.tabs.count():
            page = self.tabs.widget(0)
            self.tabs.removeTab(0)
            if page is not None:
                page.deleteLater()
        self.of = self.now = self.versions = self.compare = None

    def _on_destroyed(self) -> None:
        with suppress(RuntimeError):
            self.of = self.compare = None
            self._bind()

    def _color(self) -> None:
        theme = get_theme(self.viewer.theme)
        color_icons(self, self.viewer.theme)
        if self.now is not None:
            self.now.color(theme.text.as_hex())

    def sizeHint(self) -> QSize:
        """Return the least width: the image needs the room."""
        return QSize(self.minimumSizeHint().width(), super().sizeHint().height())

    def showEvent(self, event: QShowEvent | None) -> None:
        """Show what is open now."""
        super().showEvent(event)
        self._bind()
        holder = self.parent()
        if not self._is_docked and isinstance(holder, QDockWidget):
            self._is_docked = True
            # Not now: it is being docked.
            QTimer.singleShot(0, lambda: _beside(holder, self.of))
        if self.of is not None:
            self.of.learning.look()

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the theme; take away what is shown when napari takes this widget out of its dock."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            self._color()
        if event is not None and event.type() == QEvent.Type.ParentChange and self.parent() is None and self._is_docked:
            self._unbind()

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Take away what is shown; learning goes on."""
        self._unbind()
        super().closeEvent(event)


def open_learning(viewer: Any) -> bool:
    """Open the dock, or bring it to the front; False where the viewer has no window."""
    window = getattr(viewer, "window", None)
    if window is None:
        return False
    holder, _ = window.add_plugin_dock_widget("napari-medclipsam", "Learning", tabify=True)
    holder.show()
    QTimer.singleShot(0, holder.raise_)
    return True


def _dock_of(viewer: Any) -> MedClipSamDock | None:
    window = getattr(viewer, "window", None)
    docks = [] if window is None else window.dock_widgets.values()
    return next((dock for dock in docks if isinstance(dock, MedClipSamDock)), None)


def _beside(holder: QDockWidget, dock: MedClipSamDock | None) -> None:
    """Put a dock behind that of the work, as a tab: below it there is no room for both."""
    with suppress(RuntimeError):
        main, other = holder.parent(), None if dock is None else dock.parent()
        if isinstance(main, QMainWindow) and isinstance(other, QDockWidget) and not holder.isFloating():
            main.tabifyDockWidget(other, holder)
            holder.raise_()
