"""The one place where napari's axes and coordinates become those of the session, and back.

napari: world coordinates, one per axis of the viewer, and data coordinates, one per axis of a layer, in array order; a
pixel covers ±0.5 around its index. The session: `SliceAt`, and (x, y) in the pixels of a slice, x along the later of
the two array axes that are shown, y along the earlier one, whatever order the viewer draws them in.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import Box, SliceAt
from napari_medclipsam.annotation.prompts import BoxXYXY
from napari_medclipsam.errors import ImageError
from napari_medclipsam.napari_io import METADATA_KEY, LayerSource

if TYPE_CHECKING:
    from napari.components import Dims, ViewerModel
    from napari.layers import Image, Layer

_OPPOSITE = {"L": "R", "R": "L", "P": "A", "A": "P", "I": "S", "S": "I"}


class Edges(NamedTuple):
    """What of the patient lies at each edge of the canvas, from L R, P A, I S."""

    left: str
    right: str
    top: str
    bottom: str


def annotated_image(layer: Image) -> AnnotatedImage:
    """Return the voxels of an image layer with what is known of their geometry.

    Raises
    ------
    ImageError
        If the layer can't be labelled: several resolutions, complex numbers, NaN.
    """
    if layer.multiscale:
        raise ImageError(
            f'The image "{layer.name}" is kept in several resolutions, which can\'t be labelled here. '
            "Open it again as one array."
        )
    source = layer.metadata.get(METADATA_KEY)
    known = isinstance(source, LayerSource)
    codes = source.codes_zyx if known and layer.ndim >= 3 else None
    modality = source.views[0].stored.modality if known else ""
    return AnnotatedImage(np.asarray(layer.data), _spacing_mm(layer), codes, layer.rgb, modality)


def _spacing_mm(layer: Layer) -> tuple[float, ...] | None:
    """Return the voxel size along the last three axes (two of a picture); None where a unit is no length."""
    n_spatial = min(3, layer.ndim)
    lengths = [unit for unit in layer.units[-n_spatial:] if unit.is_compatible_with("mm")]
    if len(lengths) < n_spatial:
        return None
    return tuple(
        float(size * (1 * unit).to("mm").magnitude)
        for size, unit in zip(layer.scale[-n_spatial:], lengths, strict=True)
    )


def shown_slice(layer: Layer, dims: Dims) -> SliceAt | None:
    """Return the slice of a layer that the viewer shows.

    None where it shows no single slice of it: in 3D view, outside of the layer, or when only one of the two axes on
    the canvas is an axis of the layer.
    """
    axes = _displayed_axes(layer, dims)
    if axes is None:
        return None
    # The very rounding that napari slices by (half to even), so that no other slice than the one on screen is meant.
    indices = np.round(layer.world_to_data(dims.point)).astype(int)
    position = tuple(None if axis in axes else int(index) for axis, index in enumerate(indices))
    shape = layer.data.shape
    if any(index is not None and not 0 <= index < shape[axis] for axis, index in enumerate(position)):
        return None
    return SliceAt(position)


def _displayed_axes(layer: Layer, dims: Dims) -> tuple[int, int] | None:
    """Return the array axes that run down and across the canvas; None where these are not two axes of the layer."""
    if dims.ndisplay != 2:
        return None
    # A layer with fewer axes than the viewer has the last ones of it.
    down, across = (axis - (dims.ndim - layer.ndim) for axis in dims.displayed)
    return None if min(down, across) < 0 else (down, across)


def go_to(layer: Layer, dims: Dims, at: SliceAt) -> None:
    """Make the viewer show a slice, across another axis if need be."""
    shown = _displayed_axes(layer, dims)
    if shown is not None and set(shown) != set(at.axes_yx):
        first = dims.ndim - layer.ndim
        down, across = (first + axis for axis in at.axes_yx)
        dims.order = (*(axis for axis in range(dims.ndim) if axis not in (down, across)), down, across)
    data = [0 if index is None else index for index in at.position]
    world = layer.data_to_world(data)
    first = dims.ndim - layer.ndim
    for axis, index in enumerate(at.position):
        if index is not None:
            dims.set_point(first + axis, world[axis])


def edges_of(layer: Layer, viewer: ViewerModel) -> Edges | None:
    """Return what of the patient lies at the edges of the canvas; None where that is not known, and in 3D view."""
    source = layer.metadata.get(METADATA_KEY)
    codes = source.codes_zyx if isinstance(source, LayerSource) else None
    axes = _displayed_axes(layer, viewer.dims)
    if codes is None or axes is None or min(axes) < layer.ndim - 3:
        return None
    bottom, right = (codes[axis - (layer.ndim - 3)] for axis in axes)
    # napari can be told to draw an axis the other way.
    down, across = (str(direction) for direction in viewer.scene.camera.orientation2d)
    bottom = bottom if down == "down" else _OPPOSITE[bottom]
    right = right if across == "right" else _OPPOSITE[right]
    return Edges(_OPPOSITE[right], right, _OPPOSITE[bottom], bottom)


def points_to_xy(coordinates: np.ndarray, at: SliceAt) -> np.ndarray:
    """Return data coordinates (n, axes) as (x, y), float64 (n, 2)."""
    rows, columns = at.axes_yx
    return np.asarray(coordinates, float).reshape(-1, len(at.position))[:, [columns, rows]]


def points_to_data(points_xy: np.ndarray | Sequence[Sequence[float]], at: SliceAt) -> np.ndarray:
    """Return (x, y) as data coordinates, float64 (n, axes), on the plane of the slice."""
    points = np.asarray(points_xy, float).reshape(-1, 2)
    rows, columns = at.axes_yx
    data = np.zeros((len(points), len(at.position)))
    data[:] = [0 if index is None else index for index in at.position]
    data[:, columns], data[:, rows] = points[:, 0], points[:, 1]
    return data


def box_to_corners(box_xyxy: BoxXYXY, at: SliceAt) -> np.ndarray:
    """Return a box as the corners of a rectangle around its pixels, (4, axes)."""
    x0, y0, x1, y1 = np.add(box_xyxy, (-0.5, -0.5, 0.5, 0.5))
    return points_to_data([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], at)


def corners_to_box(corners: np.ndarray, at: SliceAt) -> BoxXYXY:
    """Return the box of the pixels inside a shape, whatever its kind; of no area where it is less than a pixel."""
    points = points_to_xy(corners, at)
    low, high = points.min(axis=0) + 0.5, points.max(axis=0) - 0.5
    middle = (low + high) / 2
    (x0, y0), (x1, y1) = np.minimum(low, middle), np.maximum(high, middle)
    return (float(x0), float(y0), float(x1), float(y1))


def remove_layers(viewer: ViewerModel, layers: Iterable[Layer | None]) -> None:
    """Take layers out of a viewer, those that are in it."""
    # napari collects garbage for every layer that goes: beside loaded models that takes a second each, unless what is
    # there already is left out.
    gc.freeze()
    try:
        for layer in layers:
            if layer in viewer.layers:
                viewer.layers.remove(layer)
    finally:
        gc.unfreeze()


def same_place(layer: Layer) -> dict[str, Any]:
    """Return what puts another layer on the very grid of this one."""
    return {name: getattr(layer, name) for name in ("scale", "translate", "rotate", "shear", "affine", "units")}


def plane_place(layer: Layer, at: SliceAt) -> dict[str, Any]:
    """Return what puts a layer of one slice (`plane_data`) where that slice of `layer` is."""
    n = layer.ndim
    corner = np.array([0 if index is None else index for index in at.position], float)
    origin = np.asarray(layer.data_to_world(corner))
    steps = [np.asarray(layer.data_to_world(corner + step)) - origin for step in np.eye(n)]
    affine = np.eye(n + 1)
    affine[:n, :n] = np.transpose(steps)
    affine[:n, n] = origin
    return {"affine": affine, "units": layer.units}


def plane_data(plane_yx: np.ndarray, at: SliceAt) -> np.ndarray:
    """Return a slice as an array of all axes, of length one across it."""
    fixed = tuple(axis for axis, index in enumerate(at.position) if index is not None)
    return np.expand_dims(plane_yx, fixed)


def touches(boxes: Iterable[Box], at: SliceAt | None) -> bool:
    """Tell whether a part of the image grid has voxels in a slice."""
    return at is not None and any(
        all(index is None or part.start <= index < part.stop for index, part in zip(at.position, box, strict=True))
        for box in boxes
    )


def stroke_of(atoms: Sequence[Any]) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """Return what a Labels layer reports as painted, voxel by voxel.

    Parameters
    ----------
    atoms : sequence
        The value of its ``paint`` event: (indices, before, after), or a box with a mask, the labels before under the
        mask and the one label after.

    Returns
    -------
    indices : tuple of numpy.ndarray
        One array per axis, in the order of the stroke.
    before, after : numpy.ndarray
        Labels of these voxels.
    """
    parts = [_indices_of(atom) for atom in atoms]
    n_axes = len(parts[0][0])
    indices = tuple(np.concatenate([part[0][axis] for part in parts]) for axis in range(n_axes))
    return indices, np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])


def _indices_of(atom: Any) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    if hasattr(atom, "slice_key"):
        starts = [part.start or 0 for part in atom.slice_key]
        mask = np.ones(atom.old_values.shape, bool) if atom.mask is None else atom.mask
        indices = [axis + start for axis, start in zip(np.nonzero(mask), starts, strict=True)]
        before, after = np.ravel(atom.old_values), atom.new_value
    else:
        places, old, after = atom
        indices = [np.ravel(axis) for axis in np.broadcast_arrays(*places)]
        before = np.ravel(np.broadcast_to(old, indices[0].shape))
    return indices, before, np.broadcast_to(after, before.shape)
