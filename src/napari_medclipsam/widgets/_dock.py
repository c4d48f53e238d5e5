"""The dock: everything for labelling an image by text, boxes, clicks and brush."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QCloseEvent, QKeyEvent, QShowEvent
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_medclipsam.annotation.text_history import TextHistory
from napari_medclipsam.annotation.worker import VERSIONS
from napari_medclipsam.annotation.worker_events import Event, ModelChoice, Ready
from napari_medclipsam.models.lite.phrases import phrase_book
from napari_medclipsam.widgets._actions import SLICE_ACTIONS, STACK_ACTIONS, VIEW_ACTIONS
from napari_medclipsam.widgets._answer_label import AnswerLabel
from napari_medclipsam.widgets._ask_desk import AskDesk
from napari_medclipsam.widgets._ask_page import AskPage
from napari_medclipsam.widgets._buttons import ActionButtons, Button, Keys, ToolButtons, color_icons
from napari_medclipsam.widgets._case_row import CaseRow
from napari_medclipsam.widgets._class_table import ClassTable
from napari_medclipsam.widgets._find_desk import FindDesk
from napari_medclipsam.widgets._find_panel import FindPanel
from napari_medclipsam.widgets._find_row import FindRow
from napari_medclipsam.widgets._image_row import ImageRow
from napari_medclipsam.widgets._keys_page import KeysPage
from napari_medclipsam.widgets._learning_badge import LearningBadge, LearningRow
from napari_medclipsam.widgets._learning_desk import LearningDesk
from napari_medclipsam.widgets._mask_exchange import MaskExchange
from napari_medclipsam.widgets._options_page import OptionsPage
from napari_medclipsam.widgets._phrasings import PhrasingsWindow
from napari_medclipsam.widgets._project_desk import ProjectDesk, release
from napari_medclipsam.widgets._project_page import ProjectPage
from napari_medclipsam.widgets._queue_desk import QueueDesk
from napari_medclipsam.widgets._queue_page import QueuePage
from napari_medclipsam.widgets._queue_row import ProgressLine, QueueRow
from napari_medclipsam.widgets._range_row import RangeRow
from napari_medclipsam.widgets._saliency_row import SaliencyRow
from napari_medclipsam.widgets._scrolled import Scrolled, both_ways, scrolled_above
from napari_medclipsam.widgets._second_desk import SecondDesk
from napari_medclipsam.widgets._second_rows import ReadingBanner, SettlingPanel
from napari_medclipsam.widgets._status import Status
from napari_medclipsam.widgets._verbs import Verbs
from napari_medclipsam.widgets._workspace import Workspace
from napari_medclipsam.wording import slice_place

if TYPE_CHECKING:
    from napari.components import ViewerModel

_STATUS = {
    "untouched": "nothing here yet",
    "prompted": "prompts",
    "proposed": "a proposal: accept or reject it",
    "accepted": "accepted",
}
# After this a dock that is shown has been drawn.
_DRAWN_MS = 300
_LETTER_MS = 30
_MODES = {"add": "point", "add_rectangle": "box", "select": "move", "paint": "paint", "erase": "erase"}


class MedClipSamDock(QWidget):
    """The dock of a viewer. The models start to load at once, in the background.

    Parameters
    ----------
    napari_viewer : ViewerModel
        The viewer.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self._is_docked = False
        # napari hands plugins a proxy, whose layers are proxies too and never the same object twice.
        self.viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.workspace = Workspace(self.viewer, self)
        self.project = ProjectDesk(self.workspace, self)
        self.exchange = MaskExchange(self.workspace, self.project, self)
        self.queue = QueueDesk(self.workspace, self.project)
        self.verbs = Verbs(self.workspace, self.project, self.queue)
        self.keys = Keys(self.viewer, self.verbs)
        self.image_row = ImageRow(self.workspace)
        history = TextHistory()
        self.find_row = FindRow(self._find, history, self._compare)
        self.phrasings = PhrasingsWindow(self.workspace, self.ask, self)
        self.answers = AnswerLabel()
        self.saliency_row = SaliencyRow(self._set_opacity, self.workspace.set_level, self.verbs.recut)
        self.tools = ToolButtons(self.verbs)
        self.classes = ClassTable(self.workspace, self.project)
        self.case_row = CaseRow(self.workspace, self.project)
        self.second = SecondDesk(self.workspace, self.project, self)
        # Room first: a window that has grown does not shrink again.
        self.second.changed.connect(self._make_room)
        self.banner = ReadingBanner(self.second)
        self.settling = SettlingPanel(self.workspace, self.second)
        self.project_page = ProjectPage(self.project, self.exchange, self.second)
        self.queue_row = QueueRow(self.workspace, self.queue, self.verbs)
        self.queue_page = QueuePage(self.project, self.queue)
        self.asking = AskDesk(self.workspace, self)
        self.ask_page = AskPage(self.asking)
        self.search = FindDesk(self.workspace, self.project)
        self.ask_page.bottom.addWidget(FindPanel(self.project, self.search, history))
        self.progress = ProgressLine(self.queue)
        self.learning = LearningDesk(self.workspace, self.project, self)
        self.place = QLabel()
        self.place.setToolTip("The slice on screen, and how far it is.")
        self.actions_ = ActionButtons(SLICE_ACTIONS, self.verbs, 4)
        self.view_actions = ActionButtons(VIEW_ACTIONS, self.verbs, 2)
        self.range_row = RangeRow(self.workspace)
        self.stack_actions = ActionButtons(STACK_ACTIONS, self.verbs, 2)
        self.options = OptionsPage(self.workspace, history)
        self.status = Status(self.verbs.cancel)
        self.badge = LearningBadge(self.learning, self._open_learning, self.status.model)
        self._lay_out()
        self._color_icons()
        self.find_row.field.focused.connect(self._prepare)
        self.project_page.effort_wanted.connect(self._open_effort)
        self.workspace.said.connect(self.status.say)
        self.workspace.work.happened.connect(self._on_event)
        self.workspace.refreshed.connect(self.refresh)
        layers = self.viewer.layers
        self._events = (layers.events.inserted, layers.events.removed, layers.selection.events.active)
        for events in self._events:
            events.connect(self._on_layers, position="last")
        self._is_closed = False
        worker = self.workspace.work.worker
        # A window that closes destroys its docks without closing them; it has been asked to save (`eventFilter`).
        self.destroyed.connect(lambda: worker.close())
        held = self.project.held
        self.destroyed.connect(lambda: release(held))
        self._on_layers()
        # A dock that is shown is drawn first, then the letters beside the image; loading in a thread slows both down.
        self._drawn = self._timer(self._fit)
        self._letter = self._timer(self._add_letter)
        self._load = self._timer(self._load_models)
        self._drawn.start(0)

    def _lay_out(self) -> None:
        main, tabs = QWidget(), QTabWidget()
        column = QVBoxLayout(main)
        column.setContentsMargins(4, 4, 4, 0)
        column.setSpacing(5)
        tip = "Write the mask on the grid of the image: NIfTI with the same geometry, or a picture."
        save = Button("Save mask …", tip, self._save, "save")
        last = QHBoxLayout()
        last.addWidget(self.view_actions, 2)
        last.addWidget(save, 1)
        for widget in (
            *(self.image_row, self.find_row, self.answers, self.saliency_row, self.tools),
            *(self.classes, self.case_row, self.place, self.actions_, self.queue_row),
            *(self.range_row, self.stack_actions),
        ):
            column.addWidget(widget, int(widget is self.classes))
        column.addLayout(last)
        self.project_page.add_row(LearningRow(self.learning, self._open_learning))
        tabs.addTab(scrolled_above(main, self.status, self.badge), "Label")
        tabs.addTab(Scrolled(self.project_page), "Project")
        tabs.addTab(Scrolled(self.queue_page), "Queue")
        tabs.addTab(Scrolled(self.ask_page), "Ask")
        tabs.addTab(both_ways(self.options), "Options")
        tabs.addTab(both_ways(KeysPage()), "Keys")
        tips = (
            *("Find, correct, accept.", "Many studies in one folder.", "The slices that need you most."),
            *("What is this, and is it there?", "Model, device, overlaps.", "Every key."),
        )
        for index, tip in enumerate(tips):
            tabs.setTabToolTip(index, tip)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for above in (self.banner, self.settling):
            layout.addWidget(above)
        layout.addWidget(tabs, 1)
        layout.addWidget(self.progress)

    def ask(self, text: str) -> None:
        """Put a text into the field and look for it, as if the user had typed it."""
        self.find_row.field.setText(text)
        self._find(text)

    def refresh(self) -> None:
        """Show the state of the workspace."""
        session, at = self.workspace.session, self.workspace.at
        self.image_row.refresh()
        self.range_row.refresh()
        self.options.refresh()
        self.classes.refresh()
        self.case_row.refresh()
        self.queue_row.refresh()
        if session is None or at is None:
            self.answers.show_answers(())
        else:
            self.answers.show_answers(session.answers(at), session.caution(at))
        self.place.setText(self._place_text())
        for name in ("undo", "redo"):
            step = getattr(session, f"{name}_name", "") if session is not None else ""
            button = self.actions_.buttons[name]
            button.setEnabled(bool(step))
            button.setStatusTip(step)
        phrases = [p for structure in phrase_book().structures.values() for p in structure.nouns]
        names = [] if session is None else [text for c in session.classes for text in (c.name, *c.prompts)]
        self.find_row.suggest([*phrases, *names])
        masks = self.workspace.masks
        self.keys.bind(self.workspace.helper_layers(), masks.masks if masks else None)
        self._show_tool()

    def _place_text(self) -> str:
        session, at = self.workspace.session, self.workspace.at
        if session is None:
            return "No image: open one, or choose one above."
        if at is None:
            is_3d = self.viewer.dims.ndisplay == 3
            return "3D view: for looking only. Switch to 2D to label." if is_3d else "The image is not shown here."
        state = _STATUS[session.state(at).status]
        if at.axis is None:
            return f"Image: {state}"
        return f"{slice_place(at.index, session.image.n_slices(at)).capitalize()}: {state}"

    def _make_room(self) -> None:
        """Show what is for whole stacks only while no single slices are settled: both do not fit on a small screen."""
        for widget in (self.saliency_row, self.range_row, self.stack_actions):
            widget.setVisible(self.second.settling is None)

    def _prepare(self) -> None:
        """Make the layers while the text is typed: the first answer is not to wait for them."""
        if self.workspace.session is not None and self.workspace.at is not None:
            self.workspace.ensure_layers()

    def _find(self, text: str) -> None:
        self.setFocus()
        self.verbs.find(text)

    def _compare(self) -> None:
        self.phrasings.open_with([text for text in self.find_row.field.text().split(";") if text.strip()])

    def _set_opacity(self, opacity: float) -> None:
        if self.workspace.saliency is not None:
            self.workspace.saliency.map.opacity = opacity

    def _open_effort(self) -> None:
        # It shows the project of this dock, so it knows of it and not the other way round.
        from napari_medclipsam.widgets._effort_dock import open_effort

        if not open_effort(self.viewer):
            self.status.say("The dashboard needs a window.")

    def _open_learning(self) -> None:
        # As above.
        from napari_medclipsam.widgets._learning_dock import open_learning

        if not open_learning(self.viewer):
            self.status.say("The Learning dock needs a window.")

    def _save(self) -> None:
        image = self.workspace.image
        if image is None:
            self.status.say("There is no image, so there is no mask to save.")
            return
        suffix = ".png" if image.ndim == 2 else ".nii.gz"
        start = str(Path.home() / f"{image.name}_mask{suffix}")
        path, _ = QFileDialog.getSaveFileName(
            self, "Save mask", start, "NIfTI (*.nii.gz *.nii);;Pictures (*.png *.tif)"
        )
        if path:
            self.verbs.save(path)

    def label_selected(self) -> None:
        """Go over to the image that is selected in the layer list; stay where another layer is selected."""
        active = self.viewer.layers.selection.active
        if isinstance(active, Image) and active in self.workspace.images():
            self.workspace.label(active)

    def _on_layers(self, event: Any = None) -> None:
        if self.workspace.image is None and (images := self.workspace.images()):
            self.label_selected()
            if self.workspace.image is None:
                self.workspace.label(images[-1])
        self.refresh()

    def _on_event(self, event: Event) -> None:
        # What is drawn with two versions is shown in the Learning dock.
        if getattr(getattr(event, "request", None), "kind", "") != VERSIONS:
            self.status.show_event(event)
        if isinstance(event, Ready) and "torch" in sys.modules:
            # With the library loaded it can be asked; to import it here would take seconds.
            from napari_medclipsam.models.device import available_devices

            self.options.add_devices(available_devices())

    def _show_tool(self) -> None:
        active = self.viewer.layers.selection.active
        own = self.workspace.helper_layers()
        if active is self.workspace.image or not any(active is layer for layer in own):
            self.tools.show_tool("look" if active is self.workspace.image and active is not None else None)
        else:
            self.tools.show_tool(_MODES.get(str(active.mode)))

    def sizeHint(self) -> QSize:
        """Return the least width: the image needs the room."""
        return QSize(self.minimumSizeHint().width(), super().sizeHint().height())

    def _timer(self, then: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.timeout.connect(then)
        return timer

    def _fit(self) -> None:
        if self._is_docked:
            # The dock has taken some of the canvas: the whole image is to be seen beside it.
            self.viewer.reset_view()
        self._letter.start(0)

    def _add_letter(self) -> None:
        has_more = self.workspace.letters.make_next()
        (self._letter if has_more else self._load).start(_LETTER_MS if self.isVisible() else 0)

    def _load_models(self) -> None:
        if self.workspace.model is None:
            self.workspace.use_model(ModelChoice())

    def showEvent(self, event: QShowEvent | None) -> None:
        """Be drawn before the models load."""
        super().showEvent(event)
        if (window := self.window()) is not None and window is not self:
            window.installEventFilter(self)
        if self._drawn.isActive():
            self._drawn.start(_DRAWN_MS)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Keep Enter from napari, to which it means the end of a shape, whatever field it was pressed in."""
        if event is None or event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """End all work: no thread is left."""
        self.shut()
        super().closeEvent(event)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Save before the window closes; where that can't be done, the reader decides whether it does."""
        is_closing = event is not None and event.type() == QEvent.Type.Close
        if event is not None and is_closing and not (self.project.save() and self.learning.may_close()):
            event.ignore()
            return True
        return super().eventFilter(watched, event)

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the theme; end all work when napari takes this widget out of its dock, all that its cross does."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            self._color_icons()
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is None and self._is_docked:
                self.shut()
            self._is_docked = self.parent() is not None

    def _color_icons(self) -> None:
        theme = get_theme(self.viewer.theme)
        color_icons(self, self.viewer.theme)
        for widget in (self.case_row, self.project_page):
            widget.color_warning(theme.warning.as_hex())
        self.banner.color(theme.warning.as_hex(), theme.canvas.as_hex())

    def shut(self) -> None:
        """Stop the models, give keys and layers back; masks stay in the viewer."""
        if self._is_closed:
            return
        self._is_closed = True
        for timer in (self._drawn, self._letter, self._load):
            timer.stop()
        for events in self._events:
            events.disconnect(self._on_layers)
        self.workspace.refreshed.disconnect(self.refresh)
        self.workspace.work.happened.disconnect(self._on_event)
        self.status.close_activity()
        self.keys.unbind()
        self.phrasings.shut()
        self.second.shut()
        self.learning.shut()
        self.project.shut()
        self.workspace.close()
