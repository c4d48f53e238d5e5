from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.images import Volume

AFFINE = np.diag([-2.0, -3.0, 4.0, 1.0])


def ramp() -> np.ndarray:
    return np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def test_geometry_is_carried() -> None:
    volume = Volume(ramp(), AFFINE)
    assert volume.spacing_zyx_mm == (4, 3, 2)
    assert volume.axis_codes == ("L", "P", "S")
    assert volume.edge_codes() == ("R", "L", "A", "P")
    assert volume.edge_codes(axis=2) == ("A", "P", "I", "S")
    assert [volume.n_slices(axis) for axis in range(3)] == [3, 4, 5]


def test_it_is_frozen_and_its_voxels_read_only() -> None:
    array = ramp()
    volume = Volume(array, AFFINE)
    with pytest.raises(ValueError, match="read-only"):
        volume.array_zyx[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        volume.modality = "CT"  # type: ignore[misc]
    array[0] = 1  # the caller's own array stays writable


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.zeros((4, 4)), r"last row"),
        (np.diag([0.0, 1, 1, 1]), "singular"),
        (np.diag([np.nan, 1, 1, 1]), "not finite"),
        (np.diag([np.inf, 1, 1, 1]), "not finite"),
        (np.eye(3), r"shape \(3, 3\)"),
        ("nonsense", "expected"),
        ([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "singular"),
    ],
)
def test_unusable_affines_are_refused(affine: object, message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        Volume(ramp(), affine)  # type: ignore[arg-type]


def test_unusable_voxels_are_refused() -> None:
    for array in (np.zeros((3, 4)), np.zeros((0, 3, 4)), np.zeros((2, 3, 4, 3)), np.zeros((2, 3, 4), complex)):
        with pytest.raises(ImageError, match=r"\(z, y, x\)"):
            Volume(array)
    with pytest.raises(ImageError, match="1 of 8 voxels"):
        Volume(np.array([1e300] + [0.0] * 7).reshape(2, 2, 2))


def test_spacing_without_affine() -> None:
    film = Volume(ramp()[:1], pixel_spacing_yx_mm=(0.2, 0.1))
    assert film.slice_pixels(0).spacing_mm == (0.2, 0.1)
    assert film.spacing_zyx_mm is None and film.axis_codes is None and film.edge_codes() is None
    with pytest.raises(GeometryError, match="no known geometry"):
        film.reoriented()
    with pytest.raises(GeometryError):
        Volume(ramp(), AFFINE, pixel_spacing_yx_mm=(1, 1))
    with pytest.raises(GeometryError):
        Volume(ramp(), pixel_spacing_yx_mm=(0, 1))


def test_slices_across_each_axis() -> None:
    volume = Volume(ramp(), AFFINE)
    window = (0.0, 255.0)
    assert np.array_equal(volume.slice_pixels(2, 0, window).pixels, ramp()[2])
    assert np.array_equal(volume.slice_pixels(1, 1, window).pixels, ramp()[:, 1])
    assert np.array_equal(volume.slice_pixels(4, 2, window).pixels, ramp()[:, :, 4])
    assert [volume.slice_pixels(0, axis).spacing_mm for axis in range(3)] == [(3, 2), (4, 2), (4, 3)]
    for index, axis, message in ((3, 0, "slices 0 to 2"), (-1, 0, "no slice -1"), (0, 3, "axis is 0")):
        with pytest.raises(ImageError, match=message):
            volume.slice_pixels(index, axis)


def test_the_window_is_that_of_the_volume_not_of_the_slice() -> None:
    array = np.zeros((2, 8, 8), np.int16)
    array[0], array[1] = 100, np.arange(64).reshape(8, 8) * 20
    volume = Volume(array)
    assert len(np.unique(volume.slice_pixels(0).pixels)) == 1  # a flat slice of an image with contrast is fine
    assert volume.slice_pixels(1).pixels.max() == 255
    assert volume.intensity_limits() is volume.intensity_limits("auto")


def test_colour() -> None:
    array = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    volume = Volume(array, AFFINE)
    assert volume.rgb and volume.shape_zyx == (2, 3, 4)
    assert np.array_equal(volume.slice_pixels(1).pixels, array[1])
    assert np.array_equal(volume.reoriented("RAS").array_zyx, array[:, ::-1, ::-1])
    with pytest.raises(ImageError, match="in colour"):
        volume.slice_pixels(0, window="brain")


def test_orientations_are_checked() -> None:
    for codes in ("RA", "RAR", "XYZ", "RLS"):
        with pytest.raises(GeometryError, match="no orientation"):
            Volume(ramp(), AFFINE).reoriented(codes)
    with pytest.raises(GeometryError, match=r"\(3, 4, 4\).*\(3, 4, 5\)"):
        Volume(ramp(), AFFINE).restored_mask(ramp()[..., :4])
