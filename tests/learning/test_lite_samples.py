from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from napari_medclipsam.learning.lite_augment import augment
from napari_medclipsam.learning.lite_samples import STRUCTURES, Bits, Sample, _split_lungs, collect
from napari_medclipsam.learning.lite_views import ViewStore as Store
from napari_medclipsam.learning.lite_views import encode_views, plan


def disc(shape: tuple[int, int], center: tuple[int, int], radius: int) -> np.ndarray:
    ys, xs = np.indices(shape)
    return (ys - center[0]) ** 2 + (xs - center[1]) ** 2 <= radius**2


def sample(dataset: str = "brain_mri", rgb: bool = False, validation: bool = False) -> Sample:
    mask = disc((96, 128), (40, 70), 18)
    pixels = np.where(mask, 200, 60).astype(np.uint8)
    if rgb:
        pixels = np.stack([pixels, pixels // 2, pixels // 3], -1)
    bits = Bits((96, 128))
    bits.add("brain_tumor", mask)
    return Sample(dataset, "x", pixels, bits.array, frozenset({"brain_tumor"}), "glioma", validation)


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_augmented_masks_follow_the_picture(rgb: bool, seed: int) -> None:
    original = sample(rgb=rgb)
    before = original.pixels.copy()
    pixels, bits = augment(original, np.random.default_rng(seed))
    assert pixels.dtype == np.uint8 and bits.dtype == np.uint16
    assert pixels.shape[:2] == bits.shape == (96, 128)
    assert set(np.unique(bits)) <= {0, 1 << STRUCTURES.index("brain_tumor")}
    assert np.array_equal(original.pixels, before)
    again = augment(original, np.random.default_rng(seed))
    assert np.array_equal(again[0], pixels) and np.array_equal(again[1], bits)
    gray = (pixels if pixels.ndim == 2 else pixels.mean(2)).astype(float)
    if bits.any():
        # Bright disc or, when inverted, dark disc: the mask lies where the picture differs.
        assert abs(gray[bits > 0].mean() - gray[bits == 0].mean()) > 15


def test_lungs_are_split_by_side() -> None:
    left_of_film, right_of_film = disc((100, 120), (50, 30), 20), disc((100, 120), (50, 90), 20)
    sides = _split_lungs(left_of_film | right_of_film)
    assert sides is not None
    assert np.array_equal(sides[0], left_of_film)  # the patient's right lung
    assert np.array_equal(sides[1], right_of_film)
    assert _split_lungs(left_of_film) is None


def test_test_rows_are_never_collected(data_dir: Path) -> None:
    samples = list(collect(data_dir, 0))
    assert len(samples) > 4000
    for dataset in ("brain_mri", "breast_us", "polyps", "chest_xray"):
        with open(data_dir / dataset / "index.csv", encoding="utf-8") as index:
            test = {r["name"] for r in csv.DictReader(index) if r["split"] == "test"}
        assert test and not test & {s.name for s in samples if s.dataset == dataset}
    volumes = sorted(p.name.removesuffix("_tumor.nii.gz") for p in (data_dir / "volumes/lgg").glob("*_tumor.nii.gz"))
    taken = {s.name.rsplit("_", 2)[0] for s in samples if s.dataset == "lgg"}
    assert taken == set(volumes[:-4])
    cases = sorted(p.name for p in (data_dir / "volumes/hippocampus/images").glob("*.nii.gz"))
    assert not set(cases[-40:]) & {s.name.rsplit("_", 2)[0] for s in samples if s.dataset == "hippocampus"}


def test_plan_is_fixed_and_leaves_validation_unchanged() -> None:
    samples = [sample(), sample("breast_us"), sample(validation=True)]
    assert plan(samples, 5) == plan(samples, 5)
    assert all(not changed for index, changed, _ in plan(samples * 20, 5) if (samples * 20)[index].validation)


def test_stopped_encoding_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [sample() for _ in range(5)]
    monkeypatch.setattr("napari_medclipsam.learning.lite_views.collect", lambda data, seed: iter(made))
    count = len(plan(made, 1))

    def encode(canvas: np.ndarray) -> np.ndarray:
        return np.full((256, 64, 64), canvas.mean(), np.float32)

    encode_views(tmp_path, tmp_path / "whole", encode, 0)
    calls = []

    def counting(canvas: np.ndarray) -> np.ndarray:
        calls.append(1)
        return encode(canvas)

    encode_views(tmp_path, tmp_path / "parts", encode, 0, most=2)
    assert len(Store(tmp_path / "parts")) == 2
    encode_views(tmp_path, tmp_path / "parts", counting, 0)
    assert len(calls) == count - 2
    encode_views(tmp_path, tmp_path / "parts", counting, 0)
    assert len(calls) == count - 2  # nothing left to do
    whole, parts = Store(tmp_path / "whole"), Store(tmp_path / "parts")
    assert whole.views == parts.views
    assert np.array_equal(whole.embeddings, parts.embeddings) and np.array_equal(whole.bits, parts.bits)
