"""What can be done with the versions of a project: put into use, taken out of it, deleted."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from napari_medclipsam.learning.versions import Version, delete, promote, roll_back
from napari_medclipsam.learning.wording import doubt_words
from napari_medclipsam.widgets import _questions as questions
from napari_medclipsam.widgets._said import said_on_error

if TYPE_CHECKING:
    from napari_medclipsam.widgets._learning_desk import LearningDesk
    from napari_medclipsam.widgets._project_desk import ProjectDesk


class VersionVerbs:
    """See the head of this module.

    Parameters
    ----------
    learning : LearningDesk
        Does it in a thread, and shows what came of it.
    desk : ProjectDesk
        Has the project open.
    parent : QWidget
        Its window is the one that asks.
    """

    def __init__(self, learning: LearningDesk, desk: ProjectDesk, parent: QWidget) -> None:
        self._learning, self._desk, self._parent = learning, desk, parent
        self.said = learning.said

    @said_on_error
    def promote(self, name: str) -> None:
        """Put a version into use."""
        project = self._desk.require_project()

        def done(version: Version) -> None:
            self.said.emit(f"{version.name} is in use from now on. {doubt_words(version)}".rstrip())

        self._learning.do(partial(promote, project.folder, name, project.reader), done)

    @said_on_error
    def roll_back(self) -> None:
        """Go back to what was in use before."""
        project = self._desk.require_project()

        def done(version: Version | None) -> None:
            now = "The model that all began with" if version is None else version.name
            self.said.emit(f"{now} is in use again.")

        self._learning.do(partial(roll_back, project.folder, project.reader), done)

    @said_on_error
    def delete(self, version: Version) -> None:
        """Delete a version, if the reader says so."""
        project = self._desk.require_project()
        if questions.delete_version(self._parent, version.name, version.size_bytes):
            said = f"{version.name} is deleted."
            self._learning.do(partial(delete, project.folder, version.name), lambda _: self.said.emit(said))
