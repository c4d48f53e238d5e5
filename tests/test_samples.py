import numpy as np
import pytest

from napari_medclipsam import samples
from napari_medclipsam.errors import ImageError


@pytest.fixture(scope="module")
def sample():
    return samples.sample_brain()


def test_the_lesion_is_a_mass_of_plausible_size_in_the_left_front(sample):
    volume, mask = sample
    assert mask.shape == volume.shape_zyx and mask.dtype == bool
    voxel_ml = abs(np.linalg.det(volume.affine[:3, :3])) / 1000
    assert 6 < mask.sum() * voxel_ml < 14
    x, y, _ = volume.affine[:3, :3] @ np.argwhere(mask).mean(axis=0)[::-1] + volume.affine[:3, 3]
    assert x < -15 and y > 15


def test_the_rim_is_bright_and_the_core_dark(sample):
    volume, mask = sample
    values = volume.array_zyx[mask]
    assert np.percentile(values, 75) > 195 and np.percentile(values, 5) < 110
    assert volume.array_zyx.dtype == np.uint8


def test_the_same_arrays_each_time(sample):
    again, mask = samples.sample_brain()
    assert np.array_equal(again.array_zyx, sample[0].array_zyx) and np.array_equal(mask, sample[1])


def test_without_nilearn_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr(samples, "find_spec", lambda name: None)
    with pytest.raises(ImageError, match="pip install"):
        samples.template_path()
