"""A project of three cases with shapes in known slices, and a small region encoder."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import images_in
from napari_medclipsam.search.store import Store
from synthetic import PooledGrays, picture

N = 5
#: Case → what is in its slices; the last slice of each has no contrast at all.
SHAPES = {
    "c0001": ["disk", "disk", "square", "", None],
    "c0002": ["", "disk", "bar", "", None],
    "c0003": [""] * 4 + [None],
}


def at(index: int) -> SliceAt:
    return SliceAt.across(0, index)


def accept(case, index: int, shape: str, label: int = 1) -> None:
    """Have the true outline of a shape accepted in a slice."""
    mask = picture(shape)[1][shape]
    case.session.current = ObjectKey(label)
    case.session.paint((slice(index, index + 1), slice(0, 64), slice(0, 64)), mask[None].astype(np.uint8) * label)
    case.session.accept(at(index))


@pytest.fixture
def project(tmp_path):
    (tmp_path / "in").mkdir()
    for number, (name, shapes) in enumerate(SHAPES.items()):
        planes = [np.full((64, 64), 30, np.uint8) if s is None else picture(*filter(None, [s]))[0] for s in shapes]
        array = np.stack(planes)
        array[0, 0, 2] = number + 1
        nibabel.save(nibabel.Nifti1Image(array.T, np.diag([-1.0, -1.0, 5.0, 1.0])), tmp_path / "in" / f"{name}.nii")
    with Project.create(tmp_path / "project", ["disk", "square"], "ana") as project:
        list(project.add(images_in(tmp_path / "in")))
        yield project


@pytest.fixture
def encoder():
    return PooledGrays()


@pytest.fixture
def store(project):
    return Store(project.folder)
