"""Second readings in a window: reading a case blind, and settling where two readers differ. Runs on the GUI thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.projects.case import Case
from napari_medclipsam.projects.reader import remember_reader
from napari_medclipsam.projects.settling import Adjudication, Choice, Dispute
from napari_medclipsam.widgets import _adapters as adapters
from napari_medclipsam.widgets import _questions as questions
from napari_medclipsam.widgets._long_work import LongWork
from napari_medclipsam.widgets._mask_layers import OUTLINE_PX, class_colormap
from napari_medclipsam.widgets._said import said_on_error

if TYPE_CHECKING:
    from napari_medclipsam.widgets._project_desk import ProjectDesk
    from napari_medclipsam.widgets._workspace import Workspace

_LIGHTER = 0.6


class SecondDesk(QObject):
    """See the head of this module.

    Parameters
    ----------
    workspace : Workspace
        Shows the case.
    desk : ProjectDesk
        Opens it.
    parent : QWidget
        Its window is the one that waits and asks.

    Attributes
    ----------
    settling : Adjudication or None
        Of the case that is open, while it is settled.
    disputes : list of Dispute
        What is left to settle, those that differ most first.
    changed : Signal
        Any of these may be another, or the slice on screen.
    """

    changed = Signal()

    def __init__(self, workspace: Workspace, desk: ProjectDesk, parent: QWidget) -> None:
        super().__init__(parent)
        self._workspace, self._desk, self._parent = workspace, desk, parent
        self.said = workspace.said
        self.settling: Adjudication | None = None
        self.disputes: list[Dispute] = []
        self._case: Case | None = None
        self._layer: Labels | None = None
        desk.changed.connect(self._on_case)
        workspace.refreshed.connect(self._on_refreshed)
        workspace.classes_changed.connect(self._recolor)
        workspace.viewer.dims.events.ndisplay.connect(self._on_ndisplay)

    @said_on_error
    def change_reader(self) -> None:
        """Ask who reads, and go on with the project under that name."""
        project = self._desk.require_project(writable=False)
        name = questions.reader_name(self._parent, project.reader)
        if name and name != project.reader and self._desk.close():
            remember_reader(name)
            self._desk.open(project.folder)

    @said_on_error
    def read_blind(self, case_id: str) -> None:
        """Open the second, blind reading of a case."""
        self._desk.require_project()
        self._desk.open_case(case_id, second=True)

    @property
    def blind_text(self) -> str:
        """What must be plain to see while a second reading is open; "" while none is."""
        case = self._desk.case
        return f"SECOND READING of {case.study.case} by {case.reader}, blind" if case and case.is_second else ""

    # Settling.

    @said_on_error
    def settle(self, case_id: str) -> None:
        """Open a case where two readers differ most."""
        project = self._desk.require_project()
        self._desk.open_case(case_id)
        case = self._desk.case
        if case is None or case.study.case != case_id:
            return
        self.finish()
        title = "Comparing the readings"
        self.settling = LongWork(title, self._parent).run(lambda _: Adjudication(project, case))
        self._case = case
        self._look_again()
        if self.disputes:
            self._show_second(self.settling)
        self._go_on()
        if not self.disputes:
            self.finish()

    def _show_second(self, settling: Adjudication) -> None:
        viewer, image = self._workspace.viewer, self._workspace.image
        assert image is not None and self._case is not None  # a case has just been opened
        self._workspace.ensure_layers()
        active = viewer.layers.selection.active
        self._layer = viewer.add_labels(
            settling.second.book.masks.labels,
            name="second reading",
            opacity=1.0,
            colormap=class_colormap(self._case.session.classes, _LIGHTER),
            **adapters.same_place(image),
        )
        self._layer.editable = False
        self._on_ndisplay()
        viewer.layers.selection.active = active

    @said_on_error
    def go(self, at: SliceAt) -> None:
        """Show a slice."""
        image = self._workspace.image
        if image is not None:
            adapters.go_to(image, self._workspace.viewer.dims, at)

    @said_on_error
    def choose(self, choice: Choice) -> None:
        """Settle the slice on screen, and go on with the next."""
        case, at = self._desk.require_case()
        if self.settling is None or case is not self._case:
            return
        before = self.disputes
        self._workspace.draw(self.settling.choose(at, choice))
        self.disputes = [one for one in before if one.at != at]
        if not self.disputes:
            # Something that was settled may have been undone meanwhile.
            self._look_again()
        self._go_on()

    def _look_again(self) -> None:
        assert self.settling is not None  # only while a case is settled
        self.disputes = self.settling.disputes()

    def _go_on(self) -> None:
        if self.disputes:
            self.go(self.disputes[0].at)
        elif self._case is not None:
            self.said.emit(f"Nothing is left to settle in {self._case.study.case}.")
        self.changed.emit()

    def finish(self) -> None:
        """End settling; what is left can be settled another time."""
        layer, self._layer = self._layer, None
        self.settling = self._case = None
        self.disputes = []
        adapters.remove_layers(self._workspace.viewer, [layer])
        self.changed.emit()

    def shut(self) -> None:
        """Listen to the viewer no more."""
        self._workspace.viewer.dims.events.ndisplay.disconnect(self._on_ndisplay)
        self.finish()

    def _on_case(self) -> None:
        if self._case is not None and self._desk.case is not self._case:
            self.finish()
        else:
            self.changed.emit()

    def _on_refreshed(self) -> None:
        """Follow what was undone or edited on the slice on screen."""
        at = self._workspace.at
        if self.settling is None or at is None:
            return
        others = [one for one in self.disputes if one.at != at]
        here = self.settling.dispute(at)
        if here is None:
            self.disputes = others
        elif here not in self.disputes:
            self.disputes = sorted([*others, here], key=lambda one: min(one.dice.values()))
        self.changed.emit()

    def _recolor(self) -> None:
        if self._layer is not None and self._case is not None:
            self._layer.colormap = class_colormap(self._case.session.classes, _LIGHTER)

    def _on_ndisplay(self, event: Any = None) -> None:
        if self._layer is not None:
            # Outlines are not drawn in the 3D view.
            is_flat = self._workspace.viewer.dims.ndisplay == 2
            self._layer.contour = OUTLINE_PX if is_flat else 0
            self._layer.opacity = float(is_flat)
