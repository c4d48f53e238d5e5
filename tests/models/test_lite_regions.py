"""Regions, slices and texts in one space, with the weights that ship, on real pictures (training rows only)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_medclipsam.errors import ImageError, ModelError, PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import RegionEncoder
from napari_medclipsam.models.embedding_cache import EmbeddingCache
from napari_medclipsam.models.lite.model import LiteModel
from napari_medclipsam.models.lite.preprocess import Fit
from napari_medclipsam.models.lite.regions import RegionReader, parts_of, shares, slice_score
from napari_medclipsam.models.registry import load

FILM = "7C69C012-7479-493F-8722-ABC29C60A2DD"


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> LiteModel:
    model: LiteModel = load("lite", "cpu")
    model._cache = EmbeddingCache(tmp_path_factory.mktemp("embeddings"))
    return model


def picture(data_dir: Path, dataset: str, name: str) -> Slice:
    return Slice(np.asarray(Image.open(data_dir / dataset / "images" / f"{name}.jpg").convert("L")))


def mask(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L")) > 0


@pytest.fixture(scope="module")
def film(data_dir: Path) -> Slice:
    return picture(data_dir, "chest_structures", FILM)


@pytest.fixture(scope="module")
def drawn(data_dir: Path) -> np.ndarray:
    folder = data_dir / "chest_structures" / "masks"
    return np.stack([mask(folder / name / f"{FILM}.png") for name in ("left_lung", "right_lung", "cardiomediastinum")])


def test_contract(lite: LiteModel, film: Slice, drawn: np.ndarray) -> None:
    assert isinstance(lite, RegionEncoder)
    assert lite.version and lite.scale > 1
    image, regions, texts = lite.embed_image(film), lite.embed_regions(film, drawn), lite.embed_text(["heart", "lung"])
    assert image.shape == (256,) and regions.shape == (3, 256) and texts.shape == (2, 256)
    for vectors in (image[None], regions, texts):
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert lite.embed_regions(film, drawn[:0]).shape == (0, 256)
    assert lite.embed_text([]).shape == (0, 256)


def test_the_same_again(lite: LiteModel, film: Slice, drawn: np.ndarray) -> None:
    together = lite.embed_regions(film, drawn)
    assert np.array_equal(together, lite.embed_regions(film, drawn))
    alone = np.concatenate([lite.embed_regions(film, one[None]) for one in drawn])
    assert np.allclose(together, alone, atol=1e-5)
    assert np.array_equal(lite.embed_text(["Heart "]), lite.embed_text(["heart"]))


def test_regions_of_one_film_are_told_apart(lite: LiteModel, film: Slice, drawn: np.ndarray) -> None:
    texts = lite.embed_text(["left lung", "right lung", "heart"])
    assert (lite.embed_regions(film, drawn) @ texts.T).argmax(1).tolist() == [0, 1, 2]


def test_a_tumour_is_told_from_the_brain_around_it(lite: LiteModel, data_dir: Path) -> None:
    image = picture(data_dir, "brain_mri", "1")
    tumour = mask(data_dir / "brain_mri" / "masks" / "1.png")
    texts = lite.embed_text(["brain tumor", "normal brain tissue"])
    cosines = lite.embed_regions(image, np.stack([tumour, tumour[:, ::-1] & ~tumour])) @ texts.T
    assert cosines[0, 0] > cosines[0, 1] and cosines[1, 0] < cosines[1, 1]
    kinds = lite.embed_text(["meningioma", "breast cyst", "colon polyp"])
    assert (lite.embed_image(image) @ kinds.T).argmax() == 0


def test_a_region_of_everything_is_much_like_the_whole(lite: LiteModel, film: Slice, drawn: np.ndarray) -> None:
    everything = np.ones((1, *film.shape_yx), bool)
    image = lite.embed_image(film)
    likeness = lite.embed_regions(film, np.concatenate([everything, drawn[:1]])) @ image
    assert likeness[0] > likeness[1]


def test_colour_is_taken(lite: LiteModel, data_dir: Path) -> None:
    pixels = np.asarray(Image.open(data_dir / "polyps" / "images" / "train_0.jpg").convert("RGB"))
    polyp = mask(data_dir / "polyps" / "masks" / "train_0.png")
    texts = lite.embed_text(["colon polyp", "left lung", "meningioma"])
    assert (lite.embed_regions(Slice(pixels), polyp[None])[0] @ texts.T).argmax() == 0


def test_what_is_refused(lite: LiteModel, film: Slice, drawn: np.ndarray) -> None:
    with pytest.raises(PromptError, match="A region is empty"):
        lite.embed_regions(film, np.stack([drawn[0], np.zeros_like(drawn[0])]))
    for wrong in (drawn[0], drawn[:, 1:], drawn[..., None]):
        with pytest.raises(PromptError, match="Masks of regions are"):
            lite.embed_regions(film, wrong)
    with pytest.raises(PromptError, match="text is empty"):
        lite.embed_text(["heart", " "])
    with pytest.raises(ImageError, match="Every pixel"):
        lite.embed_image(Slice(np.zeros((20, 30), np.uint8)))


def test_heads_of_another_encoder_are_refused(lite: LiteModel) -> None:
    with pytest.raises(ModelError, match="another image encoder"):
        RegionReader(lite._files.regions, lite._texts, "0" * 64)


def test_nothing_slips_through_the_grid() -> None:
    for y, x in ((0, 0), (511, 300), (200, 1023)):
        dot = np.zeros((512, 1024), bool)
        dot[y, x] = True
        found = shares(dot, Fit.of(dot.shape))
        assert found.shape == (64, 64) and found.sum() == pytest.approx(1 / 4**4, rel=0.02)
        assert np.unravel_index(found.argmax(), found.shape) == (y // 16, x // 16)


def test_parts_leave_out_the_background() -> None:
    pixels = np.zeros((90, 120), np.uint8)
    pixels[:, 60:] = 200
    parts = parts_of(pixels)
    assert parts.shape[1:] == pixels.shape and 5 < len(parts) <= 34
    assert all(part[:, 60:].any() for part in parts) and parts.any(0)[:, 60:].all()
    assert parts_of(np.zeros((1, 3), np.uint8)).all()


def test_a_slice_is_as_good_as_its_three_best_parts() -> None:
    assert slice_score(np.array([0.1, 0.8, -1.0, 0.2, 0.5])) == pytest.approx(0.5)
    assert slice_score(np.array([0.4])) == pytest.approx(0.4)
