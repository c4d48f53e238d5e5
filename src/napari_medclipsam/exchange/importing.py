"""Masks made elsewhere, brought onto the grid of an image: NIfTI, PNG, TIFF and DICOM-SEG."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np

from napari_medclipsam.errors import ImageError
from napari_medclipsam.exchange.case import Case, LabelClass
from napari_medclipsam.exchange.grids import on_source_grid
from napari_medclipsam.exchange.label_table import names_beside
from napari_medclipsam.exchange.seg_import import read_seg
from napari_medclipsam.images.io import kind_of
from napari_medclipsam.images.labels import as_labels
from napari_medclipsam.images.nifti import read_nifti
from napari_medclipsam.images.picture import read_mask_picture
from napari_medclipsam.images.volume import Volume

#: More labels that nobody has named are an image, taken for a mask.
MOST_NAMELESS = 64


def import_masks(
    path: str | os.PathLike[str], source: Volume, resample: bool = False, known: Collection[int] = ()
) -> Case:
    """Read a mask of any kind and put it on the grid of its image.

    A mask on the image's grid whose axes are stored in another order or direction is reordered exactly. Any other grid
    is refused, with the difference in words.

    Parameters
    ----------
    path : path-like
        NIfTI, PNG or TIFF (pixel for pixel, for images stored the same way), with the names of the labels from NAME.tsv
        beside it, where there is one; white (255) on black is label 1. Or a DICOM-SEG object.
    source : Volume
        The image.
    resample : bool
        Bring a NIfTI or DICOM-SEG mask from another grid to the nearest voxels of the image instead of refusing it.
    known : collection of int
        Labels that have a class already, so that they need no name.

    Returns
    -------
    Case
        Named after the file, with a class for each label; a label without a name is "label N".

    Raises
    ------
    ImageError
        If it can't be read, or its values are not labels: no whole numbers, or more than 64 without a name.
    GeometryError
        If it is not on the grid of the image and `resample` is False.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind == "dicom":
        if path.is_dir():
            raise ImageError(f"{path} is a folder; expected one DICOM-SEG file. Give the file in it.")
        return read_seg(path, source, resample)
    if kind == "picture":
        labels_zyx = read_mask_picture(path)
        source.require_mask_shape(labels_zyx)
        if _is_black_and_white(labels_zyx) and 255 not in {*known, *(c.label for c in names_beside(path))}:
            labels_zyx = (labels_zyx > 0).astype(np.uint8)
        return Case(path.stem, source, labels_zyx, _numbered(path, labels_zyx, known))
    return _from_nifti(path, source, resample, known)


def _is_black_and_white(labels_zyx: np.ndarray) -> bool:
    """Whether a picture is drawn in white on black, as programs write masks of one structure."""
    return bool(np.isin(labels_zyx, (0, 255)).all()) and bool(labels_zyx.any())


def _from_nifti(path: Path, source: Volume, resample: bool, known: Collection[int]) -> Case:
    volume = read_nifti(path)
    if volume.rgb:
        raise ImageError(f"{path} is in colour; expected one label per voxel. Save the mask as whole numbers.")
    labels_zyx = as_labels(volume.array_zyx)
    # NIfTI always has an affine here: the reader refuses one that does not say where its voxels are.
    if volume.affine is not None:
        labels_zyx = on_source_grid(labels_zyx, volume.affine, source, str(path), resample)
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    return Case(name, source, labels_zyx, _numbered(path, labels_zyx, known))


def _numbered(path: Path, labels_zyx: np.ndarray, known: Collection[int]) -> tuple[LabelClass, ...]:
    """Return the classes that are named beside the mask, and one more for every label that has no name."""
    named = names_beside(path)
    nameless = {int(label) for label in np.unique(labels_zyx)} - {0} - {c.label for c in named}
    new = nameless - set(known)
    if len(new) > MOST_NAMELESS:
        raise ImageError(
            f"This looks like an image, not a mask: {path} has {len(new)} values without a name, from {min(new)} to "
            f"{max(new)}; expected at most {MOST_NAMELESS}, one for each structure. Give the mask; if it is one, name "
            "its labels in NAME.tsv beside it."
        )
    return (*named, *(LabelClass(label, f"label {label}") for label in sorted(nameless)))
