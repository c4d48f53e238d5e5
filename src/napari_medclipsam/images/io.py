"""One door in and out: `read_image`, `read_mask` and `write_mask` choose the format."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.images import dicom, nifti, orientation, picture
from napari_medclipsam.images.guard import reading, require_content
from napari_medclipsam.images.labels import as_labels
from napari_medclipsam.images.volume import Volume

_PICTURE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
VOLUMES = (".nii", ".nii.gz")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
DICOM = (".dcm", ".ima", ".dicom")
_SUFFIXES = {"nifti": VOLUMES, "dicom": DICOM, "picture": PICTURES}
_KNOWN = "NIfTI (.nii, .nii.gz), DICOM (a folder or a file), PNG, JPEG and TIFF"


def kind_of(path: str | os.PathLike[str]) -> str:
    """Return "nifti", "dicom" or "picture", by content first and by name where the content does not tell.

    Raises
    ------
    ImageError
        If the file is missing, empty or of no kind that can be read.
    """
    path = Path(path)
    if path.is_dir():
        return "dicom"
    require_content(path)
    with reading(path, "file"), open(path, "rb") as file:
        start = file.read(352)
    if start.startswith(_PICTURE_MAGIC):
        return "picture"
    if start[128:132] == b"DICM":
        return "dicom"
    if start[344:347] in (b"n+1", b"ni1") or start[4:7] in (b"n+2", b"ni2"):
        return "nifti"
    name = path.name.lower()
    for kind, suffixes in _SUFFIXES.items():
        if name.endswith(suffixes):
            return kind
    if start[:2] in (b"\x08\x00", b"\x02\x00"):
        return "dicom"
    raise ImageError(f"{path} is of a kind that can't be read here. Readable are {_KNOWN}: convert it to one of them.")


def read_image(path: str | os.PathLike[str], volume_index: int | None = None, series_uid: str | None = None) -> Volume:
    """Read an image of any kind that is supported.

    Parameters
    ----------
    path : path-like
        A NIfTI, PNG, JPEG, TIFF or DICOM file, or a folder with a DICOM series.
    volume_index : int, optional
        Which volume of a 4D image, from 0.
    series_uid : str, optional
        SeriesInstanceUID or series number, for a DICOM folder with several series.

    Raises
    ------
    ImageError
        If it can't be read, or its voxels can't be used.
    GeometryError
        If its place in space is missing or contradictory.
    """
    kind = kind_of(path)
    if series_uid is not None and kind != "dicom":
        raise ImageError(f"{path} is not DICOM, so it has no series '{series_uid}'. Take it without one.")
    if kind == "dicom":
        return dicom.read_dicom(path, series_uid, volume_index)
    if kind == "nifti":
        return nifti.read_nifti(path, volume_index)
    if volume_index not in (None, 0):
        raise ImageError(f"{path} is a picture and has no volume {volume_index}. Take it without a number.")
    return picture.read_picture(path)


def read_mask(path: str | os.PathLike[str], source: Volume | None = None) -> np.ndarray:
    """Read a label mask as uint8 or uint16 (z, y, x).

    Parameters
    ----------
    path : path-like
        NIfTI, PNG or TIFF.
    source : Volume, optional
        The image it belongs to: the mask is turned to the image's axes (flips and swaps only) and must then match it.

    Raises
    ------
    ImageError
        If it can't be read or its values are not labels.
    GeometryError
        If it does not lie on the grid of `source`.
    """
    kind = kind_of(path)
    if kind == "dicom":
        raise ImageError(f"{path} is DICOM; expected a mask as NIfTI, PNG or TIFF. Convert the segmentation to NIfTI.")
    if kind == "picture":
        mask_zyx = picture.read_mask_picture(path)
    else:
        volume = nifti.read_nifti(path)
        if volume.rgb:
            raise ImageError(f"{path} is in colour; expected one label per voxel. Save the mask as whole numbers.")
        mask_zyx, affine = volume.array_zyx, volume.affine
        if source is not None and source.affine is not None and affine is not None:
            mask_zyx = _on_grid(path, mask_zyx, affine, source, source.affine)
    if mask_zyx.dtype not in (np.uint8, np.uint16):
        mask_zyx = as_labels(mask_zyx)
    if source is not None:
        source.require_mask_shape(mask_zyx)
    return np.ascontiguousarray(mask_zyx)


def _on_grid(
    path: str | os.PathLike[str], mask_zyx: np.ndarray, affine: np.ndarray, source: Volume, source_affine: np.ndarray
) -> np.ndarray:
    codes = "".join(orientation.axis_codes(source_affine))
    turned, turned_affine = orientation.reorient(mask_zyx, affine, codes)
    source.require_mask_shape(turned)
    if not orientation.grids_agree(source_affine, turned_affine, source.shape_zyx):
        raise GeometryError(
            f"The mask {path} lies elsewhere in space than the image: same shape, another affine. "
            "Resample it to the image first, or check that it belongs to this image."
        )
    return turned


def write_mask(mask_zyx: np.ndarray, source: Volume, path: str | os.PathLike[str]) -> None:
    """Write a label mask on the grid of the image it was made on, in the format that the name asks for.

    Parameters
    ----------
    mask_zyx : numpy.ndarray
        Bool or whole numbers from 0 to 65535, of the shape of `source`; stored as uint8, or uint16 above 255.
    source : Volume
        The image, as it was read.
    path : path-like
        .nii or .nii.gz (needs geometry), .png (one slice) or .tif. An existing file is replaced, all or nothing.

    Raises
    ------
    GeometryError
        If shapes differ, or a NIfTI is asked for without geometry.
    ImageError
        If the values are not labels or the format can't hold the mask.
    OutputError
        If the file can't be written; it is then as it was before.
    """
    name = Path(path).name.lower()
    if name.endswith((".nii", ".nii.gz")):
        nifti.write_mask_nifti(mask_zyx, source, path)
    elif name.endswith(".png"):
        picture.write_mask_png(mask_zyx, source, path)
    elif name.endswith((".tif", ".tiff")):
        picture.write_mask_tiff(mask_zyx, source, path)
    else:
        raise ImageError(f"Can't tell the format of the mask from the name {path}. Use .nii.gz, .png or .tif.")


def mask_suffix(image: Volume) -> str:
    """Return the file type that can hold a mask of an image with all that is known of its geometry."""
    if image.affine is not None:
        return ".nii.gz"
    return ".png" if image.n_slices() == 1 else ".tif"
