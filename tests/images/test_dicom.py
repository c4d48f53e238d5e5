from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.images import Volume, read_image, read_mask, write_mask

from .dicom_samples import ROOT_UID, make_big_slice, make_slice, stored_pixels

Write = Callable[..., Path]
EXPECTED = np.stack([stored_pixels(n).astype(np.int16) - 1024 for n in range(4)])
SECRETS = ("SECRET",)


def four(**changes: Any) -> list[Any]:
    return [make_slice(n, **changes) for n in range(4)]


def refusal(kind: type[Exception], path: Path, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        read_image(path, **options)
    assert not any(secret in str(caught.value) for secret in SECRETS)
    return str(caught.value)


def test_a_series(write_series: Write) -> None:
    folder = write_series(four())
    volume = read_image(folder)
    assert np.array_equal(volume.array_zyx, EXPECTED) and volume.array_zyx.dtype == np.int16
    assert volume.modality == "CT" and volume.notes == ()
    # DICOM's LPS (-10, -20, 100) is (10, 20, 100) in RAS; x and y grow to the left and to posterior.
    assert np.allclose(volume.affine, [[-1.5, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, 100], [0, 0, 0, 1]])
    assert np.array_equal(read_image(folder / "IM0002.dcm").array_zyx, EXPECTED)


def test_files_in_any_order_give_the_same_volume(write_series: Write) -> None:
    there, back = read_image(write_series(four())), read_image(write_series(four()[::-1], "reversed"))
    assert np.array_equal(there.array_zyx, back.array_zyx) and np.array_equal(there.affine, back.affine)


def test_numbers_do_not_decide_the_order(write_series: Write) -> None:
    slices = four()
    for number, ds in enumerate(slices):
        ds.InstanceNumber = 10 - number
    assert np.array_equal(read_image(write_series(slices)).array_zyx, EXPECTED)


def test_each_slice_has_its_own_rescale(write_series: Write) -> None:
    slices = [make_slice(n, RescaleSlope=0.5 * (n + 1), RescaleIntercept=n, Modality="MR") for n in range(4)]
    expected = np.stack([stored_pixels(n) * 0.5 * (n + 1) + n for n in range(4)])
    volume = read_image(write_series(slices))
    assert volume.array_zyx.dtype == np.float32 and np.allclose(volume.array_zyx, expected)


def test_a_gap_is_named(write_series: Write) -> None:
    slices = [make_slice(n) for n in range(8) if n not in (3, 4)]
    message = refusal(GeometryError, write_series(slices))
    assert "2 between slices 2 and 3 (at 106.0 and 115.0 mm)" in message and "3.00 mm" in message


def test_uneven_and_crooked_stacks(write_series: Write) -> None:
    uneven = four()
    uneven[2].ImagePositionPatient = [-10, -20, 106.9]
    assert "unevenly spaced" in refusal(GeometryError, write_series(uneven, "uneven"))
    crooked = four()
    crooked[2].ImagePositionPatient = [-8, -20, 106]
    assert "off the line" in refusal(GeometryError, write_series(crooked, "crooked"))


def test_a_tilted_gantry_keeps_its_shear(write_series: Write) -> None:
    slices = four()
    for n, ds in enumerate(slices):
        ds.ImagePositionPatient = [-10, -20 + 0.5 * n, 100 + 3 * n]
    volume = read_image(write_series(slices))
    assert volume.affine is not None and np.allclose(volume.affine[:3, 2], (0, -0.5, 3))


def test_doubled_images(write_series: Write) -> None:
    copy = write_series([*four(), make_slice(1)], "copies")
    assert read_image(copy).notes == ("Skipped 1 second copy of an image.",)
    another = make_slice(1, SOPInstanceUID=f"{ROOT_UID}99")
    assert "slice 1 of 0–3 has 2 images" in refusal(GeometryError, write_series([*four(), another], "doubled"))


def test_several_images_at_each_position_are_volumes(write_series: Write) -> None:
    second = [make_slice(n, SOPInstanceUID=f"{ROOT_UID}5.{n + 1}", InstanceNumber=50 + n) for n in range(4)]
    for ds in second:
        ds.RescaleIntercept = 0
    folder = write_series([*second, *four()])
    assert "2 images at each position" in refusal(ImageError, folder)
    assert "no volume 2" in refusal(ImageError, folder, volume_index=2)
    assert np.array_equal(read_image(folder, volume_index=0).array_zyx, EXPECTED)
    assert np.array_equal(read_image(folder, volume_index=1).array_zyx, EXPECTED + 1024)


def test_mixed_series_are_listed_and_chosen(write_series: Write) -> None:
    other = [
        make_slice(
            n,
            SeriesInstanceUID=f"{ROOT_UID}77",
            SeriesNumber=12,
            SeriesDescription="thick",
            SOPInstanceUID=f"{ROOT_UID}6.{n + 1}",
            RescaleIntercept=0,
        )
        for n in range(3)
    ]
    folder = write_series([*four(), *other])
    message = refusal(ImageError, folder)
    assert "holds 2 DICOM series" in message
    assert "--series): 7: thin, 4 images; 12: thick, 3 images" in message
    assert read_image(folder, series_uid="12").shape_zyx == (3, 6, 5)
    assert np.array_equal(read_image(folder, series_uid=f"{ROOT_UID}2").array_zyx, EXPECTED)
    assert read_image(folder / "IM0005.dcm").shape_zyx == (3, 6, 5)
    assert "no series '9'" in refusal(ImageError, folder, series_uid="9")
    for ds in other:
        ds.SeriesNumber = 7
    folder = write_series([*four(), *other])
    assert f"{ROOT_UID}77: thick" in refusal(ImageError, folder)


def test_mixed_shapes_orientations_and_spacings(write_series: Write) -> None:
    small = make_slice(4, Rows=5, PixelData=stored_pixels(4)[:5].tobytes())
    assert "4 of 5 x 6, 1 of 5 x 5" in refusal(GeometryError, write_series([*four(), small], "shapes"))
    tilted = make_slice(4, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    assert "tilted against each other" in refusal(GeometryError, write_series([*four(), tilted], "tilted"))
    zoomed = make_slice(4, PixelSpacing=[1, 1])
    assert "4 are like the first, 1 are not" in refusal(GeometryError, write_series([*four(), zoomed], "zoomed"))


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_missing_geometry(tag: str, write_series: Write) -> None:
    slices = four()
    delattr(slices[1], tag)
    assert "1 of 4 images" in refusal(GeometryError, write_series(slices))


def test_unusable_geometry(write_series: Write) -> None:
    assert "not positive" in refusal(GeometryError, write_series(four(PixelSpacing=[0, 1]), "zero"))
    bent = four(ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    assert "perpendicular" in refusal(GeometryError, write_series(bent, "bent"))
    assert "rescale slope" in refusal(ImageError, write_series(four(RescaleSlope=0), "slope"))


def test_localizers_and_other_files_are_skipped_with_a_count(write_series: Write) -> None:
    localizer = make_slice(
        9, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], ImageOrientationPatient=[0, 1, 0, 0, 0, -1]
    )
    folder = write_series([*four(), localizer])
    (folder / "notes.txt").write_text("SECRET")
    (folder / "empty").touch()
    report = make_slice(20, Modality="SR", Rows=None, Columns=None, PixelData=None)
    report.save_as(folder / "report.dcm", enforce_file_format=True)
    volume = read_image(folder)
    assert np.array_equal(volume.array_zyx, EXPECTED)
    assert volume.notes == ("Skipped 3 files that are not DICOM images.", "Skipped 1 localizer.")
    assert "not a DICOM image" in refusal(ImageError, folder / "report.dcm")


def test_folders_without_images(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("nothing")
    assert "no DICOM image among its 1 files" in refusal(ImageError, tmp_path)


def test_a_truncated_slice_is_an_error_not_a_shorter_volume(write_series: Write) -> None:
    folder = write_series(four())
    last = folder / "IM0003.dcm"
    whole = last.read_bytes()
    for keep in (140, 400, len(whole) // 2, len(whole) - 10):
        last.write_bytes(whole[:keep])
        refusal(ImageError, folder)


def test_no_patient_data_in_notes_or_reprs(write_series: Write) -> None:
    volume = read_image(write_series(four()))
    assert "SECRET" not in repr(volume)


def test_files_without_preamble(tmp_path: Path) -> None:
    for n, ds in enumerate(four()):
        del ds.file_meta
        ds.save_as(tmp_path / f"{n}.ima", implicit_vr=True, little_endian=True)
    assert np.array_equal(read_image(tmp_path).array_zyx, EXPECTED)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_copies_are_the_same(syntax: Any, write_series: Write) -> None:
    slices = [make_big_slice(n) for n in range(3)]
    plain = read_image(write_series(slices, "plain"))
    for ds in slices:
        ds.compress(syntax, generate_instance_uid=False)
    packed = read_image(write_series(slices, "packed"))
    assert np.array_equal(packed.array_zyx, plain.array_zyx) and np.array_equal(packed.affine, plain.affine)


def test_lossless_jpeg_is_the_same(write_series: Write) -> None:
    folder = write_series([make_big_slice(n) for n in range(3)])
    plain = read_image(folder)
    to_lossless_jpeg(folder)
    assert np.array_equal(read_image(folder).array_zyx, plain.array_zyx)


@pytest.mark.parametrize(("offset", "value"), [(4, 241), (6, 33), (8, 31), (9, 3), (1, 0), (-2, 0)])
def test_damaged_lossless_jpeg_never_reaches_gdcm(offset: int, value: int, write_series: Write) -> None:
    """It would crash the whole process, so a failure here ends the test run."""
    folder = write_series([make_big_slice(0)])
    to_lossless_jpeg(folder)
    file = folder / "IM0000.dcm"
    content = bytearray(file.read_bytes())
    content[content.index(b"\xff\xc3") + offset] = value
    file.write_bytes(content)
    assert "damaged" in refusal(ImageError, folder)


def to_lossless_jpeg(folder: Path) -> None:
    gdcm = pytest.importorskip("gdcm", reason="python-gdcm writes the lossless JPEG copy")
    for file in sorted(folder.iterdir()):
        reader = gdcm.ImageReader()
        reader.SetFileName(str(file))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(file))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        assert pydicom.dcmread(file).file_meta.TransferSyntaxUID.name.startswith("JPEG Lossless")


def test_a_missing_decoder_is_named(write_series: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = make_big_slice(0)
    ds.compress(JPEG2000Lossless)
    folder = write_series([ds])
    monkeypatch.setattr("napari_medclipsam.images.dicom._DECODERS", ())
    message = refusal(ImageError, folder)
    assert "JPEG 2000" in message and "pip install python-gdcm" in message


def test_inverted_films(write_series: Write) -> None:
    film = {"PhotometricInterpretation": "MONOCHROME1", "RescaleIntercept": 0}
    inverted = read_image(write_series([make_slice(0, Modality="DX", **film)], "film"))
    assert np.array_equal(inverted.array_zyx[0], 4095 - stored_pixels(0))
    ct = read_image(write_series([make_slice(0, **film)], "ct"))
    assert np.array_equal(ct.array_zyx[0], stored_pixels(0))


def test_a_film_has_no_place_but_a_spacing(write_series: Write, tmp_path: Path) -> None:
    film = make_slice(0, Modality="DX", ImagePositionPatient=None, ImageOrientationPatient=None)
    volume = read_image(write_series([film]))
    assert volume.affine is None and volume.pixel_spacing_yx_mm == (2.0, 1.5)
    assert volume.slice_pixels(0).spacing_mm == (2.0, 1.5)
    write_mask(volume.array_zyx > -900, volume, tmp_path / "mask.png")
    with pytest.raises(GeometryError, match=r"Use \.png or \.tif"):
        write_mask(volume.array_zyx > -900, volume, tmp_path / "mask.nii.gz")


def test_a_single_slice_needs_a_thickness_for_an_affine(write_series: Write) -> None:
    thick = read_image(write_series([make_slice(0)], "thick"))
    assert thick.spacing_zyx_mm == (3, 2, 1.5)
    flat = read_image(write_series([make_slice(0, SliceThickness=None)], "flat"))
    assert flat.affine is None and flat.pixel_spacing_yx_mm == (2.0, 1.5)


def test_colour(write_series: Write) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    eight = {"SamplesPerPixel": 3, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PlanarConfiguration": 0}
    plain = make_slice(0, PhotometricInterpretation="RGB", PixelData=rgb.tobytes(), **eight)
    volume = read_image(write_series([plain], "rgb"))
    assert volume.rgb and np.array_equal(volume.array_zyx[0], rgb)
    ybr = pydicom.pixels.processing.convert_color_space(rgb, "RGB", "YBR_FULL")
    packed = make_slice(0, PhotometricInterpretation="YBR_FULL", PixelData=ybr.tobytes(), **eight)
    converted = read_image(write_series([packed], "ybr")).array_zyx[0]
    assert np.abs(converted.astype(int) - rgb).max() <= 2


def test_a_cine_loop_is_a_stack_without_geometry(write_series: Write) -> None:
    pixels = np.stack([stored_pixels(n) for n in range(3)])
    cine = make_slice(
        0,
        NumberOfFrames=3,
        PixelData=pixels.tobytes(),
        Modality="US",
        RescaleIntercept=0,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
    )
    volume = read_image(write_series([cine]))
    assert np.array_equal(volume.array_zyx, pixels) and volume.affine is None


def test_enhanced_multi_frame(write_series: Write, tmp_path: Path) -> None:
    """The classic series, converted by highdicom, is read as the same volume."""
    from highdicom.legacy import LegacyConvertedEnhancedCTImage

    folder = write_series(four())
    slices = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    for ds in slices:
        ds.PatientBirthDate = ds.PatientSex = ds.StudyDate = ds.StudyTime = ds.StudyID = ds.AccessionNumber = ""
        ds.ReferringPhysicianName = ds.PositionReferenceIndicator = ds.Manufacturer = ""
        ds.ContentDate, ds.ContentTime = "20200101", "000000"
    enhanced = LegacyConvertedEnhancedCTImage(slices, f"{ROOT_UID}8", 3, f"{ROOT_UID}9", 1)
    (tmp_path / "enhanced").mkdir()
    enhanced.save_as(tmp_path / "enhanced" / "all.dcm")
    volume, classic = read_image(tmp_path / "enhanced"), read_image(folder)
    assert np.array_equal(volume.array_zyx, classic.array_zyx)
    assert np.allclose(volume.affine, classic.affine)


def oracle(files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine as highdicom, an independent reader, has them; as (k, j, i) and RAS."""
    from highdicom import get_volume_from_series

    found = get_volume_from_series([pydicom.dcmread(file) for file in files], atol=0.05)
    lps_to_ras = np.diag([-1, -1, 1, 1])
    # highdicom indexes (slice, row, column), so its affine maps (k, j, i).
    return found.array, (lps_to_ras @ found.affine)[:, [2, 1, 0, 3]]


@pytest.mark.parametrize("series", ["brain_tumor_mri/t1", "brain_tumor_mri/t1_gd", "seg/ct"])
def test_real_series_agree_with_highdicom(series: str, data_dir: Path) -> None:
    folder = data_dir / "dicom" / series
    volume = read_image(folder)
    array, affine = oracle(sorted(folder.iterdir()))
    assert volume.affine is not None
    if np.dot(affine[:3, 2], volume.affine[:3, 2]) < 0:
        array, affine = array[::-1], affine @ [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, len(array) - 1], [0, 0, 0, 1]]
    assert np.array_equal(volume.array_zyx, array)
    assert np.allclose(volume.affine, affine, atol=1e-2)


def test_a_real_ct_fits_its_labels(data_dir: Path, tmp_path: Path) -> None:
    volume = read_image(data_dir / "dicom/ct_abdomen/series")  # JPEG 2000, and its series UID was removed
    assert isinstance(volume, Volume) and volume.shape_zyx == (20, 512, 512)
    labels = read_mask(data_dir / "dicom/ct_abdomen/labels.nii.gz", volume)
    spleen = volume.array_zyx[labels == 1]
    assert 40 < spleen.mean() < 150
    write_mask(labels, volume, tmp_path / "labels.nii.gz")
    assert np.array_equal(read_mask(tmp_path / "labels.nii.gz", volume), labels)


def test_a_real_mixed_folder_and_gap(data_dir: Path, tmp_path: Path) -> None:
    message = refusal(ImageError, data_dir / "dicom/brain_tumor_mri")
    assert "holds 4 DICOM series" in message and "FLAIR_reg, 22 images" in message
    files = sorted((data_dir / "dicom/brain_tumor_mri/t1").iterdir(), key=lambda f: pydicom.dcmread(f).InstanceNumber)
    for file in files[:5] + files[6:]:
        shutil.copy(file, tmp_path)
    assert "Slices are missing" in refusal(GeometryError, tmp_path)
