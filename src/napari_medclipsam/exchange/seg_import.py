"""DICOM-SEG to masks on the grid of an image: binary, label map and two-valued fractional objects of any program."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.exchange.case import Case, LabelClass
from napari_medclipsam.exchange.grids import affine_of, on_source_grid
from napari_medclipsam.images.dicom_frames import Frame, frame_of
from napari_medclipsam.images.guard import reading, require_content, require_plane
from napari_medclipsam.images.volume import Volume

_SEGMENTATION_STORAGE = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
#: A frame may lie this far from its place on the image's grid, in voxels; programs round positions.
_SLACK_VOXELS = 0.05


@dataclass(frozen=True, eq=False)
class _Plane:
    """One frame of a segmentation: a bool mask (y, x) of one segment, and where it lies."""

    segment: int
    mask_yx: np.ndarray
    frame: Frame

    @property
    def origin_ras_mm(self) -> np.ndarray:
        """Centre of the first pixel."""
        return _LPS_TO_RAS @ np.array(self.frame.position_lps_mm)

    @property
    def steps_ras_mm(self) -> np.ndarray:
        """(3, 2): one pixel along x and one along y."""
        spacing_y, spacing_x = self.frame.spacing_yx_mm or (np.nan, np.nan)
        steps: np.ndarray = _LPS_TO_RAS @ np.array(self.frame.directions_lps).reshape(2, 3).T * [spacing_x, spacing_y]
        return steps


def is_seg(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is a DICOM segmentation object."""
    import pydicom

    with reading(path, "DICOM file", keep_cause=False):
        header = pydicom.dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
        return str(header.get("SOPClassUID", "")) in _SEGMENTATION_STORAGE


def read_seg(path: str | os.PathLike[str], source: Volume, resample: bool = False) -> Case:
    """Read a DICOM segmentation onto the grid of an image.

    Parameters
    ----------
    path : path-like
        The object, in one file.
    source : Volume
        The image it belongs to; slices that the object leaves out are empty.
    resample : bool
        Take the nearest voxel where the grids differ, instead of refusing.

    Returns
    -------
    Case
        Labels are the segment numbers, names and colours those of the object; overlapping segments have own masks.

    Raises
    ------
    ImageError
        If it can't be read, or holds probabilities.
    GeometryError
        If it is not on the grid of the image and `resample` is False.
    """
    path = Path(path)
    require_content(path)
    with reading(path, "DICOM segmentation", keep_cause=False):
        import pydicom

        dataset = pydicom.dcmread(path)
        if str(dataset.get("SOPClassUID", "")) not in _SEGMENTATION_STORAGE:
            raise ImageError(f"{path} is DICOM but no segmentation. Give a DICOM-SEG object, or NIfTI or PNG masks.")
        require_plane(path, int(dataset.Rows), int(dataset.Columns))
        classes = _classes(dataset)
        masks = _masks_on_grid(path, dataset, source, resample)
        return _case(path, source, classes, masks)


def _classes(dataset: Any) -> tuple[LabelClass, ...]:
    found: list[LabelClass] = []
    for segment in dataset.SegmentSequence:
        number = int(segment.SegmentNumber)
        # Label maps may describe their background as segment 0.
        if number == 0:
            continue
        name = " ".join(str(segment.get("SegmentLabel") or f"segment {number}").split())
        if any(name.casefold() == other.name.casefold() for other in found):
            name = f"{name} ({number})"
        found.append(LabelClass(number, name, _color(segment)))
    return tuple(found)


def _color(segment: Any) -> str:
    from highdicom.color import CIELabColor

    value = segment.get("RecommendedDisplayCIELabValue")
    if not value or len(value) != 3:
        return ""
    return "#{:02X}{:02X}{:02X}".format(*CIELabColor.from_dicom_value(tuple(value)).to_rgb())


def _masks_on_grid(path: Path, dataset: Any, source: Volume, resample: bool) -> dict[int, np.ndarray]:
    """Return a mask (z, y, x) of the image per segment that has frames."""
    masks: dict[int, np.ndarray] = {}
    for plane in _planes(path, dataset):
        if plane.frame.position_lps_mm is None or plane.frame.directions_lps is None:
            raise GeometryError(f"{path} does not say where its frames lie. Export it again from its source.")
        part = _part_of_source(plane, source)
        if part is None:
            return _through_own_grid(path, list(_planes(path, dataset)), source, resample)
        selector, in_order = part
        mask_zyx = masks.setdefault(plane.segment, np.zeros(source.shape_zyx, bool))
        mask_zyx[selector] |= in_order
    return masks


def _planes(path: Path, dataset: Any) -> Iterator[_Plane]:
    kind = str(dataset.get("SegmentationType", "BINARY"))
    top = int(dataset.get("MaximumFractionalValue") or 1) if kind == "FRACTIONAL" else 1
    for index, pixels_yx in enumerate(_frames(dataset)):
        frame = frame_of(path, dataset, index)
        if kind == "LABELMAP":
            for number in np.unique(pixels_yx):
                if number:
                    yield _Plane(int(number), pixels_yx == number, frame)
            continue
        if kind == "FRACTIONAL" and not np.isin(pixels_yx, (0, top)).all():
            raise ImageError(
                f"{path} holds probabilities and not masks (fractional segmentation). Save it as binary, with a "
                "threshold of your choice, in the program that it comes from."
            )
        yield _Plane(_segment_number(dataset, index), pixels_yx > 0, frame)


def _frames(dataset: Any) -> Iterator[np.ndarray]:
    """Decode the frames one at a time."""
    from pydicom.pixels.utils import iter_pixels

    if int(dataset.BitsAllocated) != 1 or dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        yield from iter_pixels(dataset)
        return
    # pydicom 3.0.2 fails on frames of packed bits that do not start at a byte.
    packed = np.frombuffer(dataset.PixelData, np.uint8)
    shape_yx = (int(dataset.Rows), int(dataset.Columns))
    n_pixels = shape_yx[0] * shape_yx[1]
    for index in range(int(dataset.NumberOfFrames)):
        byte, bit = divmod(index * n_pixels, 8)
        part = packed[byte : (byte * 8 + bit + n_pixels + 7) // 8]
        yield np.unpackbits(part, bitorder="little")[bit : bit + n_pixels].reshape(shape_yx)


def _segment_number(dataset: Any, index: int) -> int:
    for group in (dataset.PerFrameFunctionalGroupsSequence[index], dataset.SharedFunctionalGroupsSequence[0]):
        if "SegmentIdentificationSequence" in group:
            return int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    raise ImageError("A frame of the segmentation does not say which segment it shows. Export it again.")


def _part_of_source(plane: _Plane, source: Volume) -> tuple[tuple[slice | int, ...], np.ndarray] | None:
    """Return which slice of the image a frame is, and its mask in the order of that slice.

    None where the frame does not cover exactly one slice, across whichever axis, of the image.
    """
    to_ijk = np.linalg.inv(affine_of(source))
    origin_ijk = (to_ijk @ [*plane.origin_ras_mm, 1])[:3]
    steps_ijk = to_ijk[:3, :3] @ plane.steps_ras_mm
    rows, columns = plane.mask_yx.shape
    ends = [np.array([x * (columns - 1), y * (rows - 1)]) for x in (0, 1) for y in (0, 1)]
    signed = np.rint(steps_ijk)
    first = np.rint(origin_ijk)
    if not (np.abs(signed).sum(axis=0) == 1).all() or (np.abs(signed).sum(axis=1) > 1).any():
        return None
    apart = max(np.abs(origin_ijk + steps_ijk @ end - (first + signed @ end)).max() for end in ends)
    axis_x, axis_y = (int(axis) for axis in np.abs(signed).argmax(axis=0))
    axis = 3 - axis_x - axis_y
    shape_ijk = source.shape_zyx[::-1]
    covered = np.array([first + signed @ end for end in ends])
    whole = (columns, rows) == (shape_ijk[axis_x], shape_ijk[axis_y]) and all(
        covered[:, a].min() == 0 and covered[:, a].max() == shape_ijk[a] - 1 for a in (axis_x, axis_y)
    )
    if apart > _SLACK_VOXELS or not whole or not 0 <= first[axis] < shape_ijk[axis]:
        return None
    mask = plane.mask_yx[:: int(signed[axis_y, 1]), :: int(signed[axis_x, 0])]
    # The image's array is (z, y, x) = (k, j, i): the plane's later axis comes first.
    selector = tuple(int(first[axis]) if a == axis else slice(None) for a in (2, 1, 0))
    return selector, mask if axis_y > axis_x else mask.T


def _through_own_grid(path: Path, planes: list[_Plane], source: Volume, resample: bool) -> dict[int, np.ndarray]:
    """Stack the frames of each segment on a grid of their own and bring that to the image, or refuse."""
    affine, depth_of = _own_grid(path, planes)
    shape_zyx = (max(depth_of) + 1, *planes[0].mask_yx.shape)
    stacks: dict[int, np.ndarray] = {}
    for plane, depth in zip(planes, depth_of, strict=True):
        stacks.setdefault(plane.segment, np.zeros(shape_zyx, bool))[depth] |= plane.mask_yx
    return {
        segment: on_source_grid(stack_zyx, affine, source, str(path), resample) for segment, stack_zyx in stacks.items()
    }


def _own_grid(path: Path, planes: list[_Plane]) -> tuple[np.ndarray, list[int]]:
    """Return the affine of the frames (i, j, k) to RAS mm, and the slice k of each; empty slices between count."""
    steps = planes[0].steps_ras_mm
    shapes = {plane.mask_yx.shape for plane in planes}
    if len(shapes) > 1 or any(np.abs(plane.steps_ras_mm - steps).max() > 1e-3 for plane in planes):
        raise GeometryError(f"The frames of {path} are tilted against each other. Export it again on one grid.")
    normal = np.cross(steps[:, 0], steps[:, 1])
    normal /= np.linalg.norm(normal)
    depths_mm = np.array([plane.origin_ras_mm @ normal for plane in planes])
    apart_mm = np.diff(np.unique(np.round(depths_mm, 3)))
    step_mm = float(apart_mm.min()) if len(apart_mm) else planes[0].frame.thickness_mm
    if not step_mm:
        raise GeometryError(f"{path} has one slice and does not say how thick it is. Export it again.")
    numbers = (depths_mm - depths_mm.min()) / step_mm
    if np.abs(numbers - np.rint(numbers)).max() > _SLACK_VOXELS * 2:
        raise GeometryError(f"The slices of {path} are unevenly spaced. Export it again on one grid.")
    affine = np.eye(4)
    affine[:3, :2], affine[:3, 2] = steps, normal * step_mm
    affine[:3, 3] = planes[int(depths_mm.argmin())].origin_ras_mm
    return affine, [int(number) for number in np.rint(numbers)]


def _case(path: Path, source: Volume, classes: tuple[LabelClass, ...], masks: dict[int, np.ndarray]) -> Case:
    """Put segments into one label array where they share no voxel, and into own masks where they do."""
    unknown = set(masks) - {c.label for c in classes}
    if unknown:
        raise ImageError(
            f"{path} has frames of segments that it does not describe: {sorted(unknown)}. Export it again."
        )
    counts = sum((mask.astype(np.uint16) for mask in masks.values()), np.zeros(source.shape_zyx, np.uint16))
    labels_zyx = np.zeros(source.shape_zyx, np.uint16)
    overlapping = {}
    for label, mask_zyx in masks.items():
        if (counts[mask_zyx] > 1).any():
            overlapping[label] = mask_zyx
        else:
            labels_zyx[mask_zyx] = label
    return Case(path.stem, source, labels_zyx, classes, overlapping)
