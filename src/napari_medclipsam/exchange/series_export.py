"""A de-identified copy of the DICOM series that masks belong to, with or without the masks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.errors import OutputError
from napari_medclipsam.exchange.case import Case
from napari_medclipsam.exchange.deidentify import Deidentifier
from napari_medclipsam.exchange.dicom_source import DicomSource, open_source
from napari_medclipsam.exchange.seg_export import export_seg
from napari_medclipsam.files import atomic_folder
from napari_medclipsam.images.guard import reading


def export_series(series: DicomSource, folder: str | os.PathLike[str], deidentifier: Deidentifier) -> Path:
    """Write a de-identified copy of a series into a new folder; pixels and geometry stay bit for bit.

    Files are called 0001.dcm, 0002.dcm … in the order of the slices. Read back before it counts.

    Raises
    ------
    ImageError
        If a file can't be read, lacks its identifiers, or says that text is burned into its pixels.
    OutputError
        If the folder exists, can't be written, or reads back as anything else; nothing is then left of it.
    """
    import pydicom

    folder = Path(folder)
    series.headers()  # Refuses a series without identifiers before anything is written.
    with atomic_folder(folder) as temporary:
        for number, file in enumerate(series.files, 1):
            target = temporary / f"{number:04d}.dcm"
            with reading(file, "DICOM image", keep_cause=False):
                dataset = pydicom.dcmread(file)
                pixels = dataset.PixelData
                deidentifier.apply(dataset)
                dataset.save_as(target, enforce_file_format=True)
                _require_same(pydicom.dcmread(target), pixels, target)
        _opened_copy(series, temporary)
    return folder


def export_deidentified(
    case: Case, series: DicomSource, folder: str | os.PathLike[str], deidentifier: Deidentifier
) -> Path:
    """Write what can be given away: images/, segmentation.dcm that refers to them, and what was removed.

    deidentification.json is the report of the de-identifier: attributes and counts, no values.

    Raises
    ------
    GeometryError, ImageError, OutputError
        As `export_series` and `seg_export.export_seg`; nothing is then left of the folder.
    """
    folder = Path(folder)
    with atomic_folder(folder) as temporary:
        export_series(series, temporary / "images", deidentifier)
        export_seg(case, _opened_copy(series, temporary / "images"), temporary / "segmentation.dcm")
        (temporary / "deidentification.json").write_text(deidentifier.report.to_json(), encoding="utf-8")
    return folder


def _require_same(written: Any, pixels: bytes, target: Path) -> None:
    if written.PixelData != pixels:
        raise OutputError(f"{target.name} did not read back as it was written. Check the disk and try again.")


def _opened_copy(series: DicomSource, folder: Path) -> DicomSource:
    """Open the copy of a series, and make sure that it lies on the same grid."""
    n_frames = sum(int(header.get("NumberOfFrames") or 1) for header in series.headers())
    copy = open_source(folder, volume_index=series.volume_index if n_frames > len(series.stack) else None)
    if not np.array_equal(copy.affine, series.affine):
        raise OutputError(f"The copy of {series.path} does not read back on the same grid. Report this, please.")
    return copy
