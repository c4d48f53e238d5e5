"""Which DICOM files belong together: scanning a folder, and choosing one series of it.

Only the tags below are ever loaded while scanning, so that patient data can't reach a message or a log.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_medclipsam.errors import ImageError
from napari_medclipsam.images.guard import reading, require_content
from napari_medclipsam.wording import counted

_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription", "SeriesNumber", "Modality"),
    *("ImageType", "InstanceNumber", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "PixelSpacing"),
    *("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "SpacingBetweenSlices"),
    *("RescaleSlope", "RescaleIntercept", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
#: Modalities of objects that describe images (segmentations, plans, reports), not images.
_NOT_IMAGES = {"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTRECORD", "PR", "KO", "SR", "REG", "FID", "ECG", "DOC", "AU"}
_DICOMDIR = "1.2.840.10008.1.3.10"


@dataclass(frozen=True, eq=False)
class Series:
    """The image files of one DICOM series, in the order of their paths.

    Parameters
    ----------
    uid : str
        SeriesInstanceUID; "" where it was removed.
    number, description : str
        As in the files; "" where absent.
    headers : tuple of (pathlib.Path, pydicom.Dataset)
        Without pixels and without patient data.
    notes : tuple of str
        What was left out.
    """

    uid: str
    number: str
    description: str
    headers: tuple[tuple[Path, Any], ...]
    notes: tuple[str, ...] = ()

    @property
    def n_images(self) -> int:
        """Images, counting each frame of a multi-frame file."""
        return sum(int(header.get("NumberOfFrames") or 1) for _, header in self.headers)


def find_series(path: str | os.PathLike[str], series_uid: str | None = None) -> Series:
    """Return the series at a path.

    Parameters
    ----------
    path : path-like
        A file: its series, gathered from its folder. A folder: the one series in it and the folders below.
    series_uid : str, optional
        SeriesInstanceUID or series number, where a folder holds several.

    Raises
    ------
    ImageError
        If there is no image, several series and no choice, no such series, or a damaged file.
    """
    path = Path(path)
    with reading(path, "DICOM image", keep_cause=False):
        if path.is_dir():
            files = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
        else:
            require_content(path)
            header = _image_header(path)
            if header is None:
                raise ImageError(f"{path} is not a DICOM image (perhaps a segmentation or a report). Open its images.")
            series_uid = series_uid or _series_uid(header)
            files = [file for file in path.parent.iterdir() if file.is_file()]
        return _chosen(path, _series_among(path, files), series_uid)


def list_series(folder: str | os.PathLike[str]) -> tuple[Series, ...]:
    """Return every series in a folder and the folders below.

    Raises
    ------
    ImageError
        If there is no image, or a damaged file.
    """
    folder = Path(folder)
    with reading(folder, "DICOM image", keep_cause=False):
        return tuple(_series_among(folder, [Path(f) / name for f, _, names in os.walk(folder) for name in names]))


def is_dicom_image(path: Path) -> bool:
    """Tell whether a file is a DICOM image, be it a damaged one; a segmentation or a report is none."""
    try:
        return _image_header(path) is not None
    except ImageError:
        return True
    except OSError:
        return False


def _series_among(path: Path, files: list[Path]) -> list[Series]:
    headers = [(file, _image_header(file)) for file in sorted(files)]
    images = [(file, header) for file, header in headers if header is not None]
    if not images:
        raise ImageError(
            f"{path} holds no DICOM image among its {len(files)} files. Give the folder of one series, or a file."
        )
    return _grouped(images, len(headers) - len(images))


def _image_header(path: Path) -> Any | None:
    """Return the header of a DICOM image; None for any other file."""
    import pydicom

    with open(path, "rb") as file:
        start = file.read(132)
    marked = start[128:] == b"DICM"
    # Old files lack the preamble and start with an element of group 0008 (or 0002), little endian.
    if not marked and start[:2] not in (b"\x08\x00", b"\x02\x00"):
        return None
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS, force=not marked)
        if "Rows" in header and "Columns" in header and header.get("Modality") not in _NOT_IMAGES:
            return header
    except Exception:
        if not marked:
            return None
        raise ImageError(_damaged(path)) from None
    kind = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID", ""))
    described = header.get("Modality") in _NOT_IMAGES or kind.startswith(_DICOMDIR) or _is_no_image_class(kind)
    if marked and not described:
        # Skipping it in silence could cost the first or last slice of a series.
        raise ImageError(_damaged(path))
    return None


def patient_id(path: str | os.PathLike[str], series_uid: str | None = None) -> str:
    """Return PatientID of a series, "" where it says none; read for the moment, and part of nothing else here.

    Raises
    ------
    ImageError
        As `find_series`.
    """
    import pydicom

    file, _ = find_series(path, series_uid).headers[0]
    with reading(file, "DICOM file", keep_cause=False):
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["PatientID"], force=True)
    return str(header.get("PatientID") or "").strip()


def _series_uid(header: Any) -> str:
    """Return the series UID; "" where a careless anonymiser removed it, so that such files form one series."""
    return str(header.get("SeriesInstanceUID") or "")


def _damaged(path: Path) -> str:
    return (
        f"The DICOM file {path} is damaged or incomplete. Get it again, or remove it if it is not part of the series."
    )


def _is_no_image_class(uid: str) -> bool:
    """Tell reports, waveforms, presentation states, raw data, documents and plans by their SOP class."""
    storage = "1.2.840.10008.5.1.4.1.1."
    parts = ("9.", "11.", "66", "88.", "104.", "481.3", "481.5", "481.8", "67")
    return uid.startswith(tuple(storage + part for part in parts))


def _grouped(images: list[tuple[Path, Any]], skipped: int) -> list[Series]:
    by_uid: dict[str, dict[str, tuple[Path, Any]]] = {}
    copies: Counter[str] = Counter()
    for path, header in images:
        uid = _series_uid(header)
        instance = str(header.get("SOPInstanceUID") or path)
        if instance in by_uid.setdefault(uid, {}):
            copies[uid] += 1
        by_uid[uid].setdefault(instance, (path, header))
    found = []
    for uid, members in by_uid.items():
        kept = [member for member in members.values() if not _is_localizer(member[1])] or list(members.values())
        counts = (
            (skipped, "file that is not a DICOM image", "files that are not DICOM images"),
            (len(members) - len(kept), "localizer", "localizers"),
            (copies[uid], "second copy of an image", "second copies of images"),
        )
        notes = tuple(f"Skipped {counted(n, one, many)}." for n, one, many in counts if n)
        first = kept[0][1]
        number, description = (str(first.get(tag) or "") for tag in ("SeriesNumber", "SeriesDescription"))
        found.append(Series(uid, number, description, tuple(kept), notes))
    return found


def _is_localizer(header: Any) -> bool:
    kinds = header.get("ImageType") or []
    return "LOCALIZER" in ([kinds] if isinstance(kinds, str) else [str(kind).upper() for kind in kinds])


def _chosen(path: Path, found: list[Series], wanted: str | None) -> Series:
    if wanted is None and len(found) == 1:
        return found[0]
    matches = [series for series in found if wanted in (series.uid, series.number)]
    if len(matches) == 1:
        return matches[0]
    numbers = Counter(series.number for series in found)
    lines = [
        f"{s.number if s.number and numbers[s.number] == 1 else s.uid}: "
        f"{s.description or 'no description'}, {counted(s.n_images, 'image')}"
        for s in sorted(found, key=lambda s: (s.number.zfill(8), s.uid))
    ]
    if wanted is None:
        reason = f"{path} holds {len(found)} DICOM series, expected one."
    else:
        reason = f"{path} holds {len(matches) or 'no'} series '{wanted}'."
    raise ImageError(f"{reason} Choose one (on the command line: --series): {'; '.join(lines)}.")
