"""Tiny DICOM slices that tests can bend."""

from __future__ import annotations

from typing import Any

import numpy as np

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
ROOT_UID = "1.2.826.0.1.3680043.8.498."


def make_slice(number: int, **changes: Any) -> Any:
    """Return a 6 x 5 CT slice (rows x columns) at 2 mm x 1.5 mm, 3 mm thick; `None` removes an element."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CT_CLASS
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"{ROOT_UID}1.{number + 1}"
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = (f"{ROOT_UID}{n}" for n in (2, 3, 4))
    ds.Modality, ds.SeriesNumber, ds.SeriesDescription = "CT", 7, "thin"
    ds.PatientName, ds.PatientID = "SECRET^NAME", "SECRETID"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.InstanceNumber = number + 1
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 6, 5, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelSpacing, ds.SliceThickness = [2.0, 1.5], 3.0
    ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-10.0, -20.0, 100.0 + 3 * number]
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.PixelData = stored_pixels(number).tobytes()
    for tag, value in changes.items():
        if value is None:
            delattr(ds, tag)
        else:
            setattr(ds, tag, value)
    return ds


def stored_pixels(number: int) -> np.ndarray:
    """The stored values of slice `number`, all different."""
    return (np.arange(30, dtype=np.uint16) * 3 + 100 * number + 24).reshape(6, 5)


def big_pixels(number: int) -> np.ndarray:
    """12-bit noise, 32 x 32: JPEG 2000 can't pack anything much smaller."""
    return np.random.default_rng(number).integers(0, 4096, (32, 32)).astype(np.uint16)


def make_big_slice(number: int) -> Any:
    """Return a slice of `big_pixels`."""
    return make_slice(number, Rows=32, Columns=32, PixelData=big_pixels(number).tobytes())
