"""How far each study of a project is, in a word and in figures: the list that a reader chooses from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import Study
from napari_medclipsam.projects.summary import Summary

State = Literal["new", "in work", "done", "flagged", "damaged", "source moved"]


@dataclass(frozen=True)
class StudyRow:
    """One study of the list.

    Parameters
    ----------
    case : str
        Its id.
    name : str
        Of its file or folder; may name the patient, so it is for the screen alone.
    state : str
        What a reader should know first, one of `State`.
    n_accepted, n_slices : int
        Accepted slices, and all slices in the direction that was worked in.
    n_flags : int
        Flagged slices.
    n_second : int or None
        Slices that a second reader has accepted; None where none has begun.
    """

    case: str
    name: str
    state: State
    n_accepted: int
    n_slices: int
    n_flags: int
    n_second: int | None = None


def study_row(project: Project, case: str, *, is_there: bool | None = None, summary: Summary | None = None) -> StudyRow:
    """Return how far a study is.

    Parameters
    ----------
    project : Project
        Where it belongs.
    case : str
        Its id.
    is_there : bool, optional
        Whether its image is where it should be; by default it is looked for.
    summary : Summary, optional
        Of the case; by default it is read.
    """
    study = project.study(case)
    summary = project.summary(case, review=False) if summary is None else summary
    shape = study.grid.shape
    axis = None if summary.at is None else summary.at.axis
    n_slices = 1 if len(shape) == 2 else shape[axis or 0]
    if is_there is None:
        is_there = study.source(project.folder).exists()
    n_accepted = summary.counts["accepted"]
    state = _state(summary, is_there, n_accepted >= n_slices)
    n_second = None
    if project.has_second(case):
        n_second = project.summary(case, second=True, review=False).counts["accepted"]
    return StudyRow(case, _name(study), state, n_accepted, n_slices, summary.n_flags, n_second)


def _state(summary: Summary, is_there: bool, is_complete: bool) -> State:
    """Return the word; what needs a decision comes first."""
    if not is_there:
        return "source moved"
    if summary.n_damages:
        return "damaged"
    if summary.n_flags:
        return "flagged"
    if summary.is_done or is_complete:
        return "done"
    return "in work" if summary.statuses or summary.voxels else "new"


def _name(study: Study) -> str:
    path = Path(study.path)
    part = "" if study.volume_index is None else f" [{study.volume_index}]"
    # Series are often called alike for every patient; the endings of files say nothing.
    name = f"{path.parent.name}/{path.name}" if study.kind == "dicom" else path.name.split(".nii")[0]
    return f"{name}{part}"
