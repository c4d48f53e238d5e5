"""Projects with accepted slices to learn from."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from napari_medclipsam.annotation.bringing_in import bring_in
from napari_medclipsam.annotation.places import ObjectKey
from napari_medclipsam.learning.contracts import Settings
from napari_medclipsam.learning.run import Request
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import images_in
from synthetic import picture

PLUGIN = Path(__file__).parent / "plugin"
TINY = Request("tiny", Settings(base="blind"))


def project_of(folder: Path, n_patients: int, *, accept: bool = True, n_slices: int = 3) -> Path:
    """Make a project in which a disk is accepted in every slice."""
    rng = np.random.default_rng(0)
    pixels, masks = picture("disk", "square")
    with Project.create(folder, ["disk"], "ana") as project:
        add_patients(project, n_patients, rng, pixels, n_slices)
        for case in list(project.studies) if accept else ():
            accept_disk(project, case, masks["disk"])
    return folder


def add_patients(project: Project, n: int, rng: np.random.Generator, pixels: np.ndarray, n_slices: int = 3) -> None:
    scans = project.folder.parent / "scans"
    scans.mkdir(exist_ok=True)
    for number in range(n):
        noisy = [np.clip(pixels + rng.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8) for _ in range(n_slices)]
        path = scans / f"MUELLER_{len(project.studies) + number}_{rng.integers(10**9)}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.stack(noisy).T, np.diag([-1, -1, 5, 1])), path)
    list(project.add(images_in(scans)))


def accept_disk(project: Project, case: str, disk_yx: np.ndarray) -> None:
    with project.open_case(case) as opened:
        mask = np.zeros(opened.session.image.shape, bool)
        mask[:] = disk_yx
        bring_in(opened.session, {ObjectKey(1): mask}, accept=True)
