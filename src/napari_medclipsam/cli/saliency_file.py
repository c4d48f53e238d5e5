"""Saliency maps as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.cli.outputs import suffix_of
from napari_medclipsam.files import atomic_path
from napari_medclipsam.images.volume import Volume


def write_saliency(values_zyx: np.ndarray, source: Volume, path: Path) -> None:
    """Write a saliency map, all or nothing: NIfTI and NPY as float32 in [0, 1], PNG and TIFF as 16 bit (65535 is 1).

    The file type must suit the image: see ``cli.outputs.require_suitable``.

    Raises
    ------
    OutputError
        If it can't be written.
    """
    writer = {".png": _write_png, ".tif": _write_tiff, ".npy": _write_npy}.get(suffix_of(path), _write_nifti)
    with atomic_path(path) as temporary:
        writer(values_zyx.astype(np.float32), source, temporary)


def _as_16_bit(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1) * 65535).astype(np.uint16)


def _write_png(values_zyx: np.ndarray, source: Volume, path: Path) -> None:
    from PIL import Image

    Image.fromarray(_as_16_bit(values_zyx[0])).save(path, format="PNG")


def _write_tiff(values_zyx: np.ndarray, source: Volume, path: Path) -> None:
    import tifffile

    tifffile.imwrite(path, _as_16_bit(values_zyx), photometric="minisblack", metadata={"axes": "ZYX"})


def _write_npy(values_zyx: np.ndarray, source: Volume, path: Path) -> None:
    with open(path, "wb") as target:
        np.save(target, values_zyx)


def _write_nifti(values_zyx: np.ndarray, source: Volume, path: Path) -> None:
    import nibabel

    values_ijk = values_zyx.transpose(2, 1, 0)
    header: Any = source.nifti_header
    image: Any
    if header is None:
        image = nibabel.Nifti1Image(values_ijk, source.affine)
        image.header.set_xyzt_units("mm")
    else:
        # The header of the source, so that the map lies on the very grid of its image.
        header = header.copy()
        header.set_data_dtype(np.float32)
        kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
        image = kind(values_ijk.reshape(header.get_data_shape()), header.get_best_affine(), header)
    nibabel.save(image, path)
