"""All that a window shows of the learning of a project, read from its files at once; takes a thread, not the window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_medclipsam.errors import MedclipsamError
from napari_medclipsam.learning.clip_home import find_home
from napari_medclipsam.learning.curve import Curve, read_curves
from napari_medclipsam.learning.split import read_split
from napari_medclipsam.learning.status import Status, read_status
from napari_medclipsam.learning.versions import Version, active_version, list_versions
from napari_medclipsam.projects.patients import patient_key
from napari_medclipsam.projects.studies import Study


@dataclass(frozen=True)
class Overview:
    """The learning of a project.

    Parameters
    ----------
    status : Status
        Of its worker.
    curves : tuple of Curve
        Of the run, or of the last one.
    versions : tuple of Version
        Oldest first.
    active : Version or None
        Which is in use; None for the model that all began with.
    encoder : Version or None
        The text-image encoder that was fine-tuned on captions and is in use; None where there is none.
    trouble : str
        What is wrong with the versions, in a sentence; "" where nothing is known to be.
    n_patients : int
        With accepted slices.
    n_held_out : int
        Of these, how many never teach.
    """

    status: Status = field(default_factory=Status)
    curves: tuple[Curve, ...] = ()
    versions: tuple[Version, ...] = ()
    active: Version | None = None
    encoder: Version | None = None
    trouble: str = ""
    n_patients: int = 0
    n_held_out: int = 0

    def version(self, name: str) -> Version | None:
        """Return a version; None where there is none of this name."""
        return next((v for v in self.versions if v.name == name), None)


class Patients:
    """Who the cases of a project are of; each is looked up once.

    Parameters
    ----------
    project : pathlib.Path
        Its folder.
    project_id : str
        `Project.id`.
    """

    def __init__(self, project: Path, project_id: str) -> None:
        self._project, self._id = project, project_id
        self._known: dict[tuple[str, str], str] = {}

    def of(self, studies: Iterable[Study]) -> set[str]:
        """Return the patients of studies; one whose image can't be read counts as one of its own."""
        return {self._patient(study) for study in studies}

    def _patient(self, study: Study) -> str:
        key = (study.case, study.patient)
        if key not in self._known:
            try:
                self._known[key] = patient_key(study, self._project, self._id)
            except MedclipsamError:
                return study.case
        return self._known[key]


def read_overview(
    project: Path, accepted: Iterable[Study], patients: Patients, at_work: Path | None = None
) -> Overview:
    """Read how the learning of a project is. Never raises for what is damaged: `Overview.trouble` says it.

    Parameters
    ----------
    project : pathlib.Path
        Its folder.
    accepted : iterable of Study
        Those with accepted slices.
    patients : Patients
        Of this project.
    at_work : pathlib.Path, optional
        Home of a fine-tuning whose curves are wanted, in place of those of the project.
    """
    versions: tuple[Version, ...] = ()
    active, encoder, trouble = None, None, ""
    held_out: Mapping[str, Any] = {}
    try:
        versions = tuple(list_versions(project))
        active = active_version(project)
        if active is not None:
            trouble = active.trouble
        held_out = read_split(project).held_out
        home = find_home(project)
        encoder = None if home is None else active_version(home)
    except MedclipsamError as error:
        trouble = str(error)
    known = patients.of(accepted)
    n_out = sum(bool(held_out.get(patient)) for patient in known)
    return Overview(
        read_status(project), read_curves(at_work or project), versions, active, encoder, trouble, len(known), n_out
    )
