"""NIfTI in (.nii, .nii.gz, versions 1 and 2) and masks out on exactly the same grid."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.files import atomic_path
from napari_medclipsam.images.guard import MAX_DEFLATE_RATIO, reading, require_content, require_plane
from napari_medclipsam.images.labels import as_labels
from napari_medclipsam.images.volume import Volume

#: The header fields that place voxels in space. Nothing else is carried into masks: the free-text fields and the
#: extensions of a header may hold patient data.
_GEOMETRY_FIELDS = (
    *("dim", "pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)
_MM_PER_UNIT = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}


def read_nifti(path: str | os.PathLike[str], volume_index: int | None = None) -> Volume:
    """Read a NIfTI file.

    Parameters
    ----------
    path : path-like
        .nii or .nii.gz, 2D, 3D or 4D; RGB24 too.
    volume_index : int, optional
        Which volume of a 4D file, from 0; needed when there is more than one.

    Returns
    -------
    Volume
        Scaled by scl_slope and scl_inter; arrays are (k, j, i).

    Raises
    ------
    ImageError
        If the file is damaged, is 4D and `volume_index` is missing or too large, or has voxels that can't be used.
    GeometryError
        If the header does not say where the voxels are.
    """
    path = Path(path)
    with reading(path, "NIfTI image"):
        image, shape_ijk = _opened(path)
        index = _checked_volume(path, volume_index, _count(shape_ijk))
        voxels = image.dataobj[..., index] if len(shape_ijk) == 4 else _voxels(image.dataobj)
        return _volume(path, image, voxels, shape_ijk)


def read_nifti_frames(path: str | os.PathLike[str]) -> tuple[Volume, ...]:
    """Read every volume of a NIfTI file, one for a 3D file; raises as `read_nifti`."""
    path = Path(path)
    with reading(path, "NIfTI image"):
        image, shape_ijk = _opened(path)
        # All at once: a compressed file can't be read from the middle.
        voxels = _voxels(image.dataobj)
        frames = [voxels[:, :, :, i] for i in range(shape_ijk[3])] if len(shape_ijk) == 4 else [voxels]
        return tuple(_volume(path, image, frame, shape_ijk) for frame in frames)


def count_volumes(path: str | os.PathLike[str]) -> int:
    """Return how many volumes a NIfTI file holds, from its header; raises as `read_nifti`."""
    path = Path(path)
    with reading(path, "NIfTI image"):
        return _count(_opened(path)[1])


def _raw_header(path: Path) -> Any:
    """Read the header as it is: nibabel's own loading replaces zero voxel sizes by 1, and we never guess."""
    from nibabel import nifti1, nifti2

    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if compressed else open(path, "rb") as file:
        start = file.read(540)
    kinds: tuple[tuple[Any, bytes], ...] = (
        (nifti1.Nifti1Header, start[344:348]),
        (nifti2.Nifti2Header, start[4:8]),
    )
    for kind, magic in kinds:
        if magic in (b"ni1\0", b"ni2\0"):
            raise ImageError(f"{path} is half of a .hdr/.img pair. Save it as one .nii.gz file and open that.")
        if magic in (b"n+1\0", b"n+2\0"):
            if compressed != path.name.lower().endswith(".gz"):
                state, name = ("compressed", ".nii.gz") if compressed else ("not compressed", ".nii")
                raise ImageError(f"{path} is {state}, which its name does not say. Rename it to end in {name}.")
            return kind(start[: kind.sizeof_hdr], check=False)
    raise ImageError(f"{path} is not a NIfTI file. Convert the image to NIfTI (.nii.gz) first, or open the original.")


def _check_size(path: Path, header: Any, shape_ijk: tuple[int, ...], size_bytes: int) -> None:
    """Refuse a file that can't hold what its header promises, before memory is taken for it."""
    if len(shape_ijk) < 2 or min(shape_ijk) < 1:
        raise ImageError(f"{path} has the shape {shape_ijk}; expected 2 to 4 axes, none empty. Export it again.")
    require_plane(path, shape_ijk[1], shape_ijk[0])
    promised = int(np.prod([int(n) for n in shape_ijk], dtype=object)) * header.get_data_dtype().itemsize
    most = size_bytes * (MAX_DEFLATE_RATIO if path.name.lower().endswith(".gz") else 1)
    if promised > most:
        raise ImageError(
            f"{path} is incomplete: its header announces {promised:,} bytes of voxels {shape_ijk} and the file can't "
            "hold them. Get it again from its source."
        )


def _check_geometry(path: Path, header: Any) -> None:
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if sform <= 0 and qform <= 0:
        raise GeometryError(
            f"{path} does not say where its voxels are (sform_code and qform_code are both 0). Convert it again from "
            "the original, or set the form once you know it is right (for example with fslorient)."
        )
    sizes = np.asarray(header["pixdim"][1:4], float)
    if sform <= 0 and not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise GeometryError(
            f"{path} has voxel sizes {sizes.tolist()}; expected positive numbers. Export it again with its geometry."
        )


def _opened(path: Path) -> tuple[Any, tuple[int, ...]]:
    """Return the checked file and its shape (i, j, k) or (i, j, k, volumes)."""
    import nibabel

    size = require_content(path)
    raw_header = _raw_header(path)
    _check_size(path, raw_header, tuple(int(n) for n in raw_header.get_data_shape()), size)
    _check_geometry(path, raw_header)
    # Without mmap: a program that overwrites the file later would crash this one.
    image: Any = nibabel.load(path, mmap=False)
    if not isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti2Image)):
        raise ImageError(f"{path} is not a single NIfTI file. Save it as .nii.gz and open that.")
    shape_ijk = image.shape
    while len(shape_ijk) > 3 and shape_ijk[-1] == 1:
        shape_ijk = shape_ijk[:-1]
    if len(shape_ijk) > 4:
        raise ImageError(f"{path} has {len(shape_ijk)} axes {shape_ijk}; expected 2 to 4. Split it into volumes first.")
    return image, shape_ijk


def _count(shape_ijk: tuple[int, ...]) -> int:
    return shape_ijk[3] if len(shape_ijk) == 4 else 1


def _volume(path: Path, image: Any, voxels: np.ndarray, shape_ijk: tuple[int, ...]) -> Volume:
    array_ijk = _gray_or_rgb(path, voxels).reshape(*shape_ijk[:3], *([1] if len(shape_ijk) == 2 else []), *_rgb(voxels))
    unit = image.header.get_xyzt_units()[0]
    if unit not in _MM_PER_UNIT:
        raise GeometryError(f"{path} measures length in '{unit}'; expected mm. Set the unit in its header.")
    to_mm = np.diag([_MM_PER_UNIT[unit]] * 3 + [1.0])
    array_zyx = np.ascontiguousarray(array_ijk.transpose(2, 1, 0, *range(3, array_ijk.ndim)))
    return Volume(array_zyx, to_mm @ image.affine, nifti_header=_geometry_only(image.header, shape_ijk[:3]))


def _voxels(proxy: Any) -> np.ndarray:
    scaled = (proxy.slope, proxy.inter) != (1.0, 0.0)
    # Asked for its array, nibabel would scale to float64: twice the memory for nothing.
    return np.asarray(proxy, np.float32) if scaled else np.asarray(proxy)


def _checked_volume(path: Path, volume_index: int | None, count: int) -> int:
    if volume_index is None and count > 1:
        raise ImageError(
            f"{path} is 4D and holds {count} volumes. Choose one of 0 to {count - 1} (on the command line: "
            "--volume-index), or save it as a file of its own."
        )
    index = volume_index or 0
    if not 0 <= index < count:
        raise ImageError(
            f"{path} has no volume {index}: it holds {count}, numbered 0 to {count - 1}. Choose one of these."
        )
    return index


def _rgb(voxels: np.ndarray) -> list[int]:
    return [3] if voxels.dtype.fields else []


def _gray_or_rgb(path: Path, voxels: np.ndarray) -> np.ndarray:
    if voxels.dtype.fields:
        return np.stack([voxels[channel] for channel in "RGB"], axis=-1)
    if voxels.dtype.kind not in "iuf":
        raise ImageError(
            f"{path} holds {voxels.dtype} voxels; expected real numbers. Save its magnitude and open that."
        )
    return voxels


def _geometry_only(header: Any, shape_ijk: tuple[int, ...]) -> Any:
    kept = type(header)()
    for name in _GEOMETRY_FIELDS:
        kept[name] = header[name]
    kept.set_data_shape(shape_ijk)
    return kept


def write_mask_nifti(mask_zyx: np.ndarray, source: Volume, path: str | os.PathLike[str]) -> None:
    """Write a label mask on the grid of `source`, all or nothing.

    For a source that was NIfTI, affine, shape, units and form codes are those of its file, bit for bit.

    Raises
    ------
    GeometryError
        If the shape is not the source's, or the source has no geometry.
    OutputError
        If the file can't be written.
    """
    import nibabel

    source.require_mask_shape(mask_zyx)
    if source.affine is None:
        raise GeometryError(
            f"Can't write {path}: the image has no known geometry and a NIfTI mask needs one. Use .png or .tif instead."
        )
    labels_ijk = as_labels(mask_zyx).transpose(2, 1, 0)
    header = source.nifti_header
    if header is None:
        image: Any = nibabel.Nifti1Image(labels_ijk, source.affine)
        _set_both_forms(image, source.affine)
        image.header.set_xyzt_units("mm")
    else:
        header = header.copy()
        header.set_data_dtype(labels_ijk.dtype)
        kind: Any = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
        image = kind(labels_ijk.reshape(header.get_data_shape()), header.get_best_affine(), header)
    with atomic_path(path) as temporary:
        nibabel.save(image, temporary)


def _set_both_forms(image: Any, affine: np.ndarray) -> None:
    """Set the sform, and the qform too where it can say the same (it can't hold shear), for programs that prefer it."""
    image.set_sform(affine, code="scanner")
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    # A gantry-tilted CT is sheared; its qform stays unset.
    if np.allclose(axes.T @ axes, np.eye(3), atol=1e-5):
        image.set_qform(affine, code="scanner")
