"""Slices of images of any shape, turned for the models and back."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.images.volume import Volume
from napari_medclipsam.reading_view import reading_view

RAMP = np.arange(2 * 4 * 5 * 6, dtype=np.int16).reshape(2, 4, 5, 6)


def test_a_slice_is_what_the_volume_shows():
    affine = np.diag([-0.5, -0.5, 3.0, 1.0])
    affine[:3, :3] = affine[:3, :3][:, [1, 0, 2]]
    volume = Volume(RAMP[0], affine)
    image = AnnotatedImage.from_volume(volume)
    expected = reading_view(volume).turned.slice_pixels(2)
    got = image.slice_pixels(SliceAt.across(0, 2))
    np.testing.assert_array_equal(got.pixels, expected.pixels)
    assert got.spacing_mm == expected.spacing_mm == (0.5, 0.5)
    assert image.turn(SliceAt.across(0, 2)).swap


@pytest.mark.parametrize(
    ("array", "rgb", "at", "shape"),
    [
        (RAMP[0, 0], False, (None, None), (5, 6)),
        (RAMP[0], False, (None, 2, None), (4, 6)),
        (RAMP, False, (1, None, None, 3), (4, 5)),
        (RAMP, False, (None, 1, None, 3), (2, 5)),
        (np.zeros((4, 5, 6, 3), np.uint8), True, (None, None, 5), (4, 5)),
        (np.zeros((5, 6, 4), np.uint8), True, (None, None), (5, 6)),
    ],
)
def test_any_axes(array, rgb, at, shape):
    image = AnnotatedImage(array, rgb=rgb)
    place = SliceAt(at)
    picture = image.slice_pixels(place)
    assert picture.shape_yx == shape == image.shape_yx(place)
    assert picture.pixels.shape[2:] == ((3,) if rgb else ())
    if not rgb:
        plane = array[tuple(slice(None) if i is None else i for i in at)]
        assert np.unravel_index(picture.pixels.argmax(), shape) == np.unravel_index(plane.argmax(), shape)


def test_spacing_of_thick_slices_and_of_time():
    image = AnnotatedImage(RAMP, spacing_mm=(5.0, 1.0, 2.0))
    assert image.slice_pixels(SliceAt((0, None, 1, None))).spacing_mm == (5.0, 2.0)
    assert image.slice_pixels(SliceAt((None, 0, 1, None))).spacing_mm is None
    assert image.voxel_ml == pytest.approx(0.01)
    assert AnnotatedImage(RAMP[0, 0], spacing_mm=(1.0, 1.0)).voxel_ml is None


def test_the_window_of_the_viewer_is_the_window_of_the_models():
    pixels = AnnotatedImage(RAMP[0]).slice_pixels(SliceAt.across(0, 0), (0.0, 29.0)).pixels
    assert pixels.min() == 0 and pixels.max() == 255


@pytest.mark.parametrize(
    "array", [np.zeros(5), np.zeros((2, 3), complex), np.zeros((0, 3)), np.full((3, 4), np.nan, np.float32)]
)
def test_what_can_not_be_labelled_is_refused(array):
    with pytest.raises(ImageError):
        AnnotatedImage(array)


def test_wrong_geometry_and_slices_are_refused():
    for spacing in ((1.0, 1.0), (1.0, 0.0, 1.0), (1.0, np.nan, 1.0)):
        with pytest.raises(GeometryError):
            AnnotatedImage(RAMP[0], spacing)
    with pytest.raises(GeometryError):
        AnnotatedImage(RAMP[0], axis_codes=("S", "I", "L"))
    for position in ((4, None, None), (-1, None, None), (None, None)):
        with pytest.raises(ImageError):
            AnnotatedImage(RAMP[0]).slice_pixels(SliceAt(position))
    with pytest.raises(ImageError):
        SliceAt((1, 2, None))
