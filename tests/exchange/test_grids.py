from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_medclipsam.errors import GeometryError
from napari_medclipsam.exchange.grids import on_source_grid
from napari_medclipsam.images.volume import Volume

from .samples import ALL_ORIENTATIONS, affine_for, labels, volume

WAYS = list(itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3)))


def stored_otherwise(mask_zyx: np.ndarray, affine: np.ndarray, axes, backwards) -> tuple[np.ndarray, np.ndarray]:
    """The same mask in the same place, its (i, j, k) axes permuted and turned round."""
    array_ijk = mask_zyx.transpose(2, 1, 0).transpose(axes)
    turned = np.eye(4)
    turned[:3, :3] = np.eye(3)[:, axes]
    for axis, back in enumerate(backwards):
        if back:
            array_ijk = np.flip(array_ijk, axis)
            turned[:3, 3] += turned[:3, axis] * (array_ijk.shape[axis] - 1)
            turned[:3, axis] *= -1
    return array_ijk.transpose(2, 1, 0), affine @ turned


@pytest.mark.parametrize("codes", ALL_ORIENTATIONS)
def test_every_storage_order_is_brought_back(codes: str) -> None:
    source, mask = volume(affine_for(codes)), labels()
    for axes, backwards in WAYS:
        stored, affine = stored_otherwise(mask, source.affine, axes, backwards)
        assert np.array_equal(on_source_grid(stored, affine, source, "mask"), mask)


@settings(max_examples=60, deadline=None)
@given(
    rotation=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 8)] * 3),
    way=st.sampled_from(WAYS),
)
def test_oblique_grids(rotation, spacing, way) -> None:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", rotation, degrees=True).as_matrix() * spacing
    affine[:3, 3] = (120.5, -33.1, 700.2)
    mask = labels()
    stored, stored_affine = stored_otherwise(mask, affine, *way)
    assert np.array_equal(on_source_grid(stored, stored_affine, volume(affine), "mask"), mask)


def test_axes_at_45_degrees() -> None:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (45, 45, 45), degrees=True).as_matrix()
    for way in WAYS:
        stored, stored_affine = stored_otherwise(labels(), affine, *way)
        assert np.array_equal(on_source_grid(stored, stored_affine, volume(affine), "mask"), labels())


def refusal(affine: np.ndarray, mask: np.ndarray | None = None) -> str:
    with pytest.raises(GeometryError) as caught:
        on_source_grid(labels() if mask is None else mask, affine, volume(affine_for("LPS")), "liver.nii.gz")
    return str(caught.value)


def test_the_difference_is_said_in_words() -> None:
    good = affine_for("LPS")
    shifted = good.copy()
    shifted[:3, 3] += (0, -4, 2.5)
    told = refusal(shifted)
    assert "liver.nii.gz is not on the grid" in told and "centre 4.0 mm posterior, 2.5 mm superior" in told
    assert "shape" not in told and "voxels of" not in told and "--resample" in told
    told = refusal(good @ np.diag([1, 1, 0.5, 1]))
    assert "voxels of 1.5 x 2 x 1.5 and not 3 x 2 x 1.5 mm" in told
    assert "shape 3 x 6 x 5 and not 4 x 6 x 5" in refusal(good, labels((3, 6, 5)))
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_euler("x", 10, degrees=True).as_matrix()
    assert "axes tilted by 10.0 degrees" in refusal(tilt @ good)
    # A quarter of a voxel is no match, but 1 % is rounding.
    nearly = good.copy()
    nearly[0, 3] += 0.4
    assert "centre 0.4 mm right" in refusal(nearly)
    nearly[0, 3] = good[0, 3] + 0.015
    assert np.array_equal(on_source_grid(labels(), nearly, volume(good), "mask"), labels())


def test_turned_in_place_is_no_match() -> None:
    """Same shape, same centre, other direction: the voxels match, so the array must be turned, not taken as it is."""
    mask = labels((4, 6, 5))
    turned = affine_for("LPS") @ [[-1, 0, 0, 4], [0, -1, 0, 5], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert np.array_equal(on_source_grid(mask, turned, volume(affine_for("LPS")), "m"), mask[:, ::-1, ::-1])


def test_resampling_takes_the_nearest_voxel() -> None:
    source = Volume(np.zeros((2, 4, 6), np.int16), np.diag([1.0, 1, 2, 1]))
    coarse = np.array([[[1, 2, 3]]], np.uint8)
    affine = np.array([[2.0, 0, 0, 0.5], [0, 2, 0, 0.5], [0, 0, 2, 0], [0, 0, 0, 1]])
    got = on_source_grid(coarse, affine, source, "m", resample=True)
    assert got[0].tolist() == [[1, 1, 2, 2, 3, 3]] * 2 + [[0] * 6] * 2 and not got[1].any()
    same = on_source_grid(coarse, affine, Volume(coarse, affine), "m", resample=True)
    assert np.array_equal(same, coarse)


def test_pictures_have_no_grid() -> None:
    with pytest.raises(GeometryError, match="no known geometry"):
        on_source_grid(labels(), np.eye(4), Volume(np.zeros((4, 6, 5), np.uint8)), "m")
