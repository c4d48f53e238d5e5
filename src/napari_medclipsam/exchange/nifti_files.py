"""NIfTI masks with exactly the geometry of their image: one file of labels, or a folder with a file per class."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.errors import GeometryError, ImageError, OutputError
from napari_medclipsam.exchange.case import Case, safe_name
from napari_medclipsam.exchange.grids import affine_of
from napari_medclipsam.exchange.label_table import table_path, table_text
from napari_medclipsam.files import atomic_folder, atomic_path
from napari_medclipsam.images.nifti import read_nifti, write_mask_nifti
from napari_medclipsam.images.volume import Volume


def export_labels_nifti(case: Case, path: str | os.PathLike[str]) -> list[Path]:
    """Write the labels of all classes into one NIfTI file, and their names beside it; read back before it counts.

    Parameters
    ----------
    case : Case
        Without overlaps.
    path : path-like
        Ends in .nii.gz or .nii. NAME.tsv beside it is a BIDS look-up table: index, name and colour of each label.

    Returns
    -------
    list of pathlib.Path
        What was written.

    Raises
    ------
    GeometryError
        If classes overlap or the image has no geometry.
    OutputError
        If the files can't be written, or read back as anything else; nothing is then left of them.
    """
    path = Path(path)
    labels_zyx = case.single_labels_zyx()
    # The table gets its name first: where there is a mask, its names are there too.
    with atomic_path(path) as temporary, atomic_path(table_path(path)) as table:
        table.write_text(table_text(case.classes), encoding="utf-8", newline="")
        _write_checked(labels_zyx, case.source, temporary)
    return [path, table_path(path)]


def export_classes_nifti(case: Case, folder: str | os.PathLike[str]) -> list[Path]:
    """Write one NIfTI file of 0 and 1 per class into a new folder, overlaps and empty classes included.

    Files are called LABEL_NAME.nii.gz, such as 001_left_lung.nii.gz; raises as `export_labels_nifti`.
    """
    folder = Path(folder)
    names = [f"{c.label:03d}_{safe_name(c.name)}.nii.gz" for c in case.classes]
    with atomic_folder(folder) as temporary:
        for structure, name in zip(case.classes, names, strict=True):
            _write_checked(case.mask_zyx(structure.label), case.source, temporary / name)
        (temporary / "classes.tsv").write_text(table_text(case.classes), encoding="utf-8", newline="")
    return [folder / name for name in [*names, "classes.tsv"]]


def write_image_nifti(source: Volume, path: Path) -> None:
    """Write the voxels of an image and where they lie, nothing else; checked by reading it again."""
    import nibabel

    affine = affine_of(source)
    array_ijk = source.array_zyx.transpose(2, 1, 0, *range(3, source.array_zyx.ndim))
    if source.rgb:
        raise ImageError("NIfTI export is for gray images; this one is in colour. Use PNG.")
    kind: Any = nibabel.Nifti1Image if max(array_ijk.shape) < 2**15 else nibabel.Nifti2Image
    image = kind(array_ijk, affine, dtype=array_ijk.dtype)
    image.set_sform(affine, code="scanner")
    # The qform can't hold shear; programs that prefer it then take the sform.
    if _is_rectangular(affine):
        image.set_qform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    _require_same(read_nifti(path), source.array_zyx, affine, path)


def _is_rectangular(affine: np.ndarray) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-5))


def require_rectangular(source: Volume, what: str) -> None:
    """Refuse a sheared grid, such as that of a tilted gantry, which ITK and what is built on it can't read.

    Raises
    ------
    GeometryError
        If two axes are not at right angles.
    """
    if not _is_rectangular(affine_of(source)):
        raise GeometryError(
            f"The axes of this image are not at right angles (a tilted CT gantry?), which {what} can't hold. "
            "Resample the image to a rectangular grid first."
        )


def _write_checked(mask_zyx: np.ndarray, source: Volume, path: Path) -> None:
    write_mask_nifti(mask_zyx, source, path)
    _require_same(read_nifti(path), mask_zyx, affine_of(source), path)


def _require_same(written: Volume, array_zyx: np.ndarray, affine: np.ndarray, path: Path) -> None:
    """Compare what a file holds with what it should hold: every voxel, and every place to 1 % of a voxel."""
    if not np.array_equal(written.array_zyx, array_zyx):
        raise OutputError(f"{path.name} did not read back as it was written. Check the disk and try again.")
    apart_mm = np.abs(affine_of(written) - affine)[:3] @ [*array_zyx.shape[2::-1], 1]
    if apart_mm.max() > 0.01 * np.linalg.norm(affine[:3, :3], axis=0).min():
        raise OutputError(
            f"{path.name} can't hold the place of the voxels: it reads back {apart_mm.max():.3g} mm away. "
            "Check the geometry of the image."
        )
