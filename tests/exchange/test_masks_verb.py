from __future__ import annotations

import nibabel
import numpy as np
import pytest

from napari_medclipsam.cli import main
from napari_medclipsam.exchange.nifti_files import export_labels_nifti
from napari_medclipsam.images import read_image

from .samples import affine_for, case_of, write_series


@pytest.fixture
def files(tmp_path):
    series = write_series(tmp_path / "series", affine_for("LPS"))
    case = case_of(read_image(series))
    mask, _ = export_labels_nifti(case, tmp_path / "in" / "Mary_Smith.nii.gz")
    return tmp_path, series, mask, case


@pytest.mark.parametrize(
    ("kind", "output", "made"),
    [
        ("nifti", "out.nii.gz", "out.nii.gz"),
        ("nifti-per-class", "classes", "classes/002_Left_lung.nii.gz"),
        ("dicom-seg", "out.dcm", "out.dcm"),
        ("nnunet", "Dataset007_Lungs", "Dataset007_Lungs/labelsTr/Mary_Smith.nii.gz"),
        ("coco", "coco", "coco/annotations.json"),
        ("csv", "out.csv", "out.csv"),
    ],
)
def test_export(kind, output, made, files, capsys) -> None:
    folder, series, mask, case = files
    arguments = ["masks", "export", mask, "--source", series, "--format", kind, "--output", folder / output]
    assert main([str(a) for a in arguments]) == 0
    assert (folder / made).exists()
    told = capsys.readouterr()
    assert f"Left lung {(case.labels_zyx == 2).sum()} voxels" in told.out
    assert ("no standard term for Läsion" in told.err) == (kind == "dicom-seg")


def test_deidentified(files, capsys) -> None:
    folder, series, mask, _ = files
    common = ["masks", "export", str(mask), "--source", str(series), "--deidentify"]
    assert main([*common, "--format", "dicom-seg", "--output", str(folder / "given")]) == 0
    assert (folder / "given/deidentification.json").exists() and "burned into" in capsys.readouterr().err
    assert main([*common, "--format", "csv", "--output", str(folder / "sizes.csv")]) == 0
    content = (folder / "sizes.csv").read_text(encoding="utf-8")
    assert "Mary" not in content and "anon-" in content


def test_import(files, capsys) -> None:
    folder, series, mask, case = files
    seg, back = folder / "out.dcm", folder / "back.nii.gz"
    assert (
        main(["masks", "export", str(mask), "--source", str(series), "--format", "dicom-seg", "--output", str(seg)])
        == 0
    )
    assert main(["masks", "import", str(seg), "--source", str(series), "--output", str(back)]) == 0
    found = np.asarray(nibabel.load(back).dataobj).T
    assert np.array_equal(found == 1, case.labels_zyx == 2) and np.array_equal(found == 2, case.labels_zyx == 5)
    other = write_series(folder / "other", affine_for("LPS", (1.5, 2, 5)))
    arguments = ["masks", "import", str(seg), "--source", str(other), "--output", str(folder / "no.nii.gz")]
    assert main(arguments) == 2
    assert "voxels of 3 x 2 x 1.5 and not 5 x 2 x 1.5 mm" in capsys.readouterr().err
    assert not (folder / "no.nii.gz").exists()
    assert main([*arguments, "--resample"]) == 0


def test_a_segmentation_needs_a_series(files, capsys) -> None:
    folder, _, mask, _ = files
    arguments = ["masks", "export", mask, "--source", mask, "--format", "dicom-seg", "--output", folder / "o.dcm"]
    assert main([str(a) for a in arguments]) == 2
    assert "is none. Export NIfTI" in capsys.readouterr().err
