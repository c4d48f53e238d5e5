"""Volumes and diameters of classes and their objects, in ml and mm, on any grid.

Diameters are measured between the middles of the outer voxel faces, as PyRadiomics does on its meshes: a voxel is as
long as its edge.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_medclipsam.errors import OutputError
from napari_medclipsam.exchange.case import Case, LabelClass
from napari_medclipsam.exchange.objects import numbered_objects
from napari_medclipsam.files import atomic_path
from napari_medclipsam.images.volume import Volume

#: Slices thicker than the pixels by this much show the plane of acquisition.
_THICK = 1.2
_PLANES = {"L": "sagittal", "R": "sagittal", "A": "coronal", "P": "coronal", "S": "axial", "I": "axial"}
COLUMNS = (
    *("case", "label", "class", "object", "voxels", "volume_ml", "long_axis_mm", "short_axis_mm"),
    *("plane", "slice", "max_3d_mm"),
)


@dataclass(frozen=True)
class Measurement:
    """Size of one object, or of a whole class.

    Parameters
    ----------
    case : str
    label, name : int, str
        The class.
    number : int
        The object, from 1, largest first; 0 for the whole class: its voxels and volume, the greatest diameters among
        its objects.
    voxels : int
    volume_ml : float, optional
        None, like all that follows, where the image has no geometry or the class no voxel.
    long_axis_mm : float, optional
        The greatest diameter in one slice.
    short_axis_mm : float, optional
        The longest chord at right angles to it in the same slice (as in RECIST 1.1).
    plane, slice_index : str, int, optional
        Where the long axis lies: "axial", "coronal" or "sagittal", and the slice, from 0, of the image as stored.
    max_3d_mm : float, optional
        The greatest diameter in any direction.
    """

    case: str
    label: int
    name: str
    number: int
    voxels: int
    volume_ml: float | None = None
    long_axis_mm: float | None = None
    short_axis_mm: float | None = None
    plane: str | None = None
    slice_index: int | None = None
    max_3d_mm: float | None = None


def measure(case: Case) -> list[Measurement]:
    """Measure every class of a case and its objects; the row of the class comes first."""
    from scipy import ndimage

    rows: list[Measurement] = []
    for structure in case.classes:
        numbers_zyx, start_zyx = numbered_objects(case.mask_zyx(structure.label))
        objects = [
            _measured(case, structure, number, numbers_zyx[box] == number, box, start_zyx)
            for number, box in enumerate(ndimage.find_objects(numbers_zyx), 1)
        ]
        rows += [_whole(case, structure, objects), *objects]
    return rows


def _whole(case: Case, structure: LabelClass, objects: list[Measurement]) -> Measurement:
    if not objects:
        volume_ml = None if case.source.affine is None else 0.0
        return Measurement(case.name, structure.label, structure.name, 0, 0, volume_ml)
    longest = max(objects, key=lambda o: o.long_axis_mm or 0)
    return replace(
        longest,
        number=0,
        voxels=sum(o.voxels for o in objects),
        volume_ml=None if longest.volume_ml is None else sum(o.volume_ml or 0 for o in objects),
        max_3d_mm=max((o.max_3d_mm for o in objects if o.max_3d_mm is not None), default=None),
    )


def _measured(
    case: Case,
    structure: LabelClass,
    number: int,
    mask_zyx: np.ndarray,
    box: tuple[slice, ...],
    start_zyx: tuple[int, int, int],
) -> Measurement:
    voxels = int(np.count_nonzero(mask_zyx))
    affine = case.source.affine
    size = Measurement(case.name, structure.label, structure.name, number, voxels)
    if affine is None:
        return size
    steps_zyx_mm = affine[:3, 2::-1].T
    axis, plane = slicing_plane(case.source)
    long_mm, short_mm, index = _axes_in_plane(mask_zyx, steps_zyx_mm, axis)
    return replace(
        size,
        volume_ml=voxels * abs(float(np.linalg.det(affine[:3, :3]))) / 1000,
        long_axis_mm=long_mm,
        short_axis_mm=short_mm,
        plane=plane,
        slice_index=index + int(box[axis].start) + start_zyx[axis],
        max_3d_mm=_greatest_distance(_outer_points(mask_zyx) @ steps_zyx_mm)[0],
    )


def slicing_plane(source: Volume) -> tuple[int, str]:
    """Return the axis of (z, y, x) to measure across, and the plane: as acquired, or axial where voxels are even."""
    spacing, codes = source.spacing_zyx_mm, source.axis_codes
    if spacing is None or codes is None:
        return 0, ""
    planes = [_PLANES[code] for code in codes[::-1]]
    thickest = int(np.argmax(spacing))
    others = [mm for axis, mm in enumerate(spacing) if axis != thickest]
    axis = thickest if spacing[thickest] > _THICK * max(others) else planes.index("axial")
    return axis, planes[axis]


def _axes_in_plane(mask_zyx: np.ndarray, steps_zyx_mm: np.ndarray, axis: int) -> tuple[float, float, int]:
    """Return (long axis in mm, the axis at right angles to it, slice) of the slice with the longest axis."""
    steps_yx_mm = np.delete(steps_zyx_mm, axis, axis=0)
    # Two directions at right angles in the plane: (2, 3), and the pixel steps along them: (2, 2).
    directions = np.linalg.qr(steps_yx_mm.T)[0].T
    flat_mm = steps_yx_mm @ directions.T
    longest, index, ends = 0.0, 0, np.zeros((2, 2))
    for number, mask_yx in enumerate(np.moveaxis(mask_zyx, axis, 0)):
        if mask_yx.any():
            length, pair = _greatest_distance(_outer_points(mask_yx) @ flat_mm)
            if length > longest:
                longest, index, ends = length, number, pair
    return longest, _longest_chord(np.moveaxis(mask_zyx, axis, 0)[index], flat_mm, ends), index


def _outer_points(mask: np.ndarray) -> np.ndarray:
    """Return the middles of the faces between inside and outside, in voxel indices (n, ndim)."""
    found = []
    padded = np.pad(mask, 1)
    for axis in range(mask.ndim):
        faces = np.argwhere(np.diff(padded, axis=axis)).astype(float) - 1
        faces[:, axis] += 0.5
        found.append(faces)
    return np.concatenate(found)


def _greatest_distance(points_mm: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the greatest distance between two of (n, dimensions) points, and the two."""
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist, squareform

    if len(points_mm) > 50:
        points_mm = points_mm[ConvexHull(points_mm).vertices]
    distances = squareform(pdist(points_mm))
    first, second = np.unravel_index(distances.argmax(), distances.shape)
    return float(distances[first, second]), points_mm[[first, second]]


def _longest_chord(mask_yx: np.ndarray, flat_mm: np.ndarray, ends_mm: np.ndarray) -> float:
    """Return the longest unbroken line inside a mask at right angles to the line between two points.

    Lines are sampled at an eighth of a pixel, coarser where that would be more than a thousand steps.
    """
    along = (ends_mm[1] - ends_mm[0]) / np.linalg.norm(ends_mm[1] - ends_mm[0])
    across = np.array([-along[1], along[0]])
    points_mm = _outer_points(mask_yx) @ flat_mm
    reach = [(points_mm @ d).min() for d in (along, across)], [(points_mm @ d).max() for d in (along, across)]
    step = max(float(np.linalg.norm(flat_mm, axis=1).min()) / 8, float(np.subtract(*reach[::-1]).max()) / 1000)
    t, s = (np.arange(reach[0][n] + step / 2, reach[1][n], step) for n in (0, 1))
    places_mm = t[:, None, None] * along + s[:, None] * across
    y, x = np.moveaxis(np.floor(places_mm @ np.linalg.inv(flat_mm) + 0.5).astype(int), -1, 0)
    inside = (y >= 0) & (x >= 0) & (y < mask_yx.shape[0]) & (x < mask_yx.shape[1])
    inside[inside] = mask_yx[y[inside], x[inside]]
    return _longest_run(inside) * step


def _longest_run(lines: np.ndarray) -> int:
    """Return the length of the longest run of True within a row."""
    edges = np.diff(np.pad(lines, ((0, 0), (1, 1))).astype(np.int8), axis=1).ravel()
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return int((stops - starts).max(initial=0))


def export_measures(cases: Iterable[Case], path: str | os.PathLike[str]) -> Path:
    """Write the measurements of cases as CSV (columns `COLUMNS`, numbers to 0.001); read back before it counts.

    Raises
    ------
    OutputError
        If the file can't be written; it is then as it was before.
    """
    path = Path(path)
    rows = [_row(m) for case in cases for m in measure(case)]
    with atomic_path(path) as temporary:
        text = io.StringIO()
        csv.writer(text).writerows([list(COLUMNS), *rows])
        temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
        if list(csv.reader(io.StringIO(temporary.read_text(encoding="utf-8")))) != [list(COLUMNS), *rows]:
            raise OutputError(f"{path} did not read back as it was written. Check the disk and try again.")
    return path


def _row(m: Measurement) -> list[str]:
    def text(value: float | int | str | None) -> str:
        return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)

    values = (m.case, m.label, m.name, "all" if m.number == 0 else m.number, m.voxels, m.volume_ml, m.long_axis_mm)
    return [text(v) for v in (*values, m.short_axis_mm, m.plane, m.slice_index, m.max_3d_mm)]
