"""Which studies are of one patient, without saying who that is."""

from __future__ import annotations

import hashlib
from pathlib import Path

from napari_medclipsam.images.dicom_series import patient_id
from napari_medclipsam.projects.studies import Study

_DIGITS = 16


def patient_hash(project_id: str, patient: str) -> str:
    """Return what stands for a patient in a project: the same for the same words, another in another project.

    Parameters
    ----------
    project_id : str
        `Project.id`.
    patient : str
        A name or number, such as PatientID of a DICOM file.
    """
    words = " ".join(patient.split())
    return "p" + hashlib.sha256(f"{project_id}\0{words}".encode()).hexdigest()[:_DIGITS]


def patient_key(study: Study, project_folder: Path, project_id: str) -> str:
    """Return the key that studies of one patient share.

    What a person has said counts first, then PatientID of a DICOM series, which is read now and kept nowhere. Other
    files do not say whose they are, and it is never guessed from their names: each is then a patient of its own.

    Parameters
    ----------
    study : Study
        Which.
    project_folder : pathlib.Path
        What its path is relative to.
    project_id : str
        `Project.id`.

    Raises
    ------
    ImageError
        If a DICOM series can't be read.
    """
    if study.patient:
        return study.patient
    if study.kind == "dicom":
        said = patient_id(study.source(project_folder), study.series_uid)
        if said:
            return patient_hash(project_id, said)
    return study.case
