"""Masks of the project that is open, in and out. Runs on the GUI thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from napari_medclipsam.errors import GeometryError
from napari_medclipsam.projects.exchanging import Format, import_into, read_masks
from napari_medclipsam.widgets import _project_work as work
from napari_medclipsam.widgets import _questions as questions
from napari_medclipsam.widgets._said import said_on_error

if TYPE_CHECKING:
    from napari_medclipsam.widgets._project_desk import ProjectDesk
    from napari_medclipsam.widgets._workspace import Workspace


class MaskExchange:
    """See the head of this module.

    Parameters
    ----------
    workspace : Workspace
        Shows what comes in.
    desk : ProjectDesk
        Has the project.
    parent : QWidget
        Whose window asks.
    """

    def __init__(self, workspace: Workspace, desk: ProjectDesk, parent: QWidget) -> None:
        self._workspace, self._desk, self._parent = workspace, desk, parent
        self.said = workspace.said

    @said_on_error
    def export(self, form: Format, output: Path, *, only_this: bool, deidentify: bool) -> None:
        """Export the accepted masks of all cases, or of the one that is open."""
        project = self._desk.require_project(writable=False)
        cases = [self._desk.case.study.case] if only_this and self._desk.case is not None else []
        told = self._desk.run("Exporting", lambda tell: work.exported(project, form, output, cases, deidentify, tell))
        self.said.emit(told)

    @said_on_error
    def import_mask(self, path: Path) -> None:
        """Take a mask of another program into the case that is open, after asking how."""
        self._desk.require_project()
        case, _ = self._desk.require_case()
        try:
            masks = self._desk.run("Reading the mask", lambda _: read_masks(case, path))
        except GeometryError as error:
            if not questions.resample(self._parent, str(error)):
                return
            masks = self._desk.run("Resampling the mask", lambda _: read_masks(case, path, resample=True))
        accept = questions.accept_import(self._parent, path.name)
        if accept is not None:
            self._workspace.draw(import_into(case, masks, accept=accept))
            self._workspace.classes_changed.emit()
