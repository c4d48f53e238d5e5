from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from images.dicom_samples import make_slice
from napari_medclipsam.errors import GeometryError, ImageError, OutputError
from napari_medclipsam.exchange import seg_export
from napari_medclipsam.exchange.case import Case, LabelClass
from napari_medclipsam.exchange.deidentify import Deidentifier
from napari_medclipsam.exchange.dicom_source import open_source
from napari_medclipsam.exchange.importing import import_masks
from napari_medclipsam.exchange.nifti_files import export_labels_nifti
from napari_medclipsam.exchange.seg_export import export_seg
from napari_medclipsam.exchange.series_export import export_deidentified
from napari_medclipsam.images import read_image

from .samples import LPS_TO_RAS, affine_for, case_of, overlapping_case, write_series

PLANES = [
    "".join(codes)
    for order in itertools.permutations(("LR", "PA", "IS"))
    for codes in itertools.product(*order)
    if np.linalg.det(affine_for("".join(codes))[:3, :3]) > 0
]


def dciodvfy_errors(path: Path) -> list[str]:
    """What the validator of dicom3tools calls an error."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not on this machine (Debian package dicom3tools)")
    told = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False).stderr
    assert "Segmentation" in told.splitlines() or "CTImage" in told.splitlines() or "MRImage" in told.splitlines(), told
    return [line for line in told.splitlines() if line.startswith(("Error", "Abort"))]


def assert_same_in_highdicom(path: Path, case: Case) -> None:
    """Every voxel of every segment lies in the same place of the patient, by highdicom's own reading."""
    segmentation = highdicom.seg.segread(path)
    for number, structure in enumerate(case.classes, 1):
        assert segmentation.get_segment_description(number).segment_label == structure.name
        wanted = case.mask_zyx(structure.label)
        if not wanted.any():
            assert number not in [
                f.SegmentIdentificationSequence[0].ReferencedSegmentNumber
                for f in segmentation.PerFrameFunctionalGroupsSequence
            ]
            continue
        found = segmentation.get_volume(segment_numbers=[number])
        mine_ras = case.source.affine @ np.vstack([np.argwhere(wanted)[:, ::-1].T, np.ones(wanted.sum())])
        voxels = np.argwhere(found.array[..., 0])
        theirs_ras = LPS_TO_RAS @ found.affine @ np.vstack([voxels.T, np.ones(len(voxels))])
        order, other = (np.lexsort(np.round(places[:3], 2)) for places in (mine_ras, theirs_ras))
        assert np.allclose(mine_ras[:, order], theirs_ras[:, other], atol=1e-3)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("codes_ijk", PLANES)
def test_every_orientation_of_a_series(codes_ijk: str, backwards: bool, tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", affine_for(codes_ijk), backwards=backwards)
    case = case_of(read_image(folder))
    path = export_seg(case, open_source(folder), tmp_path / "mask.dcm")
    assert_same_in_highdicom(path, case)
    back = import_masks(path, case.source)
    for ours, theirs in zip(case.classes, back.classes, strict=True):
        assert ours.name == theirs.name
        assert np.array_equal(case.mask_zyx(ours.label), back.mask_zyx(theirs.label))


@pytest.mark.parametrize("backwards", [False, True])
def test_masks_lie_on_the_series_as_simpleitk_reads_it(backwards: bool, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    affine = nibabel.affines.from_matvec(nibabel.quaternions.quat2mat([0.9, 0.1, -0.3, 0.2]), [10, -20, 30])
    affine = affine @ np.diag([1.5, 2, 3, 1])
    folder = write_series(tmp_path / "series", affine, backwards=backwards)
    case = case_of(read_image(folder))
    export_labels_nifti(case, tmp_path / "mask.nii.gz")
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    image, mask = sitk.ReadImage(files), sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(image), case.source.array_zyx)
    assert np.array_equal(sitk.GetArrayFromImage(mask), case.labels_zyx)
    for index in itertools.product((0, 4), (0, 5), (0, 3)):
        places = [i.TransformIndexToPhysicalPoint(index) for i in (image, mask)]
        assert np.allclose(*places, atol=1e-3)
    # One segment is a volume to SimpleITK, also where slices between do not have it; several are frames only.
    lungs_zyx = case.labels_zyx == 2
    lungs_zyx[2] = False
    path = export_seg(
        Case("c", case.source, lungs_zyx, [LabelClass(1, "Lung")]), open_source(folder), tmp_path / "m.dcm"
    )
    segment = sitk.ReadImage(str(path))
    found_ijk = np.argwhere(sitk.GetArrayFromImage(segment) > 0)[:, ::-1]
    theirs = [segment.TransformIndexToPhysicalPoint([int(n) for n in ijk]) for ijk in found_ijk]
    mine = [mask.TransformIndexToPhysicalPoint([int(n) for n in zyx[::-1]]) for zyx in np.argwhere(lungs_zyx)]
    assert len(mine) and np.allclose(
        sorted(np.round(mine, 3).tolist()), sorted(np.round(theirs, 3).tolist()), atol=2e-3
    )


def test_overlapping_and_empty_segments(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", affine_for("LPS"))
    case = overlapping_case(read_image(folder))
    path = export_seg(case, open_source(folder), tmp_path / "mask.dcm")
    assert_same_in_highdicom(path, case)
    back = import_masks(path, case.source)
    assert set(back.overlapping_zyx) == {1, 2} and not back.labels_zyx.any()
    assert dciodvfy_errors(path) == []


def test_an_empty_mask_is_a_segmentation_too(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", affine_for("LPS"))
    source = read_image(folder)
    case = Case("c", source, np.zeros(source.shape_zyx, np.uint8), [LabelClass(1, "Lung")])
    path = export_seg(case, open_source(folder), tmp_path / "mask.dcm")
    assert not import_masks(path, source).labels_zyx.any()
    assert dciodvfy_errors(path) == []
    with pytest.raises(ImageError, match="has no classes"):
        export_seg(Case("c", source, case.labels_zyx, []), open_source(folder), tmp_path / "none.dcm")


def test_a_tilted_gantry(tmp_path: Path) -> None:
    affine = affine_for("LPS")
    affine[1, 2] = 0.7
    folder = write_series(tmp_path / "series", affine)
    case = case_of(read_image(folder))
    assert case.source.affine[1, 2] == pytest.approx(0.7)
    back = import_masks(export_seg(case, open_source(folder), tmp_path / "m.dcm"), case.source)
    assert np.array_equal(back.mask_zyx(1), case.mask_zyx(2))


def test_it_refers_to_the_series_with_codes_and_colours(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", affine_for("LPS"))
    case = case_of(read_image(folder))
    written = pydicom.dcmread(export_seg(case, open_source(folder), tmp_path / "mask.dcm"))
    images = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    assert written.StudyInstanceUID == images[0].StudyInstanceUID
    assert written.FrameOfReferenceUID == images[0].FrameOfReferenceUID
    series = written.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == images[0].SeriesInstanceUID
    assert {i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence} == {i.SOPInstanceUID for i in images}
    lung, lesion, heart = written.SegmentSequence
    kind = lung.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == (codes.SCT.Lung.value, "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == codes.SCT.Left.value
    free = lesion.SegmentedPropertyTypeCodeSequence[0]
    assert (free.CodingSchemeDesignator, free.CodeMeaning) == ("99MEDCLIPSAM", "Läsion / 病変")
    assert heart.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Heart"
    assert [c.color for c in import_masks(tmp_path / "mask.dcm", case.source).classes] == [
        c.color for c in case.classes
    ]


def write_enhanced(path: Path, echoes: int = 2) -> Path:
    """An enhanced MR file with two images at each of four places, its frames not in the order of the places."""
    ds = make_slice(0, SOPClassUID=pydicom.uid.EnhancedMRImageStorage, Modality="MR")
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(ds, name)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    shared, frames = pydicom.Dataset(), []
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [pydicom.Dataset()], [pydicom.Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing, shared.PixelMeasuresSequence[0].SliceThickness = [2.0, 1.5], 3.0
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    for _, place in itertools.product(range(echoes), (2, 0, 3, 1)):
        frame = pydicom.Dataset()
        frame.PlanePositionSequence = [pydicom.Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = [-10.0, -20.0, 100.0 + 3 * place]
        frames.append(frame)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], frames
    ds.NumberOfFrames = len(frames)
    ds.PixelData = np.arange(len(frames) * 30, dtype=np.uint16).tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path


def test_one_echo_of_an_enhanced_file(tmp_path: Path) -> None:
    file = write_enhanced(tmp_path / "enhanced.dcm")
    case = case_of(read_image(file, volume_index=1))
    path = export_seg(case, open_source(file, volume_index=1), tmp_path / "seg" / "mask.dcm")
    assert np.array_equal(import_masks(path, case.source).mask_zyx(1), case.mask_zyx(2))
    references = {
        g.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        for g in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    }
    assert references == {5, 6, 7, 8}
    given = export_deidentified(case, open_source(file, volume_index=1), tmp_path / "given", Deidentifier())
    image = read_image(given / "images", volume_index=1)
    assert np.array_equal(image.array_zyx, case.source.array_zyx)
    assert np.array_equal(import_masks(given / "segmentation.dcm", image).mask_zyx(1), case.mask_zyx(2))


def test_a_series_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", affine_for("LPS"))
    other = write_series(tmp_path / "other", affine_for("LPS", (1.5, 2, 4)))
    case = case_of(read_image(folder))
    with pytest.raises(GeometryError, match="does not have the grid of the series"):
        export_seg(case, open_source(other), tmp_path / "mask.dcm")
    careless = write_series(tmp_path / "careless", affine_for("LPS"), StudyInstanceUID="")
    with pytest.raises(ImageError, match="lacks StudyInstanceUID"):
        export_seg(case, open_source(careless), tmp_path / "mask.dcm")
    assert not (tmp_path / "mask.dcm").exists()


def test_nothing_is_left_of_a_segmentation_that_reads_back_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_series(tmp_path / "series", affine_for("LPS"))
    case = case_of(read_image(folder))
    place = seg_export._pixels
    monkeypatch.setattr(seg_export, "_pixels", lambda case: np.roll(place(case), 1, axis=0))
    with pytest.raises(OutputError, match="did not read back"):
        export_seg(case, open_source(folder), tmp_path / "seg" / "mask.dcm")
    assert list((tmp_path / "seg").iterdir()) == []


def rewritten(path: Path, target: Path, change: Any) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(target, enforce_file_format=True)
    return target


def test_segmentations_of_other_kinds_and_grids(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", affine_for("LPS"))
    case = case_of(read_image(folder))
    headers = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    for header in headers:
        seg_export._complete(header)
    ours = export_seg(case, open_source(folder), tmp_path / "ours.dcm")
    common = {
        "source_images": headers,
        "segment_descriptions": [seg_export._description(c, n) for n, c in enumerate(case.classes, 1)],
        "series_instance_uid": highdicom.UID(),
        "series_number": 1,
        "sop_instance_uid": highdicom.UID(),
        "instance_number": 1,
        "manufacturer": "m",
        "manufacturer_model_name": "m",
        "software_versions": "1",
        "device_serial_number": "1",
    }
    numbers = np.select([case.labels_zyx == 2, case.labels_zyx == 5], [1, 2]).astype(np.uint8)
    label_map = highdicom.seg.Segmentation(pixel_array=numbers, segmentation_type="LABELMAP", **common)
    label_map.save_as(tmp_path / "labelmap.dcm")
    assert np.array_equal(import_masks(tmp_path / "labelmap.dcm", case.source).labels_zyx, numbers)

    soft = (numbers[..., None] == [1, 2, 3]).astype(np.float32)
    for scale, ends_in in ((1.0, "binary"), (0.5, "probabilities")):
        fractional = highdicom.seg.Segmentation(
            pixel_array=soft * scale, segmentation_type="FRACTIONAL", max_fractional_value=200, **common
        )
        fractional.save_as(tmp_path / f"{ends_in}.dcm")
    assert np.array_equal(import_masks(tmp_path / "binary.dcm", case.source).labels_zyx, numbers)
    with pytest.raises(ImageError, match="holds probabilities"):
        import_masks(tmp_path / "probabilities.dcm", case.source)

    # The same grid, its slices sagittal: each frame is put where it belongs.
    turned = read_image(write_series(tmp_path / "turned", affine_for("LPS") @ np.eye(4)[:, [1, 2, 0, 3]], 5))
    with pytest.raises(GeometryError, match="shape"):
        import_masks(ours, turned)
    shifted = affine_for("LPS")
    shifted[0, 3] += 40
    elsewhere = read_image(write_series(tmp_path / "shifted", shifted))
    with pytest.raises(GeometryError, match=r"centre 40\.0 mm left"):
        import_masks(ours, elsewhere)
    assert not import_masks(ours, elsewhere, resample=True).labels_zyx.any()
    with pytest.raises(ImageError, match="no segmentation"):
        import_masks(folder / "IM0000.dcm", case.source)


def test_frames_across_another_axis(tmp_path: Path) -> None:
    """The image is stored axially; its segmentation was drawn on sagittal slices of the same voxels."""
    axial = affine_for("LPS")
    sagittal = axial @ np.eye(4)[:, [1, 2, 0, 3]]  # x goes along j, y along k, slices along i
    folder = tmp_path / "sagittal"
    folder.mkdir()
    lps = LPS_TO_RAS @ sagittal
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    for n in range(5):
        make_slice(
            n,
            Rows=4,
            Columns=6,
            PixelData=np.zeros((4, 6), np.uint16).tobytes(),
            ImagePositionPatient=list((lps @ [0, 0, n, 1])[:3]),
            ImageOrientationPatient=list((lps[:3, :2] / spacing[:2]).T.ravel()),
            PixelSpacing=[spacing[1], spacing[0]],
            SliceThickness=spacing[2],
        ).save_as(folder / f"{n}.dcm", enforce_file_format=True)
    case = case_of(read_image(folder))
    path = export_seg(case, open_source(folder), tmp_path / "mask.dcm")
    source = read_image(write_series(tmp_path / "axial", axial))
    back = import_masks(path, source)
    assert source.shape_zyx == (4, 6, 5) and case.source.shape_zyx == (5, 4, 6)
    # (slices, rows, columns) = (i, k, j) of the sagittal stack are (k, j, i) of the axial one.
    assert np.array_equal(back.mask_zyx(1), case.mask_zyx(2).transpose(1, 2, 0))


def test_objects_of_dcmqi(data_dir: Path, tmp_path: Path) -> None:
    source = read_image(data_dir / "dicom/seg/ct")
    liver = import_masks(data_dir / "dicom/seg/liver.dcm", source)
    assert [(c.label, c.name) for c in liver.classes] == [(1, "Liver")]
    assert_same_in_highdicom(data_dir / "dicom/seg/liver.dcm", liver)
    overlaps = import_masks(data_dir / "dicom/seg/overlaps.dcm", source)
    assert [c.name for c in overlaps.classes] == ["GREEN", "ORANGE", "PURPLE", "LIGHT_BLUE", "DARK_BLUE"]
    assert overlaps.overlaps and set(overlaps.overlapping_zyx) == {1, 2, 3}
    assert_same_in_highdicom(data_dir / "dicom/seg/overlaps.dcm", overlaps)
    for case in (liver, overlaps):
        path = export_seg(case, open_source(data_dir / "dicom/seg/ct"), tmp_path / f"{case.name}.dcm")
        assert_same_in_highdicom(path, case)
        assert dciodvfy_errors(path) == []
    other = read_image(data_dir / "dicom/brain_tumor_mri/t1")
    with pytest.raises(GeometryError, match="is not on the grid of the image: shape"):
        import_masks(data_dir / "dicom/seg/liver.dcm", other)


def test_a_real_series_that_lost_its_identifiers(data_dir: Path, tmp_path: Path) -> None:
    series = data_dir / "dicom/ct_abdomen/series"
    source = read_image(series)
    case = Case("c", source, np.zeros(source.shape_zyx, np.uint8), [LabelClass(1, "Organs")])
    with pytest.raises(ImageError, match="lacks SOPClassUID, SOPInstanceUID"):
        export_seg(case, open_source(series), tmp_path / "mask.dcm")


def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", affine_for("PIR"))
    path = export_seg(case_of(read_image(folder)), open_source(folder), tmp_path / "mask.dcm")
    assert dciodvfy_errors(path) == []


@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192", ["", "ISO 2022 IR 87"], ""])
def test_names_in_any_character_set(charset: Any, tmp_path: Path) -> None:
    name = {"ISO_IR 100": "Müller^Jürgen", "": "Muller^Jurgen"}.get(str(charset), "Yamada^Tarou=山田^太郎")
    folder = write_series(tmp_path / "series", affine_for("LPS"), SpecificCharacterSet=charset, PatientName=name)
    path = export_seg(case_of(read_image(folder)), open_source(folder), tmp_path / "mask.dcm")
    written = pydicom.dcmread(path)
    assert str(written.PatientName) == name and written.SegmentSequence[1].SegmentLabel == "Läsion / 病変"
