"""Readers and writers of the manifest: what napari shows, and that masks go back to the very grid of the file."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from napari.layers import Layer
from PIL import Image

from napari_medclipsam.errors import GeometryError
from napari_medclipsam.napari_io import get_reader, read_layers, sample_layers, write_labels


def write_nifti(path: Path, array_ijk: np.ndarray, affine: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(array_ijk, affine), path)
    return path


def oblique() -> np.ndarray:
    """Voxels of 2 x 0.7 x 0.8 mm, stored left to right, a few degrees off the axes of the scanner."""
    turn = np.deg2rad(8)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.array([[0, 0.7, 0], [0, 0, 0.8], [2.0, 0, 0]])
    affine[:3, 3] = (-30, 12, 5)
    return affine


def opened(path: Path) -> Layer:
    ((data, shown, kind),) = get_reader(str(path))(str(path))
    return Layer.create(data, shown, kind)


@pytest.mark.parametrize("affine", [np.diag([-1.0, -1, 3, 1]), np.diag([0.5, 2, 1, 1]), oblique()])
def test_a_mask_drawn_on_a_nifti_goes_back_voxel_by_voxel(tmp_path: Path, affine: np.ndarray) -> None:
    array = np.random.default_rng(0).integers(0, 1000, (5, 6, 7)).astype(np.int16)
    layer = opened(write_nifti(tmp_path / "image.nii.gz", array, affine))
    drawn = (layer.data > 500).astype(np.uint8)
    (path,) = write_labels(str(tmp_path / "mask.nii.gz"), drawn, {"metadata": layer.metadata})
    written = nibabel.load(path)
    assert np.array_equal(np.asarray(written.dataobj), array > 500)
    assert np.array_equal(written.affine, nibabel.load(tmp_path / "image.nii.gz").affine)
    assert {str(unit) for unit in layer.units} == {"millimeter"}


def test_an_image_is_turned_as_it_is_read_and_stays_where_it_is(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 6), np.uint8)
    array[1, 2, 3] = 200
    affine = np.diag([2.0, 3, 4, 1])
    affine[:3, 3] = (-10, 20, 30)
    layer = opened(write_nifti(tmp_path / "i.nii", array, affine))
    (place,) = np.argwhere(layer.data == 200)
    # Superior, posterior and left of the origin in mm, from the affine.
    right, anterior, superior, _ = affine @ [1, 2, 3, 1]
    assert layer.data_to_world(place) == pytest.approx((superior, -anterior, -right))


def test_a_stack_whose_last_axis_is_three_is_not_colour(tmp_path: Path) -> None:
    layer = opened(write_nifti(tmp_path / "i.nii", np.arange(3 * 8 * 9, dtype=np.int16).reshape(3, 8, 9), np.eye(4)))
    assert not layer.rgb and layer.ndim == 3 and 3 in layer.data.shape


def test_four_axes_become_a_movie_and_one_mask_per_volume(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 9, (4, 5, 6, 3)).astype(np.int16)
    layer = opened(write_nifti(tmp_path / "i.nii.gz", array, np.diag([1.0, 1, 2, 1])))
    assert layer.data.shape == (3, 6, 5, 4) and tuple(layer.scale) == (1, 2, 1, 1)
    paths = write_labels(str(tmp_path / "m.nii.gz"), (layer.data > 4).astype(np.uint8), {"metadata": layer.metadata})
    assert [Path(p).name for p in paths] == ["m_000.nii.gz", "m_001.nii.gz", "m_002.nii.gz"]
    assert np.array_equal(np.asarray(nibabel.load(paths[1]).dataobj), array[..., 1] > 4)


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 3)])
def test_pictures_are_flat(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    layer = opened(tmp_path / "p.png")
    assert np.array_equal(layer.data, pixels) and layer.rgb == (len(shape) == 3) and layer.ndim == 2
    mask = np.zeros((8, 9), np.uint8)
    mask[2:4, 3:5] = 2
    (path,) = write_labels(str(tmp_path / "m.png"), mask, {"metadata": layer.metadata})
    assert np.array_equal(np.asarray(Image.open(path)), mask)


@pytest.mark.parametrize("name", ["notes.txt", "empty.nii", "missing.nii"])
def test_what_can_t_be_read_is_left_to_others(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty.nii").touch()
    assert get_reader(str(tmp_path / name)) is None
    assert get_reader([str(tmp_path / name)]) is None


def test_a_damaged_file_is_a_sentence_and_no_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_nifti(tmp_path / "i.nii", np.ones((4, 4, 4), np.int16), np.eye(4))
    path.write_bytes(path.read_bytes()[:400])
    said: list[str] = []
    monkeypatch.setattr("napari.utils.notifications.show_error", said.append)
    assert read_layers(str(path)) == [(None,)]
    assert "incomplete" in said[0]


def test_masks_of_unknown_geometry_are_pictures_only(tmp_path: Path) -> None:
    mask = np.ones((4, 5), np.uint8)
    with pytest.raises(GeometryError, match="geometry"):
        write_labels(str(tmp_path / "m.nii.gz"), mask, {})
    assert write_labels(str(tmp_path / "m.png"), mask, {}) == [str(tmp_path / "m.png")]


def test_a_mask_of_another_shape_is_refused(tmp_path: Path) -> None:
    layer = opened(write_nifti(tmp_path / "i.nii", np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)))
    with pytest.raises(GeometryError, match="shape"):
        write_labels(str(tmp_path / "m.nii"), np.zeros((2, 4, 3), np.uint8), {"metadata": layer.metadata})


def test_a_folder_of_several_dicom_series_opens_all(data_dir: Path) -> None:
    folder = data_dir / "dicom" / "brain_tumor_mri"
    layers = [Layer.create(*item) for item in get_reader(str(folder))(str(folder))]
    assert len(layers) == 4
    assert len({layer.data.shape for layer in layers}) == 1
    assert all(np.allclose(layer.translate, layers[0].translate, atol=1) for layer in layers)


def test_a_folder_opens_every_image_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    for kind in ("show_error", "show_info"):
        monkeypatch.setattr(f"napari.utils.notifications.{kind}", said.append)
    scans = tmp_path / "scans"
    (scans / "below").mkdir(parents=True)
    write_nifti(scans / "one.nii.gz", np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5)).save(scans / "below" / "two.png")
    (scans / "broken.nii").write_bytes((scans / "one.nii.gz").read_bytes()[:20])
    (scans / "notes.txt").write_text("hello")
    layers = [Layer.create(*item) for item in get_reader(str(scans))(str(scans))]
    assert [layer.name for layer in layers] == ["one", "two"]
    assert any("notes.txt" in sentence for sentence in said) and any("broken.nii" in sentence for sentence in said)
    for number in range(12):
        shutil.copy(scans / "one.nii.gz", scans / f"copy{number}.nii.gz")
    assert read_layers(str(scans)) == [(None,)]
    assert "15 images" in said[-1] and "Project" in said[-1]


def test_the_sample_is_one_grid() -> None:
    image, lesion = (Layer.create(*item) for item in sample_layers())
    assert image.data.shape == lesion.data.shape and np.array_equal(image.scale, lesion.scale)
    assert np.array_equal(image.translate, lesion.translate)
    assert 0 < np.count_nonzero(lesion.data) < image.data.size / 50
