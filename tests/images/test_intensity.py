from __future__ import annotations

import numpy as np
import pytest

from napari_medclipsam.errors import ImageError
from napari_medclipsam.images import intensity


@pytest.mark.parametrize("name", intensity.CT_WINDOWS)
def test_every_preset_maps_its_ends_and_level(name: str) -> None:
    level, width = intensity.CT_WINDOWS[name]
    values = np.array([-1e5, level - width / 2, level, level + width / 2, 1e5])
    padded = np.append(values, -3000.0)
    assert intensity.to_uint8(padded, name)[:5].tolist() in ([0, 0, 127, 255, 255], [0, 0, 128, 255, 255])


def test_well_known_presets() -> None:
    assert intensity.ct_window_limits("brain") == (0, 80)
    assert intensity.ct_window_limits("lung") == (-1350, 150)
    assert intensity.ct_window_limits("Soft Tissue") == (-150, 250)
    with pytest.raises(ImageError, match=r"no intensity window 'kidney'.*abdomen"):
        intensity.ct_window_limits("kidney")


def test_auto_knows_ct() -> None:
    ct = np.array([[-1000, 0, 40, 240]], np.int16)
    assert intensity.window_limits(ct) == (-160, 240)
    assert intensity.window_limits(ct + 2000, modality="CT") != (-160, 240)  # no voxel is inside: not Hounsfield
    assert intensity.window_limits(np.array([0, 100]), modality="CT") == (-160, 240)
    assert intensity.window_limits(ct, modality="MR") != (-160, 240)
    assert intensity.window_limits(ct + 1000) != (-160, 240)


def test_a_few_values_are_a_mask() -> None:
    labels = np.zeros((300, 400), np.uint8)
    labels[100:200, 100:200] = 255
    assert intensity.looks_like(labels) == "mask"
    assert intensity.looks_like(labels.astype(np.float32) / 255, "CT") == "mask"
    grays = np.arange(120_000, dtype=np.int16).reshape(300, 400) % 40
    assert intensity.looks_like(grays) == "" and intensity.looks_like(grays, "CT") == "CT"
    assert intensity.looks_like(grays - 1000) == "CT"


def test_percentiles_leave_the_background_out() -> None:
    image = np.zeros((100, 100), np.int16)
    image[:10, :10] = np.arange(1000, 1100).reshape(10, 10)
    low, high = intensity.percentile_limits(image)
    assert (low, high) == pytest.approx(tuple(np.percentile(np.arange(1000, 1100), (0.5, 99.5))))
    shown = intensity.percentile_scale(image)
    assert shown[50, 50] == 0 and shown[9, 9] == 255


def test_a_label_map_has_contrast() -> None:
    image = np.zeros((8, 8), np.uint16)
    image[2:4] = 7
    assert set(np.unique(intensity.to_uint8(image))) == {0, 255}


def test_uint8_is_unchanged() -> None:
    picture = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(intensity.to_uint8(picture), picture)
    assert intensity.to_uint8(picture, (10, 20)).max() == 255


@pytest.mark.parametrize("window", ["auto", "percentile", "brain", (0, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_constant_images_are_refused(window: intensity.Window, dtype: type) -> None:
    with pytest.raises(ImageError, match=r"same value \(5\).*Check"):
        intensity.to_uint8(np.full((2, 4, 4), 5, dtype), window)


@pytest.mark.parametrize("window", [(1, 1), (2, 1), (0, np.nan), (0, np.inf), (1, 2, 3), ("a", "b"), None])
def test_windows_that_are_none(window: object) -> None:
    with pytest.raises(ImageError, match="low < high"):
        intensity.to_uint8(np.arange(9).reshape(3, 3), window)  # type: ignore[arg-type]


def test_a_window_outside_the_image_is_refused() -> None:
    with pytest.raises(ImageError, match=r"outside the image.*0 to 8"):
        intensity.to_uint8(np.arange(9).reshape(3, 3), (100, 200))


def test_volumes_and_planes_agree() -> None:
    volume = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    low, high = intensity.window_limits(volume)
    assert np.array_equal(intensity.to_uint8(volume)[2], intensity.apply_window(volume[2], low, high))
