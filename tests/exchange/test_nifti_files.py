from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_medclipsam.errors import GeometryError, ImageError, OutputError
from napari_medclipsam.exchange import nifti_files
from napari_medclipsam.exchange.case import Case, LabelClass
from napari_medclipsam.exchange.importing import import_masks
from napari_medclipsam.exchange.nifti_files import export_classes_nifti, export_labels_nifti, write_image_nifti
from napari_medclipsam.images import Volume, read_image

from .samples import ALL_ORIENTATIONS, CLASSES, LPS_TO_RAS, affine_for, case_of, labels, overlapping_case, volume


def assert_read_by_others(path: Path, mask_zyx: np.ndarray, affine: np.ndarray) -> None:
    """Voxels and their places are the same in nibabel and in SimpleITK."""
    sitk = pytest.importorskip("SimpleITK")
    image = nibabel.load(path)
    assert np.array_equal(np.asarray(image.dataobj).T, mask_zyx)
    assert np.allclose(image.affine, affine, atol=1e-4)
    other = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(other), mask_zyx)
    last = [n - 1 for n in mask_zyx.shape[::-1]]
    for index in ([0, 0, 0], last, [last[0], 0, 0], [0, last[1], 0]):
        place_ras = LPS_TO_RAS[:3, :3] @ other.TransformIndexToPhysicalPoint(index)
        assert np.allclose(place_ras, (affine @ [*index, 1])[:3], atol=1e-3)


@pytest.mark.parametrize("codes", ALL_ORIENTATIONS)
def test_every_orientation(codes: str, tmp_path: Path) -> None:
    case = case_of(volume(affine_for(codes)))
    path, table = export_labels_nifti(case, tmp_path / "mask.nii.gz")
    assert_read_by_others(path, case.labels_zyx, case.source.affine)
    back = import_masks(path, case.source)
    assert np.array_equal(back.labels_zyx, case.labels_zyx) and back.classes == CLASSES
    assert table.read_text(encoding="utf-8").splitlines()[:2] == ["index\tname\tcolor", "2\tLeft lung\t#56B4E9"]


@settings(max_examples=25, deadline=None)
@given(rotation=st.tuples(*[st.floats(-180, 180)] * 3), spacing=st.tuples(*[st.floats(0.2, 8)] * 3))
def test_oblique_anisotropic(rotation, spacing, tmp_path_factory: pytest.TempPathFactory) -> None:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", rotation, degrees=True).as_matrix() * spacing
    affine[:3, 3] = (-250.7, 199.3, 800.1)
    case = case_of(volume(affine))
    path, _ = export_labels_nifti(case, tmp_path_factory.mktemp("o") / "mask.nii.gz")
    assert_read_by_others(path, case.labels_zyx, affine)


def test_one_file_per_class_holds_overlaps_and_empty_classes(tmp_path: Path) -> None:
    case = overlapping_case(volume(affine_for("RAS")))
    assert case.overlaps
    with pytest.raises(GeometryError, match="one file per class, or DICOM-SEG"):
        export_labels_nifti(case, tmp_path / "mask.nii.gz")
    assert list(tmp_path.iterdir()) == []
    written = export_classes_nifti(case, tmp_path / "classes")
    assert [p.name for p in written] == [
        "002_Left_lung.nii.gz",
        "005_L_sion.nii.gz",
        "009_Heart.nii.gz",
        "classes.tsv",
    ]
    for path, structure in zip(written, case.classes, strict=False):
        assert_read_by_others(path, case.mask_zyx(structure.label), case.source.affine)
    with pytest.raises(OutputError, match="exists already"):
        export_classes_nifti(case, tmp_path / "classes")


def test_masks_of_their_own_join_the_labels_where_nothing_overlaps(tmp_path: Path) -> None:
    source = volume(affine_for("LAS"))
    mask = labels()
    case = Case("c", source, np.where(mask == 2, 2, 0), CLASSES, {5: mask == 5})
    assert not case.overlaps and np.array_equal(case.single_labels_zyx(), mask)


def test_nothing_is_left_of_a_file_that_reads_back_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(mask_zyx: np.ndarray, source: Volume, path: Path) -> None:
        write(np.roll(mask_zyx, 1, axis=2), source, path)

    write = nifti_files.write_mask_nifti
    monkeypatch.setattr(nifti_files, "write_mask_nifti", spoilt)
    case = case_of(volume(affine_for("RAS")))
    for export, target in ((export_labels_nifti, "m.nii.gz"), (export_classes_nifti, "folder")):
        with pytest.raises(OutputError, match="did not read back"):
            export(case, tmp_path / target)
    assert list(tmp_path.iterdir()) == []


def test_images(tmp_path: Path) -> None:
    source = volume(affine_for("PIR"))
    write_image_nifti(source, tmp_path / "image.nii.gz")
    assert_read_by_others(tmp_path / "image.nii.gz", source.array_zyx, source.affine)


def test_labels_and_classes_must_belong_together() -> None:
    source, mask = volume(affine_for("RAS")), labels()
    with pytest.raises(ImageError, match=r"labels without a class: \[5\]"):
        Case("c", source, mask, CLASSES[:1])
    with pytest.raises(ImageError, match="left lung"):
        Case("c", source, mask, [*CLASSES, LabelClass(10, "left  LUNG")])
    with pytest.raises(ImageError, match=r"\[2\]"):
        Case("c", source, mask, CLASSES, {2: mask > 0})
    with pytest.raises(GeometryError):
        Case("c", source, mask[1:], CLASSES)
    assert Case("../O'Brien^Mary", source, mask, CLASSES).name == "O_Brien_Mary"


def test_imports_from_other_programs(tmp_path: Path) -> None:
    """Float labels without names, on a grid stored the other way round."""
    source = volume(affine_for("LPS"))
    turned = source.reoriented("RAS")
    nibabel.save(nibabel.Nifti1Image((turned.array_zyx % 3).T.astype(np.float32), turned.affine), tmp_path / "m.nii")
    case = import_masks(tmp_path / "m.nii", source)
    assert np.array_equal(case.labels_zyx, source.array_zyx % 3)
    assert [(c.label, c.name) for c in case.classes] == [(1, "label 1"), (2, "label 2")]
    (tmp_path / "m.tsv").write_text("index\tname\n0\tbackground\n1\tspleen\n7\tliver\n")
    assert [c.name for c in import_masks(tmp_path / "m.nii", source).classes] == ["spleen", "label 2", "liver"]
    (tmp_path / "m.tsv").write_text("number,name\n1,spleen\n")
    with pytest.raises(ImageError, match="columns index and name"):
        import_masks(tmp_path / "m.nii", source)


def test_an_image_is_no_mask(tmp_path: Path) -> None:
    source = Volume(np.zeros((1, 9, 9), np.uint8), np.diag([-1.0, -1.0, 1.0, 1.0]))
    values = np.arange(81, dtype=np.uint8).reshape(1, 9, 9)
    nibabel.save(nibabel.Nifti1Image(values.T, source.affine), tmp_path / "m.nii")
    with pytest.raises(ImageError, match=r"looks like an image, not a mask: .* has 80 values without a name, from 1"):
        import_masks(tmp_path / "m.nii", source)
    assert len(import_masks(tmp_path / "m.nii", source, known=range(1, 17)).classes) == 80
    rows = "\n".join(f"{label}\tpart {label}" for label in range(1, 17))
    (tmp_path / "m.tsv").write_text(f"index\tname\n{rows}\n")
    assert len(import_masks(tmp_path / "m.nii", source).classes) == 80


def test_pictures_import_pixel_for_pixel(tmp_path: Path) -> None:
    from PIL import Image

    mask = labels((1, 6, 5))
    Image.fromarray(mask[0]).save(tmp_path / "m.png")
    Image.fromarray(np.arange(30, dtype=np.uint8).reshape(6, 5)).save(tmp_path / "image.png")
    case = import_masks(tmp_path / "m.png", read_image(tmp_path / "image.png"))
    assert np.array_equal(case.labels_zyx, mask)
    Image.fromarray(mask[0, 1:]).save(tmp_path / "short.png")
    with pytest.raises(GeometryError, match=r"\(1, 5, 5\).*\(1, 6, 5\)"):
        import_masks(tmp_path / "short.png", read_image(tmp_path / "image.png"))


def test_real_volumes(data_dir: Path, tmp_path: Path) -> None:
    source = read_image(data_dir / "volumes/spinal_cord/t2.nii.gz")
    mask = (source.array_zyx > source.array_zyx.mean()).astype(np.uint8)
    case = Case("cord", source, mask, [LabelClass(1, "Spinal cord")])
    path, _ = export_labels_nifti(case, tmp_path / "cord.nii.gz")
    assert_read_by_others(path, mask, source.affine)
