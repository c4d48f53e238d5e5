"""Which way the axes of a volume point in the patient.

Affines map voxel indices (i, j, k) to millimetres in RAS: x grows to the patient's right, y to anterior, z to superior.
Arrays are (z, y, x) = (k, j, i). Only flips and swaps of axes happen here: no voxel is ever interpolated.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_medclipsam.errors import GeometryError

#: Columns closer to one plane than this (volume of the box spanned by their unit vectors) do not make a 3D grid.
_FLATTEST = 1e-3


def checked_affine(affine: object) -> np.ndarray:
    """Return an affine as float64 (4, 4), or refuse it.

    Raises
    ------
    GeometryError
        If it is not 4 x 4, not finite, does not end in (0, 0, 0, 1), or is singular.
    """
    try:
        matrix = np.array(affine, np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    remedy = "Export the image again with its geometry; it is never guessed."
    if matrix.shape != (4, 4):
        raise GeometryError(f"The affine has shape {matrix.shape}, expected (4, 4). {remedy}")
    if not np.isfinite(matrix).all():
        raise GeometryError(f"The affine holds numbers that are not finite (NaN or infinite). {remedy}")
    if not np.array_equal(matrix[3], [0, 0, 0, 1]):
        raise GeometryError(f"The last row of the affine is {matrix[3].tolist()}, expected [0, 0, 0, 1]. {remedy}")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not (np.isfinite(lengths).all() and (lengths > 1e-9).all()) or (
        abs(np.linalg.det(matrix[:3, :3] / lengths)) < _FLATTEST
    ):
        raise GeometryError(
            f"The affine is singular: its voxel sizes are {np.round(lengths, 6).tolist()} mm, or two axes point the "
            f"same way. {remedy}"
        )
    return matrix


def spacing_zyx_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Return the voxel size in mm along (z, y, x)."""
    x, y, z = (float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    return (z, y, x)


def axis_codes(affine: np.ndarray) -> tuple[str, str, str]:
    """Return the direction in which each of (i, j, k) grows, from L R, P A and I S, to the closest axis."""
    from nibabel.orientations import aff2axcodes

    i, j, k = aff2axcodes(affine)
    return (str(i), str(j), str(k))


def reorient(array_zyx: np.ndarray, affine: np.ndarray, codes_ijk: str) -> tuple[np.ndarray, np.ndarray]:
    """Flip and swap axes until (i, j, k) grow towards `codes_ijk`; returns (array_zyx, affine).

    ``"RAS"`` is the closest canonical orientation. ``"LPS"`` is how axial slices are read: anterior at the top, the
    patient's left on the right of the picture.

    Raises
    ------
    GeometryError
        If `codes_ijk` does not name each of the three directions once.
    """
    from nibabel.orientations import inv_ornt_aff

    steps = _steps(affine, codes_ijk)
    turned = affine @ inv_ornt_aff(steps, array_zyx.shape[2::-1])
    return _apply(array_zyx, steps), turned


def restore(array_zyx: np.ndarray, affine: np.ndarray, codes_ijk: str) -> np.ndarray:
    """Undo `reorient`: bring an array that was drawn on the turned grid back to the grid of `affine`."""
    steps = _steps(affine, codes_ijk)
    back = np.empty_like(steps)
    for axis, (target, flip) in enumerate(steps.astype(int)):
        back[target] = (axis, flip)
    return _apply(array_zyx, back)


def _steps(affine: np.ndarray, codes_ijk: str) -> Any:
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    codes = codes_ijk.upper()
    pairs = ("LR", "PA", "IS")
    if len(codes) != 3 or any(sum(code in pair for code in codes) != 1 for pair in pairs):
        raise GeometryError(f"'{codes_ijk}' is no orientation; give one of L R, one of P A and one of I S, like RAS.")
    return ornt_transform(io_orientation(affine), axcodes2ornt(tuple(codes)))


def _apply(array_zyx: np.ndarray, steps: Any) -> np.ndarray:
    from nibabel.orientations import apply_orientation

    rest = tuple(range(3, array_zyx.ndim))
    array_ijk = array_zyx.transpose((2, 1, 0, *rest))
    turned: np.ndarray = apply_orientation(array_ijk, steps).transpose((2, 1, 0, *rest))
    return turned


def grids_agree(affine_a: np.ndarray, affine_b: np.ndarray, shape_zyx: tuple[int, ...]) -> bool:
    """Tell whether two affines place every corner of a grid within 5 % of a voxel of each other."""
    last_ijk = np.array(shape_zyx[2::-1]) - 1
    corners = np.array([[*(last_ijk * corner), 1] for corner in np.ndindex(2, 2, 2)], np.float64)
    apart = np.linalg.norm(corners @ (affine_a - affine_b).T, axis=1).max()
    return bool(apart <= 0.05 * min(spacing_zyx_of(affine_a)))
