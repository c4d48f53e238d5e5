import itertools

import numpy as np
import pytest

from napari_medclipsam.errors import ImageError
from napari_medclipsam.images.volume import Volume
from napari_medclipsam.reading_view import reading_view, slice_turn

ALL_48 = ["".join(p) for s in itertools.product("LR", "PA", "IS") for p in itertools.permutations(s)]


def stored_as(codes, spacing_xyz=(1.0, 1.0, 1.0)):
    """A volume whose axes (i, j, k) grow to `codes`, with every voxel different."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    shape_xyz = np.array([5, 6, 4])
    shape = []
    for column, code in enumerate(codes):
        row = "LR PA IS".replace(" ", "").index(code) // 2
        affine[row, column] = (1 if code in "RAS" else -1) * spacing_xyz[row]
        shape.append(int(shape_xyz[row]))
    return Volume(np.arange(np.prod(shape), dtype=np.float32).reshape(shape[::-1]), affine)


@pytest.mark.parametrize("codes", ALL_48)
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_turned_there_and_back_and_boxes_too(codes, plane):
    volume = stored_as(codes)
    view = reading_view(volume, plane)
    turned = view.turned.array_zyx
    assert np.array_equal(view.to_stored(turned), volume.array_zyx)
    assert np.array_equal(view.to_turned(volume.array_zyx), turned)
    mask = np.zeros(turned.shape, np.uint8)
    mask[1, 1:3, 2:4] = 1
    back = np.argwhere(view.to_stored(mask))
    index, (x0, y0, x1, y1) = view.box_to_stored(1, (2, 1, 3, 2))
    across = int(np.argmin(np.ptp(back, axis=0)))
    rows, columns = (a for a in range(3) if a != across)
    assert index == back[0, across] == view.stored_index(1) and view.across == across
    assert view.index_of_stored(index) == 1
    assert np.allclose(
        [x0, y0, x1, y1], [back[:, columns].min(), back[:, rows].min(), back[:, columns].max(), back[:, rows].max()]
    )


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SRA"])
def test_axial_slices_have_the_left_on_the_right_and_anterior_on_top(codes):
    view = reading_view(stored_as(codes), "axial")
    assert view.turned.axis_codes == ("L", "P", "S")


@pytest.mark.parametrize(
    ("spacing_xyz", "first"), [((1, 1, 1), "S"), ((1, 1, 5), "S"), ((1, 5, 1), "A"), ((5, 1, 1), "L")]
)
def test_the_default_plane_is_the_acquired_one(spacing_xyz, first):
    turned = reading_view(stored_as("RAS", spacing_xyz)).turned
    assert turned.axis_codes[2] == first


def test_pictures_stay_as_they_are_and_have_no_anatomical_plane():
    volume = Volume(np.arange(12, dtype=np.uint8).reshape(1, 3, 4))
    view = reading_view(volume)
    assert view.turned is volume and view.to_stored(volume.array_zyx) is volume.array_zyx
    assert view.box_to_stored(0, (1, 0, 2, 1)) == (0, (1, 0, 2, 1))
    with pytest.raises(ImageError, match="axial"):
        reading_view(volume, "axial")


@pytest.mark.parametrize("codes", ALL_48)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_turned_as_the_whole_volume_is(codes, axis):
    volume = stored_as(codes)
    codes_zyx = volume.axis_codes[::-1]
    plane = {"S": "axial", "A": "coronal", "R": "sagittal"}[codes_zyx[axis].translate(str.maketrans("IPL", "SAR"))]
    view = reading_view(volume, plane)
    turn = slice_turn(codes_zyx, axis)
    stored = volume.array_zyx.take(1, axis)
    turned = turn.to_turned(stored)
    assert any(np.array_equal(turned, whole) for whole in view.turned.array_zyx)
    assert np.array_equal(turn.to_stored(turned), stored)
    y, x = 2, 1
    ((tx, ty),) = turn.points_to_turned(np.array([[x, y]]), stored.shape)
    assert turned[int(ty), int(tx)] == stored[y, x]
    assert turn.points_to_stored(np.array([[tx, ty]]), stored.shape).tolist() == [[x, y]]
