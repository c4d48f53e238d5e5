"""DICOM-SEG that refers to the series it was drawn on, written with highdicom."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam import __version__
from napari_medclipsam.errors import ImageError, OutputError
from napari_medclipsam.exchange.case import Case, LabelClass
from napari_medclipsam.exchange.deidentify import Deidentifier
from napari_medclipsam.exchange.dicom_source import DicomSource
from napari_medclipsam.exchange.seg_import import read_seg
from napari_medclipsam.exchange.terms import Code, find_term
from napari_medclipsam.files import atomic_path
from napari_medclipsam.images.guard import reading

_PRODUCT = "napari-medclipsam"
#: After the numbers that scanners give.
_SERIES_NUMBER = 900


def export_seg(
    case: Case, series: DicomSource, path: str | os.PathLike[str], deidentifier: Deidentifier | None = None
) -> Path:
    """Write all classes as the segments of one binary DICOM-SEG; read back before it counts.

    Segments are numbered from 1 in the order of the labels. Classes without a voxel become segments without frames;
    overlapping classes stay as they are.

    Parameters
    ----------
    case : Case
        Its image was read from `series`.
    series : DicomSource
        What the segmentation refers to.
    path : path-like
        The .dcm file.
    deidentifier : Deidentifier, optional
        Makes the segmentation refer to the series as this de-identifier exports it, and takes the patient out.

    Raises
    ------
    GeometryError
        If the image of the case does not have the grid of the series.
    ImageError
        If there is no class, or the series lacks what a DICOM object needs.
    OutputError
        If the file can't be written, or reads back as anything else; nothing is then left of it.
    """
    path = Path(path)
    if not case.classes:
        raise ImageError(f"{case.name} has no classes, and a DICOM-SEG needs at least one. Add a class first.")
    series.require_same_grid(case.source)
    headers = series.headers()
    if deidentifier is not None:
        with reading(series.path, "DICOM series", keep_cause=False):
            for header in headers:
                deidentifier.apply(header)
    indices = [frame.index for frame in series.stack]
    multi_frame = "PerFrameFunctionalGroupsSequence" in headers[0]
    if multi_frame:
        _keep_frames(headers[0], indices)
    segmentation = _segmentation(case, series, headers)
    if multi_frame:
        _restore_frame_numbers(segmentation, indices)
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary, enforce_file_format=True)
        _require_same(case, temporary)
    return path


def _segmentation(case: Case, series: DicomSource, headers: list[Any]) -> Any:
    import highdicom
    from pydicom.uid import ExplicitVRLittleEndian

    with warnings.catch_warnings():
        # pydicom and highdicom quote element values in warnings, and an empty mask is no reason for one.
        warnings.simplefilter("ignore")
        try:
            for header in headers:
                _complete(header)
            return highdicom.seg.Segmentation(
                source_images=headers,
                pixel_array=_pixels(case),
                segmentation_type="BINARY",
                segment_descriptions=[_description(c, n) for n, c in enumerate(case.classes, 1)],
                series_instance_uid=highdicom.UID(),
                series_number=_SERIES_NUMBER,
                series_description="Labels from napari-medclipsam",
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer=_PRODUCT,
                manufacturer_model_name=_PRODUCT,
                software_versions=__version__,
                device_serial_number=__version__,
                content_label="SEGMENTATION",
                content_description="Labels drawn with napari-medclipsam, research use only",
                transfer_syntax_uid=ExplicitVRLittleEndian,
                omit_empty_frames=not _is_interrupted(case),
            )
        # Damaged headers make pydicom and highdicom raise nearly anything, and quote the patient in it.
        except Exception as error:
            raise ImageError(
                f"{series.path} can't be referred to by a DICOM-SEG: highdicom finds its headers incomplete or "
                f"contradictory ({type(error).__name__}). Use the original series, or export NIfTI."
            ) from None


def _complete(header: Any) -> None:
    """Give a header what must be present, if empty, and one character set that holds every name of a class."""
    header.decode()
    header.SpecificCharacterSet = "ISO_IR 192"
    for name in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"):
        if name not in header:
            setattr(header, name, "")
    for name in ("StudyDate", "StudyTime", "ReferringPhysicianName"):
        if name not in header:
            setattr(header, name, None)


def _is_interrupted(case: Case) -> bool:
    """Whether there is one class, with slices between its slices that do not have it.

    ITK takes the frames of an object as one stack, and its geometry only where they are evenly spaced.
    """
    if len(case.classes) != 1:
        return False
    has_it = np.flatnonzero(case.mask_zyx(case.classes[0].label).any(axis=(1, 2)))
    return len(has_it) > 0 and has_it[-1] - has_it[0] >= len(has_it)


def _pixels(case: Case) -> np.ndarray:
    """Return the masks as segment numbers (z, y, x), or with one channel per segment where they overlap."""
    if case.overlaps:
        return np.stack([case.mask_zyx(structure.label) for structure in case.classes], axis=-1).astype(np.uint8)
    numbers_zyx = np.zeros(case.source.shape_zyx, np.uint16)
    for number, structure in enumerate(case.classes, 1):
        numbers_zyx[case.mask_zyx(structure.label)] = number
    return numbers_zyx


def _keep_frames(header: Any, indices: list[int]) -> None:
    """Leave only some frames, from 0, of a multi-frame header, in this order: highdicom takes one image per place."""
    frames = header.PerFrameFunctionalGroupsSequence
    header.PerFrameFunctionalGroupsSequence = [frames[index] for index in indices]
    header.NumberOfFrames = len(indices)


def _restore_frame_numbers(segmentation: Any, indices: list[int]) -> None:
    """Make references to the frames that `_keep_frames` left point to the file as it is."""
    groups = segmentation.PerFrameFunctionalGroupsSequence
    derivations = [d for group in groups for d in group.get("DerivationImageSequence") or []]
    # The frames of several segments may share one reference.
    for image in {id(i): i for derivation in derivations for i in derivation.SourceImageSequence}.values():
        image.ReferencedFrameNumber = indices[int(image.ReferencedFrameNumber) - 1] + 1


def _description(structure: LabelClass, number: int) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    term = find_term(structure.name, structure.prompt)
    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=structure.name[:64],
        segmented_property_category=_concept(term.category),
        segmented_property_type=_concept(term.type),
        algorithm_type="SEMIAUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=_PRODUCT, family=codes.DCM.ArtificialIntelligence, version=__version__
        ),
        tracking_id=f"{number} {structure.name}"[:64],
        tracking_uid=highdicom.UID(),
        anatomic_regions=[_concept(term.region)] if term.region else None,
        display_color=highdicom.color.CIELabColor.from_rgb(*structure.rgb),
    )
    if term.modifier:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [_concept(term.modifier)]
    return description


def _concept(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _require_same(case: Case, path: Path) -> None:
    written = read_seg(path, case.source)
    same = len(written.classes) == len(case.classes) and all(
        np.array_equal(case.mask_zyx(ours.label), written.mask_zyx(theirs.label))
        for ours, theirs in zip(case.classes, written.classes, strict=True)
    )
    if not same:
        raise OutputError(f"{path.name} did not read back as it was written. Check the disk and try again.")
