"""Axes and coordinates between napari and the session, in every view of every kind of image."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import ImageError
from napari_medclipsam.images.volume import Volume
from napari_medclipsam.napari_io import image_layer
from napari_medclipsam.widgets import _adapters as adapters


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("scale", [(1, 1, 1), (5, 0.4, 0.7)])
def test_the_slice_is_the_one_on_screen(order: tuple[int, ...], scale: tuple[float, ...]) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.random.default_rng(0).random((6, 7, 8)), scale=scale, translate=(-3, 10, 2))
    viewer.dims.order = order
    for step in range(layer.data.shape[order[0]]):
        viewer.dims.set_current_step(order[0], step)
        at = adapters.shown_slice(layer, viewer.dims)
        shown = layer._slice.image.view
        plane = layer.data[at.selector]
        assert at.index == step and np.array_equal(shown if order[1] < order[2] else shown.T, plane)


def test_a_finer_image_beside_does_not_shift_the_slice() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.random.default_rng(0).random((6, 7, 8)), scale=(5, 1, 1))
    viewer.add_image(np.zeros((60, 7, 8)), scale=(0.5, 1, 1))
    for step in range(int(viewer.dims.nsteps[0])):
        viewer.dims.set_current_step(0, step)
        at = adapters.shown_slice(layer, viewer.dims)
        if at is None:
            assert layer._slice.empty
        else:
            assert np.array_equal(layer._slice.image.view, layer.data[at.selector])


def test_no_slice_in_3d_and_outside() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((6, 7, 8)))
    viewer.add_image(np.zeros((9, 7, 8)), translate=(-2, 0, 0))
    viewer.dims.set_point(0, -2)
    assert adapters.shown_slice(layer, viewer.dims) is None
    viewer.dims.set_point(0, 0)
    assert adapters.shown_slice(layer, viewer.dims) == SliceAt((0, None, None))
    viewer.dims.ndisplay = 3
    assert adapters.shown_slice(layer, viewer.dims) is None


def test_a_picture_among_volumes_and_a_movie() -> None:
    viewer = ViewerModel()
    picture = viewer.add_image(np.zeros((7, 8)))
    movie = viewer.add_image(np.zeros((3, 5, 7, 8)))
    viewer.dims.set_current_step(0, 2)
    viewer.dims.set_current_step(1, 4)
    assert adapters.shown_slice(picture, viewer.dims) == SliceAt((None, None))
    assert adapters.shown_slice(movie, viewer.dims) == SliceAt((2, 4, None, None))
    viewer.dims.order = (0, 3, 1, 2)
    assert adapters.shown_slice(picture, viewer.dims) is None
    assert adapters.shown_slice(movie, viewer.dims).position[:3] == (2, None, None)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_going_to_a_slice(order: tuple[int, ...]) -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.zeros((6, 7, 8)), scale=(5, 0.4, 0.7), translate=(-3, 10, 2))
    viewer.dims.order = order
    at = SliceAt.across(order[0], 4)
    adapters.go_to(layer, viewer.dims, at)
    assert adapters.shown_slice(layer, viewer.dims) == at


FINITE = st.floats(-50, 300, allow_nan=False)


@settings(deadline=None)
@given(st.lists(st.tuples(FINITE, FINITE), max_size=5), st.sampled_from(["z", "y", "x", "2d", "4d"]))
def test_points_there_and_back(points: list[tuple[float, float]], kind: str) -> None:
    at = {
        "z": SliceAt((3, None, None)),
        "y": SliceAt((None, 3, None)),
        "x": SliceAt((None, None, 3)),
        "2d": SliceAt((None, None)),
        "4d": SliceAt((1, 2, None, None)),
    }[kind]
    data = adapters.points_to_data(points, at)
    assert data.shape == (len(points), len(at.position))
    assert all(np.all(data[:, axis] == index) for axis, index in enumerate(at.position) if index is not None)
    assert np.allclose(adapters.points_to_xy(data, at), np.reshape(points, (-1, 2)))


@settings(deadline=None)
@given(FINITE, FINITE, st.floats(0, 99), st.floats(0, 99))
def test_boxes_there_and_back(x: float, y: float, width: float, height: float) -> None:
    at = SliceAt((None, 5, None))
    box = (x, y, x + width, y + height)
    assert adapters.corners_to_box(adapters.box_to_corners(box, at), at) == pytest.approx(box, abs=1e-9)


def test_a_box_encloses_its_pixels_and_a_click_has_no_area() -> None:
    at = SliceAt((None, None))
    corners = adapters.box_to_corners((2, 3, 4, 3), at)
    assert corners.min(axis=0).tolist() == [2.5, 1.5] and corners.max(axis=0).tolist() == [3.5, 4.5]
    x0, y0, x1, y1 = adapters.corners_to_box(np.full((4, 2), 7.2), at)
    assert (x0, y0) == (x1, y1) == pytest.approx((7.2, 7.2))


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_a_plane_lies_on_its_slice(order: tuple[int, ...]) -> None:
    viewer = ViewerModel()
    array = np.random.default_rng(0).random((6, 7, 8))
    layer = viewer.add_image(array, scale=(5, 0.4, 0.7), translate=(-3, 10, 2), rotate=(0, 0, 0))
    viewer.dims.order = order
    at = SliceAt.across(order[0], 3)
    plane = viewer.add_image(adapters.plane_data(array[at.selector], at), **adapters.plane_place(layer, at), rgb=False)
    adapters.go_to(layer, viewer.dims, at)
    assert np.array_equal(plane._slice.image.view, layer._slice.image.view)
    assert np.allclose(plane.extent.world[:, order[1:]], layer.extent.world[:, order[1:]])
    adapters.go_to(layer, viewer.dims, at.moved(4))
    assert plane._slice.empty


def test_left_and_right_of_the_patient() -> None:
    # Stored towards right, anterior, superior: the reader turns it to left, posterior, superior.
    volume = Volume(np.zeros((4, 5, 6), np.uint8) + np.arange(6, dtype=np.uint8), np.diag([1.0, 1, 1, 1]))
    viewer = ViewerModel()
    data, shown, _ = image_layer([volume], "brain")
    layer = viewer.add_image(data, **shown)
    assert adapters.edges_of(layer, viewer) == ("R", "L", "A", "P")
    viewer.dims.order = (1, 0, 2)
    assert adapters.edges_of(layer, viewer) == ("R", "L", "I", "S")
    viewer.scene.camera.orientation2d = ("up", "right")
    assert adapters.edges_of(layer, viewer) == ("R", "L", "S", "I")
    viewer.dims.ndisplay = 3
    assert adapters.edges_of(layer, viewer) is None
    assert adapters.edges_of(viewer.add_image(np.zeros((4, 5, 6))), viewer) is None


def test_what_is_known_of_the_voxels() -> None:
    volume = Volume(np.zeros((4, 5, 6), np.int16), np.diag([-1.0, -2, 3, 1]), modality="MR")
    data, shown, _ = image_layer([volume], "brain")
    image = adapters.annotated_image(Image(data, **shown))
    assert image.spacing_mm == (3, 2, 1) and image.axis_codes == ("S", "P", "L") and image.modality == "MR"
    assert adapters.annotated_image(Image(np.zeros((4, 5, 6)))).spacing_mm is None
    micrometres = Image(np.zeros((4, 5, 6)), scale=(500, 500, 250), units=("um",) * 3)
    assert adapters.annotated_image(micrometres).spacing_mm == pytest.approx((0.5, 0.5, 0.25))
    with pytest.raises(ImageError, match="several resolutions"):
        adapters.annotated_image(Image([np.zeros((8, 8)), np.zeros((4, 4))], multiscale=True))


def test_strokes_are_read_from_the_layer() -> None:
    layer = Labels(np.zeros((4, 9, 9), np.uint8))
    strokes: list = []
    layer.events.paint.connect(lambda event: strokes.append(event.value))
    layer.brush_size = 3
    layer.selected_label = 2
    layer.paint((1, 4, 4), 2)
    layer.data_setitem((np.array([1, 2]), np.array([4, 0]), np.array([4, 0])), 5)
    replayed = np.zeros_like(layer.data)
    for atoms in strokes:
        indices, before, after = adapters.stroke_of(atoms)
        assert np.array_equal(replayed[indices], before)
        replayed[indices] = after
    assert replayed.any() and np.array_equal(replayed, layer.data)
