from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_medclipsam.errors import GeometryError, ImageError, OutputError
from napari_medclipsam.exchange.case import Case
from napari_medclipsam.exchange.coco import export_coco, mask_of, run_lengths
from napari_medclipsam.exchange.nnunet import export_nnunet
from napari_medclipsam.images import Volume

from .samples import CLASSES, affine_for, case_of, labels, overlapping_case, volume


def two_cases() -> list[Case]:
    first = case_of(volume(affine_for("LPS")))
    other = volume(affine_for("PIR", (1, 1, 2)), (3, 4, 4))
    return [first, case_of(other, labels_zyx=labels((3, 4, 4), 7)).renamed("case two")]


def test_an_nnunet_data_set(tmp_path: Path) -> None:
    cases = two_cases()
    folder = export_nnunet(iter(cases), tmp_path / "raw" / "Dataset042_Chest")
    told = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert told["channel_names"] == {"0": "CT"} and told["file_ending"] == ".nii.gz" and told["numTraining"] == 2
    assert told["labels"] == {"background": 0, "Left lung": 1, "Läsion / 病変": 2, "Heart": 3}
    assert sorted(p.name for p in (folder / "imagesTr").iterdir()) == ["case_one_0000.nii.gz", "case_two_0000.nii.gz"]
    for case in cases:
        image = nibabel.load(folder / "imagesTr" / f"{case.name}_0000.nii.gz")
        label = nibabel.load(folder / "labelsTr" / f"{case.name}.nii.gz")
        assert np.array_equal(image.affine, label.affine) and np.allclose(image.affine, case.source.affine, atol=1e-5)
        assert np.array_equal(np.asarray(image.dataobj).T, case.source.array_zyx)
        found = np.asarray(label.dataobj).T
        assert np.array_equal(found == 1, case.labels_zyx == 2) and np.array_equal(found == 2, case.labels_zyx == 5)
        assert set(np.unique(found)) == {0, 1, 2}
        sitk = pytest.importorskip("SimpleITK")
        pair = [
            sitk.ReadImage(str(p))
            for p in (folder / "imagesTr" / f"{case.name}_0000.nii.gz", folder / "labelsTr" / f"{case.name}.nii.gz")
        ]
        assert pair[0].GetOrigin() == pair[1].GetOrigin() and pair[0].GetDirection() == pair[1].GetDirection()


@pytest.mark.parametrize("colour", [False, True])
def test_nnunet_takes_pictures_as_png(colour: bool, tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (1, 6, 5, 3) if colour else (1, 6, 5)).astype(np.uint8)
    folder = export_nnunet([case_of(Volume(pixels))], tmp_path / "Dataset001_Polyps")
    told = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert told["file_ending"] == ".png" and len(told["channel_names"]) == (3 if colour else 1)
    assert np.array_equal(np.asarray(Image.open(folder / "imagesTr/case_one_0000.png")), pixels[0])
    assert set(np.unique(np.asarray(Image.open(folder / "labelsTr/case_one.png")))) == {0, 1, 2}


def test_what_nnunet_can_not_take_is_refused_whole(tmp_path: Path) -> None:
    one, two = two_cases()
    target = tmp_path / "Dataset001_X"
    with pytest.raises(ImageError, match="Two cases are called Case_one"):
        export_nnunet([one, two.renamed("Case one")], target)
    fewer = Case("c", two.source, np.zeros_like(two.labels_zyx), CLASSES[:1])
    with pytest.raises(ImageError, match="other classes than the first case"):
        export_nnunet([one, fewer], target)
    sheared = affine_for("LPS")
    sheared[1, 2] = 1
    with pytest.raises(GeometryError, match="not at right angles"):
        export_nnunet([case_of(volume(sheared))], target)
    with pytest.raises(GeometryError, match="overlap"):
        export_nnunet([overlapping_case(volume(affine_for("LPS")))], target)
    with pytest.raises(ImageError, match="no case"):
        export_nnunet([], target)
    with pytest.raises(OutputError, match="DatasetNNN_NAME"):
        export_nnunet([one], tmp_path / "livers")
    assert list(tmp_path.iterdir()) == []


def test_coco_is_read_by_pycocotools(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    from PIL import Image

    cases = [overlapping_case(volume(affine_for("LPS"))), two_cases()[1]]
    folder = export_coco(iter(cases), tmp_path / "coco")
    read = coco.COCO(str(folder / "annotations.json"))
    assert {c["id"]: c["name"] for c in read.loadCats(read.getCatIds())} == {c.label: c.name for c in CLASSES}
    assert len(read.getImgIds()) == 4 + 3
    for entry in read.loadImgs(read.getImgIds()):
        case = next(c for c in cases if c.name == entry["case"])
        assert Image.open(folder / "images" / entry["file_name"]).size == (entry["width"], entry["height"])
        for structure in case.classes:
            wanted = case.mask_zyx(structure.label)[entry["slice"]]
            found = np.zeros_like(wanted)
            for annotation in read.loadAnns(read.getAnnIds(entry["id"], structure.label)):
                mask_yx = read.annToMask(annotation).astype(bool)
                assert mask_yx.sum() == annotation["area"] and not (found & mask_yx).any()
                x, y, w, h = annotation["bbox"]
                assert mask_yx[y : y + h, x : x + w].sum() == annotation["area"] and mask_yx[y, x : x + w].any()
                found |= mask_yx
            assert np.array_equal(found, wanted)


def test_run_lengths_are_those_of_pycocotools() -> None:
    tools = pytest.importorskip("pycocotools.mask")
    for seed in range(20):
        mask = np.random.default_rng(seed).random((5, 7)) < seed / 20
        counts = run_lengths(mask)
        packed = tools.frPyObjects({"size": [5, 7], "counts": counts}, 5, 7)
        assert packed["counts"] == tools.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
        assert np.array_equal(mask_of(counts, (5, 7)), mask)
    assert run_lengths(np.ones((2, 2), bool)) == [0, 4]


def test_coco_needs_one_class_table(tmp_path: Path) -> None:
    one, two = two_cases()
    renamed = Case("b", two.source, two.labels_zyx, [*CLASSES[1:], type(CLASSES[0])(2, "Right lung")])
    with pytest.raises(ImageError, match="Label 2 is 'Right lung' in b and 'Left lung'"):
        export_coco([one, renamed], tmp_path / "coco")
    assert list(tmp_path.iterdir()) == []
