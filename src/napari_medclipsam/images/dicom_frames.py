"""One record per DICOM image plane, whether it is a file of its own or a frame of an enhanced multi-frame file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_medclipsam.images.dicom_series import Series


@dataclass(frozen=True)
class Frame:
    """Where a plane is stored and where it lies.

    Parameters
    ----------
    path, index : pathlib.Path, int
        The file, and the frame in it from 0.
    number : int
        Instance number: the order in which the scanner numbered the images.
    shape_yx : tuple of int
        (rows, columns).
    position_lps_mm : tuple of float, optional
        Centre of the first pixel.
    directions_lps : tuple of float, optional
        Unit vectors along a row (x grows) and along a column (y grows), three numbers each.
    spacing_yx_mm : tuple of float, optional
        Between rows and between columns.
    thickness_mm : float, optional
        Distance to the next slice as the header has it; used for single slices only.
    slope, intercept : float
        Stored value to physical value.
    """

    path: Path
    index: int
    number: int
    shape_yx: tuple[int, int]
    position_lps_mm: tuple[float, ...] | None
    directions_lps: tuple[float, ...] | None
    spacing_yx_mm: tuple[float, float] | None
    thickness_mm: float | None
    slope: float
    intercept: float

    @property
    def placed(self) -> bool:
        """True when any of the tags that place a plane in the patient is there."""
        return self.position_lps_mm is not None or self.directions_lps is not None


def frames_of(series: Series) -> list[Frame]:
    """Return every plane of a series, in the order of files and frames."""
    return [
        frame_of(path, header, index)
        for path, header in series.headers
        for index in range(int(header.get("NumberOfFrames") or 1))
    ]


def frame_of(path: Path, header: Any, index: int) -> Frame:
    """Return plane `index`, from 0, of a DICOM file with this header."""

    def find(group: str, tag: str) -> Any:
        """Look in the frame's own functional group, then in the shared one, then in the header."""
        for items in (_item(header, "PerFrameFunctionalGroupsSequence", index), _shared(header)):
            value = items and _item(items, group, 0)
            if value and value.get(tag) not in (None, ""):
                return value.get(tag)
        return header.get(tag)

    spacing = _floats(find("PixelMeasuresSequence", "PixelSpacing"), 2)
    distance = [find("PixelMeasuresSequence", tag) for tag in ("SpacingBetweenSlices", "SliceThickness")]
    slope = find("PixelValueTransformationSequence", "RescaleSlope")
    intercept = find("PixelValueTransformationSequence", "RescaleIntercept")
    return Frame(
        path=path,
        index=index,
        number=int(header.get("InstanceNumber") or 0),
        shape_yx=(int(header.Rows), int(header.Columns)),
        position_lps_mm=_floats(find("PlanePositionSequence", "ImagePositionPatient"), 3),
        directions_lps=_floats(find("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        spacing_yx_mm=None if spacing is None else (spacing[0], spacing[1]),
        thickness_mm=next((abs(float(d)) for d in distance if d), None),
        slope=1.0 if slope in (None, "") else float(slope),
        intercept=0.0 if intercept in (None, "") else float(intercept),
    )


def _item(dataset: Any, sequence: str, index: int) -> Any | None:
    items = dataset.get(sequence)
    return items[index] if items is not None and index < len(items) else None


def _shared(header: Any) -> Any | None:
    return _item(header, "SharedFunctionalGroupsSequence", 0)


def _floats(value: Any, count: int) -> tuple[float, ...] | None:
    if value is None or isinstance(value, (str, float, int)) or len(value) != count:
        return None
    return tuple(float(number) for number in value)
