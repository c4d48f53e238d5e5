"""Is a mask on the image's grid? Exact reordering where it is, the difference in words where it is not.

A grid is an affine from voxel indices (i, j, k) to RAS millimetres and a shape. Two grids are the same when their
voxels lie in the same places, in whatever order and direction the axes are stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_medclipsam.errors import GeometryError
from napari_medclipsam.images.orientation import axis_codes, grids_agree, spacing_zyx_of
from napari_medclipsam.images.volume import Volume


def on_source_grid(
    mask_zyx: np.ndarray, affine: np.ndarray, source: Volume, name: str, resample: bool = False
) -> np.ndarray:
    """Return a mask on the grid of an image.

    Parameters
    ----------
    mask_zyx : numpy.ndarray
        Labels, (z, y, x) as stored.
    affine : numpy.ndarray
        Of the mask, (4, 4), (i, j, k) to RAS mm.
    source : Volume
        The image, with geometry.
    name : str
        The mask, for the message.
    resample : bool
        Where the grids differ, give each voxel of the image the label of the mask's nearest voxel, and 0 outside the
        mask, instead of refusing.

    Raises
    ------
    GeometryError
        If the grids differ and `resample` is False, or the image has no geometry.
    """
    source_affine = affine_of(source)
    steps = storage_steps(affine, mask_zyx.shape, source_affine, source.shape_zyx)
    if steps is not None:
        return reordered(mask_zyx, *steps)
    if resample:
        return resampled(mask_zyx, affine, source)
    raise GeometryError(
        f"{name} is not on the grid of the image: "
        + "; ".join(differences(affine, mask_zyx.shape, source_affine, source.shape_zyx))
        + ". Check that it belongs to this image; if it does, ask for resampling (--resample on the command line)."
    )


def affine_of(source: Volume) -> np.ndarray:
    """Return the affine of an image, or refuse an image without geometry."""
    if source.affine is None:
        raise GeometryError(
            "The image has no known geometry (a picture, for example) and this needs one. Use PNG or TIFF with it."
        )
    return source.affine


def storage_steps(
    affine: np.ndarray, shape_zyx: Sequence[int], source_affine: np.ndarray, source_shape_zyx: Sequence[int]
) -> tuple[tuple[int, ...], tuple[bool, ...]] | None:
    """Return how the axes (i, j, k) of a grid are stored in another: (which axis of it, whether backwards) for each.

    None where the grids are not the same. Unlike orientation codes, this is exact for axes at 45 degrees too.
    """
    to_source = np.linalg.inv(source_affine)[:3, :3] @ affine[:3, :3]
    signed = np.rint(to_source)
    if not (np.abs(signed).sum(axis=0) == 1).all() or not (np.abs(signed).sum(axis=1) == 1).all():
        return None
    axes = tuple(int(axis) for axis in np.abs(signed).argmax(axis=1))
    backwards = tuple(bool(signed[row, axis] < 0) for row, axis in enumerate(axes))
    shape_ijk = tuple(shape_zyx)[2::-1]
    if tuple(shape_ijk[axis] for axis in axes) != tuple(source_shape_zyx)[2::-1]:
        return None
    # The affine of the mask after it is reordered: its columns permuted and flipped, its origin at the new first voxel.
    change = np.eye(4)
    change[:3, :3] = 0
    for row, (axis, back) in enumerate(zip(axes, backwards, strict=True)):
        change[axis, row] = -1 if back else 1
        change[axis, 3] = shape_ijk[axis] - 1 if back else 0
    if not grids_agree(source_affine, affine @ change, tuple(source_shape_zyx)):
        return None
    return axes, backwards


def reordered(mask_zyx: np.ndarray, axes: Sequence[int], backwards: Sequence[bool]) -> np.ndarray:
    """Bring an array to the axes that `storage_steps` found; no voxel changes its value."""
    turned_ijk = mask_zyx.transpose(2, 1, 0).transpose(*axes)
    turned_ijk = turned_ijk[tuple(slice(None, None, -1 if back else 1) for back in backwards)]
    return np.ascontiguousarray(turned_ijk.transpose(2, 1, 0))


def resampled(mask_zyx: np.ndarray, affine: np.ndarray, source: Volume) -> np.ndarray:
    """Return a mask on the grid of an image by nearest neighbour, slice by slice; 0 outside the mask's grid."""
    to_mask = np.linalg.inv(affine) @ affine_of(source)
    _, rows, columns = source.shape_zyx
    y, x = np.mgrid[:rows, :columns]
    last_ijk = np.array(mask_zyx.shape[::-1])[:, None, None] - 1
    result = np.zeros(source.shape_zyx, mask_zyx.dtype)
    for z in range(source.shape_zyx[0]):
        exact = np.tensordot(to_mask[:3], np.stack([x, y, np.full_like(x, z), np.ones_like(x)]), axes=1)
        nearest = np.floor(exact + 0.5).astype(int)
        inside = ((nearest >= 0) & (nearest <= last_ijk)).all(axis=0)
        i, j, k = nearest[:, inside]
        result[z][inside] = mask_zyx[k, j, i]
    return result


def differences(
    affine: np.ndarray, shape_zyx: Sequence[int], source_affine: np.ndarray, source_shape_zyx: Sequence[int]
) -> list[str]:
    """Say in words what differs between the grid of a mask and that of an image."""
    found = []
    if sorted(shape_zyx) != sorted(source_shape_zyx):
        found.append(f"shape {_times(shape_zyx)} and not {_times(source_shape_zyx)} (slices, rows, columns)")
    spacings, wanted = spacing_zyx_of(affine), spacing_zyx_of(source_affine)
    if not np.allclose(sorted(spacings), sorted(wanted), rtol=1e-3):
        found.append(f"voxels of {_mm(spacings)} and not {_mm(wanted)} mm (z, y, x)")
    angle = _tilt_degrees(affine, source_affine)
    if angle > 0.1:
        codes, wanted_codes = ("".join(axis_codes(a)) for a in (affine, source_affine))
        found.append(f"axes tilted by {angle:.1f} degrees ({codes} and {wanted_codes})")
    shift = _centre(affine, shape_zyx) - _centre(source_affine, source_shape_zyx)
    if np.linalg.norm(shift) > 0.05 * min(wanted):
        found.append(f"centre {_towards(shift)} of the image's")
    return found or ["its voxels lie a fraction of a voxel beside the image's"]


def _tilt_degrees(affine: np.ndarray, source_affine: np.ndarray) -> float:
    """Return the largest angle from an axis of one grid to the nearest axis of the other, whatever their directions."""
    units, wanted = (a[:3, :3] / np.linalg.norm(a[:3, :3], axis=0) for a in (affine, source_affine))
    nearest = np.abs(wanted.T @ units).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(nearest, 0, 1))).max())


def _centre(affine: np.ndarray, shape_zyx: Sequence[int]) -> np.ndarray:
    middle_ijk = (np.array(shape_zyx)[::-1] - 1) / 2
    centre: np.ndarray = (affine @ [*middle_ijk, 1])[:3]
    return centre


def _towards(shift_ras_mm: np.ndarray) -> str:
    words = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))
    return (
        ", ".join(
            f"{abs(mm):.1f} mm {pair[int(mm > 0)]}"
            for mm, pair in zip(shift_ras_mm, words, strict=True)
            if abs(mm) >= 0.05
        )
        or f"{np.linalg.norm(shift_ras_mm):.3f} mm off"
    )


def _times(shape: Sequence[int]) -> str:
    return " x ".join(str(n) for n in shape)


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{mm:.3g}" for mm in spacing)
