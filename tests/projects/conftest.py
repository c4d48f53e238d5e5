"""Projects with images that the synthetic model can label."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import images_in
from synthetic import picture


def write_scan(path: Path, *, spacing: float = 1.0, n_slices: int = 4) -> Path:
    planes = [picture("disk", "square")[0]] * n_slices
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.stack(planes).T, np.diag([-spacing, -spacing, 5.0, 1.0])), path)
    return path


@pytest.fixture
def scan(tmp_path):
    return write_scan(tmp_path / "scans" / "MUELLER_Hans.nii.gz")


@pytest.fixture
def folder(tmp_path, scan):
    """A project of one study, closed."""
    with Project.create(tmp_path / "project", ["disk"], reader="ana") as project:
        list(project.add(images_in(scan)))
    return tmp_path / "project"
