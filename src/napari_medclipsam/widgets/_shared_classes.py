"""The classes of a project, which all its cases share: what is changed in one is changed in all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from napari_medclipsam.errors import ProjectError
from napari_medclipsam.projects.class_use import use_of
from napari_medclipsam.projects.project import Project
from napari_medclipsam.widgets import _questions as questions

if TYPE_CHECKING:
    from napari_medclipsam.widgets._project_desk import ProjectDesk
    from napari_medclipsam.widgets._workspace import Workspace


class SharedClasses:
    """See the head of this module.

    Parameters
    ----------
    workspace : Workspace
        Shows an image, of a case or not.
    desk : ProjectDesk
        Has the project open.
    parent : QWidget
        Its window is the one that asks.
    """

    def __init__(self, workspace: Workspace, desk: ProjectDesk, parent: QWidget) -> None:
        self._workspace, self._desk, self._parent = workspace, desk, parent

    def may_rename(self, label: int, name: str) -> bool:
        """Ask where a class is in use in a project; True where it is not."""
        project = self._shared(label)
        if project is None:
            return True
        old = project.classes[label].name
        use = self._desk.run("Looking for the class", lambda _: use_of(project, label))
        return not use or old == name or questions.rename_everywhere(self._parent, old, name, use)

    def remove(self, label: int) -> bool:
        """Remove a class of the project, or hide it where it is in use; False where it is not of the project."""
        project, case = self._shared(label), self._desk.case
        if project is None or case is None:
            return False
        try:
            self._desk.run("Looking for the class", lambda _: project.remove_class(label))
            case.session.current = None
        except ProjectError as error:
            if label not in project.classes or project.is_read_only:
                raise
            if questions.hide_instead(self._parent, str(error)):
                project.classes.show(label, False)
        return True

    def _shared(self, label: int) -> Project | None:
        """Return the project whose class this is; None where the image on screen is not of a project."""
        case, project = self._desk.case, self._desk.project
        is_shared = case is not None and self._workspace.session is case.session
        return project if is_shared and project is not None and label in project.classes else None
