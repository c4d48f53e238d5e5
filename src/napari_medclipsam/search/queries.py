"""A region of a case that is not open, as a query."""

from __future__ import annotations

import numpy as np

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import ProjectError, PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.second import reading
from napari_medclipsam.projects.studies import annotated, require_unchanged
from napari_medclipsam.search.wanted import WantedSlice, indexed_window, slices_of


def accepted_region(project: Project, case: str, index: int, class_name: str) -> tuple[SliceAt, Slice, np.ndarray]:
    """Return what a reader has accepted of a class in a slice.

    Given are which slice it is, its pixels, and the mask (bool) of their shape.

    Parameters
    ----------
    project : Project
        May be open for reading only.
    case : str
        Which.
    index : int
        Of the slice, along the axis in which the case was read.
    class_name : str
        As it is called in the project.

    Raises
    ------
    ProjectError
        If there is no such case or class.
    PromptError
        If there is no such slice, or nothing accepted of the class in it.
    MedclipsamError
        If the image can't be read.
    """
    study, structure = project.study(case), project.classes.named(class_name)
    if structure is None:
        known = ", ".join(c.name for c in project.classes) or "none yet"
        raise ProjectError(f'There is no class "{class_name}"; there are: {known}.')
    replay = reading(project.case_folder(case), study.grid.shape)
    slices = slices_of(study.grid.shape, replay.at)
    if not 0 <= index < len(slices):
        raise PromptError(f"The case {case} has slices 0 to {len(slices) - 1}; got {index}.")
    at = slices[index]
    regions = WantedSlice.of(replay.book, at).regions
    masks = [mask.unpacked() for key, mask in regions.items() if key.label == structure.label]
    if not masks:
        raise PromptError(f"Nothing of {structure.name} is accepted in {case} slice {index}; accept it there first.")
    require_unchanged(study, project.folder)
    image = annotated(study.grid.view(study.read(project.folder)))
    turn = image.turn(at)
    pixels = image.slice_pixels(at, indexed_window(replay.window))
    return at, pixels, np.ascontiguousarray(turn.to_turned(np.logical_or.reduce(masks)))
