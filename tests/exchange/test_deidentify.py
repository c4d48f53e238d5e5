from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from images.dicom_samples import ROOT_UID, make_slice
from napari_medclipsam.errors import ImageError, OutputError
from napari_medclipsam.exchange.deidentify import Deidentifier
from napari_medclipsam.exchange.dicom_source import open_source
from napari_medclipsam.exchange.importing import import_masks
from napari_medclipsam.exchange.seg_export import export_seg
from napari_medclipsam.exchange.series_export import export_deidentified, export_series
from napari_medclipsam.images import read_image

from .samples import affine_for, case_of, write_series
from .test_seg import dciodvfy_errors

KEY = b"a secret of the department, long"


def item(**values: Any) -> list[Dataset]:
    found = Dataset()
    for name, value in values.items():
        setattr(found, name, value)
    return [found]


def telling_slice(**changes: Any) -> Dataset:
    """An image that names its patient in every corner."""
    ds = make_slice(0, PatientBirthDate="19610203", StudyDate="20200102", ContentDate="20200102", **changes)
    ds.InstitutionName, ds.OperatorsName, ds.StudyDescription = "SECRET clinic", "SECRET^Operator", "SECRET follow-up"
    ds.DeviceSerialNumber, ds.PatientAge, ds.ReferringPhysicianName = "SECRET1", "059Y", "SECRET^Doctor"
    ds.OtherPatientIDsSequence = item(PatientID="SECRETID", IssuerOfPatientID="SECRET")
    ds.RequestAttributesSequence = item(ScheduledProcedureStepDescription="SECRET")
    ds.ReferencedImageSequence = item(ReferencedSOPClassUID=ds.SOPClassUID, ReferencedSOPInstanceUID=f"{ROOT_UID}1.2")
    ds.ProcedureCodeSequence = item(CodeValue="1", CodingSchemeDesignator="99X", CodeMeaning="CT chest")
    # Sequences that stay are cleaned inside, at any depth.
    nested = item(PersonName="SECRET^Nested", StudyDate="20200102", SeriesInstanceUID=f"{ROOT_UID}2")
    ds.DerivationCodeSequence = item(ContributingEquipmentSequence=nested, CodeMeaning="kept")
    ds.private_block(0x0011, "SECRET CORP", create=True).add_new(0x01, "LO", "SECRET")
    ds.add_new(0x60000010, "US", 6)
    ds.add_new(0x60003000, "OW", b"SECRET")
    ds.add_new(0x00091234, "UN", b"SECRET")
    ds.file_meta.SourceApplicationEntityTitle = "SECRET"
    ds.preamble = b"SECRET".ljust(128, b"\0")
    return ds


def test_nothing_about_the_patient_is_left(tmp_path: Path) -> None:
    ds = telling_slice()
    deidentifier = Deidentifier(KEY)
    deidentifier.apply(ds)
    ds.save_as(tmp_path / "out.dcm", enforce_file_format=True)
    content = (tmp_path / "out.dcm").read_bytes()
    for secret in (
        b"SECRET",
        b"19610203",
        b"20200102",
        b"059Y",
        *(f"{ROOT_UID}{n}".encode() for n in (2, 3, 4, 1.1, 1.2)),
    ):
        assert secret not in content, secret
    assert ds.PatientIdentityRemoved == "YES" and ds.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert ds.PatientName == ds.PatientID == deidentifier.pseudonym("SECRETID|SECRET^NAME")
    assert not ds.StudyDate and ds.ContentDate == "19000101" and "InstitutionName" in ds
    assert ds.DerivationCodeSequence[0].CodeMeaning == "kept"
    # What the picture needs, and codes, stay.
    original = telling_slice()
    for name in ("PixelData", "ImagePositionPatient", "PixelSpacing", "RescaleIntercept", "SOPClassUID", "Modality"):
        assert getattr(ds, name) == getattr(original, name), name
    assert ds.ProcedureCodeSequence[0].CodeMeaning == "CT chest"
    assert not any(element.tag.is_private for element in ds.iterall())


def test_the_report_counts_and_tells_nothing(tmp_path: Path) -> None:
    deidentifier = Deidentifier()
    deidentifier.apply(telling_slice())
    deidentifier.apply(telling_slice(BurnedInAnnotation="NO"))
    told = json.loads(deidentifier.report.to_json())
    assert told["files"] == 2 and told["removed"]["PatientAge"] == 2 and told["new_uids"]["SOPInstanceUID"] == 2
    assert told["private_attributes_removed"] >= 4
    assert any("burned into" in note for note in told["check"]) and any("face" in note for note in told["check"])
    for secret in ("SECRET", "2020", ROOT_UID):
        assert secret not in deidentifier.report.to_json()


def test_one_key_gives_one_identity() -> None:
    def treated(key: bytes | None, **changes: Any) -> Dataset:
        ds = telling_slice(**changes)
        Deidentifier(key).apply(ds)
        return ds

    one, again, other = treated(KEY), treated(KEY), treated(b"x" * 16)
    assert one.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID
    assert one.PatientID == again.PatientID != other.PatientID
    assert one.PatientID != treated(KEY, PatientID="ANOTHER").PatientID
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    assert one.DerivationCodeSequence[0].ContributingEquipmentSequence[0].SeriesInstanceUID == one.SeriesInstanceUID
    assert len(one.SOPInstanceUID) <= 64 and pydicom.uid.UID(one.SOPInstanceUID).is_valid
    assert treated(None).SOPInstanceUID != treated(None).SOPInstanceUID
    with pytest.raises(ValueError, match="at least 16"):
        Deidentifier(b"short")


def test_burned_in_text_is_refused() -> None:
    with pytest.raises(ImageError, match="burned into its pixels"):
        Deidentifier().apply(telling_slice(BurnedInAnnotation="YES"))


def test_series_and_segmentation_still_belong_together(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "SECRET name", affine_for("LPS"), backwards=True)
    case, series = case_of(read_image(folder)), open_source(folder)
    given = export_deidentified(case, series, tmp_path / "given", Deidentifier(KEY))
    names = sorted(str(p.relative_to(given)) for p in given.rglob("*.*"))
    assert names == [
        "deidentification.json",
        *(f"images/{n:04d}.dcm" for n in range(1, 5)),
        "segmentation.dcm",
    ]
    for path in given.rglob("*.*"):
        assert b"SECRET" not in path.read_bytes() and ROOT_UID.encode() + b"1." not in path.read_bytes()
    assert json.loads((given / "deidentification.json").read_text())["files"] == 4
    image = read_image(given / "images")
    assert np.array_equal(image.array_zyx, case.source.array_zyx) and np.array_equal(image.affine, case.source.affine)
    back = import_masks(given / "segmentation.dcm", image)
    assert np.array_equal(back.mask_zyx(1), case.mask_zyx(2))
    images = [pydicom.dcmread(file) for file in sorted((given / "images").iterdir())]
    segmentation = pydicom.dcmread(given / "segmentation.dcm")
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert segmentation[name].value == images[0][name].value
    referred = segmentation.ReferencedSeriesSequence[0]
    assert {r.ReferencedSOPInstanceUID for r in referred.ReferencedInstanceSequence} == {
        i.SOPInstanceUID for i in images
    }
    # Exported on its own another day, with the same key, it refers to the same images.
    later = pydicom.dcmread(export_seg(case, series, tmp_path / "later.dcm", Deidentifier(KEY)))
    assert later.ReferencedSeriesSequence[0].SeriesInstanceUID == referred.SeriesInstanceUID
    assert dciodvfy_errors(given / "segmentation.dcm") == []
    with pytest.raises(OutputError, match="exists already"):
        export_series(series, given, Deidentifier(KEY))


def test_real_series(data_dir: Path, tmp_path: Path) -> None:
    series = open_source(data_dir / "dicom/brain_tumor_mri/t1_gd")
    folder = export_series(series, tmp_path / "anon", Deidentifier())
    content = b"".join(file.read_bytes() for file in folder.iterdir())
    for secret in (b"Albus", b"PGBM-003", b"3083564386975476", b"SIEMENS CSA", b"4429.7055", b"20200121", b"041Y"):
        assert secret not in content, secret
    assert dciodvfy_errors(folder / "0003.dcm") == []
