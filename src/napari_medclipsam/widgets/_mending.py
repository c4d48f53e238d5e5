"""An image of a project that is not where it was, or not what it was: the reader decides."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QWidget

from napari_medclipsam.errors import ProjectError
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import SourceChangedError, SourceMovedError
from napari_medclipsam.widgets import _questions as questions
from napari_medclipsam.widgets._long_work import LongWork


def mended(project: Project, case: str, error: ProjectError, parent: QWidget) -> bool:
    """Have an image found again, or its change accepted; False where the reader wants neither.

    Parameters
    ----------
    project : Project
        Open for writing.
    case : str
        Whose image it is.
    error : SourceMovedError or SourceChangedError
        What is wrong with it.
    parent : QWidget
        Whose window asks.

    Raises
    ------
    MedclipsamError
        If what the reader has chosen can't be read, or has another geometry.
    """
    study = project.study(case)
    path = study.source(project.folder)
    while True:
        accept = False
        if isinstance(error, SourceMovedError):
            find = questions.source_moved(parent, case, path)
        else:
            answer = questions.source_changed(parent, case, path)
            accept, find = answer == "accept", answer == "find"
        chosen = questions.image_of(parent, case, study.kind) if find else path
        if chosen is None or not (accept or find):
            return False
        path = chosen
        try:
            _relocate(project, case, path, accept, parent)
            return True
        except SourceChangedError as changed:
            error = changed


def _relocate(project: Project, case: str, path: Path, accept: bool, parent: QWidget) -> None:
    LongWork("Checking the image", parent).run(lambda _: project.relocate(case, path, accept_changed=accept))
