"""Training the region heads, on a store of a few made-up pictures."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import pytest
import torch

from napari_medclipsam.learning.lite_captions import Concepts, caption, modalities
from napari_medclipsam.learning.lite_embedding import EmbeddingSettings, Taught, concept_loss, parted, train_embedding
from napari_medclipsam.learning.lite_embedding_scale import answered, balanced, calibrate_scale
from napari_medclipsam.learning.lite_region_views import ELSEWHERE, Region, pool_views, regions_of
from napari_medclipsam.learning.lite_samples import STRUCTURES
from napari_medclipsam.learning.lite_views import View, ViewStore
from napari_medclipsam.models.lite.phrases import phrase_book

BRAIN, BREAST = STRUCTURES.index("brain_tumor"), STRUCTURES.index("breast_lesion")


def hashed(texts: object) -> np.ndarray:
    """A stand-in for a text encoder with what counts here: equal words, like vectors."""
    word = lru_cache(maxsize=None)(lambda text: np.random.default_rng(list(text.encode())).normal(size=384))
    rows = [sum(word(part) for part in text.split()) for text in texts]  # type: ignore[attr-defined]
    return np.stack([r / np.linalg.norm(r) for r in rows]).astype(np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ViewStore:
    """Brains and breasts whose embedding shows where the lesion is, and which kind."""
    folder = tmp_path_factory.mktemp("views")
    rng = np.random.default_rng(0)
    ys, xs = np.indices((256, 256))
    kinds = ["glioma", "meningioma", "benign", ""]
    views, embeddings, bits = [], [], []
    for k in range(12):
        kind = kinds[k % 4]
        dataset, bit = ("brain_mri", BRAIN) if k % 4 < 2 else ("breast_us", BREAST)
        mask = (ys - rng.integers(60, 190)) ** 2 + (xs - rng.integers(60, 190)) ** 2 < 30**2
        if not kind:
            mask[:] = False
        embedding = rng.normal(0, 0.1, (256, 64, 64))
        embedding[k % 4 * 20 : k % 4 * 20 + 20] += mask[::4, ::4]
        embedding[100 if bit == BRAIN else 120] += 1
        embeddings.append(embedding.astype(np.float16))
        bits.append(mask.astype(np.uint16) << bit)
        views.append(View(dataset, str(k), (STRUCTURES[bit],), kind, k >= 8, False, (256, 256), k))
    np.stack(embeddings).tofile(folder / "embeddings.f16")
    np.stack(bits).tofile(folder / "bits.u16")
    np.full((12, 3, 256, 256), 90, np.uint8).tofile(folder / "canvases.u8")
    (folder / "views.json").write_text(json.dumps([vars(v) for v in views]))
    return ViewStore(folder)


@pytest.fixture(scope="module")
def taught(store: ViewStore, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    pooled = pool_views(store, tmp_path_factory.mktemp("regions"), 0)
    return Taught(pooled, store.views, Concepts.of(phrase_book(), {}), hashed)


def test_regions_are_what_they_are_called(store: ViewStore) -> None:
    for row in range(12):
        found = list(regions_of(store.views[row], store.bits[row], store.canvases[row], np.random.default_rng(row)))
        mask = store.bits[row] > 0
        for structure, role, region in found:
            share = (region & mask).sum() / region.sum()
            assert region.any()
            assert share <= 0.02 if structure == ELSEWHERE else share > 0.3
            assert role != "drawn" or (region == mask).all()
        assert any(role == "drawn" for _, role, _ in found) == mask.any()


def test_training_lowers_the_loss_and_repeats(taught: Taught) -> None:
    rows, held = parted(taught.views)
    assert held == [8, 9, 10, 11]
    told: list[dict[str, float]] = []
    settings = EmbeddingSettings(steps=100, batch=8, regions=2, seed=1)
    heads = train_embedding(taught, rows, settings, told.append)
    assert told[-1]["loss"] < 0.9 * told[0]["loss"]
    scale, figures = calibrate_scale(heads, taught, held)
    assert 2 <= scale <= 80 and 0 <= figures["tumour or not, both"] <= 1
    short = EmbeddingSettings(steps=2, batch=8, regions=2, seed=1)
    one, two = (train_embedding(taught, rows, short, told.append).state_dict() for _ in range(2))
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_only_what_is_certain_is_taught() -> None:
    concepts = Concepts.of(phrase_book(), {"film": ("AP Supine", "Small effusion.")})
    film = View("chest_xray", "film", ("left_lung", "lungs", "right_lung"), "", False, False, (256, 256), 0)
    truth = concepts.of_image(film, {"lungs", "left_lung", "right_lung"})
    assert truth["lungs"] and truth["AP view"] and not truth["PA view"] and not truth["brain_tumor"]
    # The heart is in every chest film though nobody drew it here.
    assert "cardiomediastinum" not in truth
    left = concepts.of_region(film, Region(0, "left_lung", "drawn", 0.2, 0.7))
    assert left["left_lung"] and left["lung"] and not left["right_lung"] and not left["lungs"]
    normal = View("breast_us", "b", ("breast_lesion",), "", False, False, (256, 256), 0)
    truth = concepts.of_image(normal, set())
    assert truth["normal breast"] and not truth["benign"] and not truth["malignant"]
    lesion = concepts.of_region(View("mni", "0_1", ("brain_tumor",), "", False, False, (256, 256), 0),
                                Region(0, "brain_tumor", "drawn", 0.1, 0.5))  # fmt: skip
    assert lesion["brain_tumor"] and "glioma" not in lesion and not lesion["benign"]


def test_captions_say_kind_size_side_and_notes() -> None:
    films = {"film": ("AP Supine", "Small effusion.")}
    brain = View("brain_mri", "7", ("brain_tumor",), "glioma", False, False, (256, 256), 0)
    said = caption(brain, [Region(0, "brain_tumor", "drawn", 0.01, 0.2)], films)
    assert said[0] == "contrast-enhanced T1 MRI of the brain: small glioma on the left of the picture"
    film = View("chest_xray", "film", ("lungs",), "", False, False, (256, 256), 0)
    assert caption(film, [], films) == ("chest radiograph AP Supine: Small effusion.", "Small effusion.")
    flair = View("lgg", "TCGA_flair_3", ("brain_tumor",), "", False, False, (256, 256), 0)
    assert modalities(flair, {}) == {"brain MRI", "FLAIR"}
    assert caption(flair, [], films)[0].startswith("FLAIR: normal brain")


def test_concept_loss_prefers_the_truth() -> None:
    truth = torch.tensor([[1, 0, -1], [0, 1, 0], [-1, -1, 0]], dtype=torch.int8)
    good = concept_loss(torch.tensor([[0.9, 0.0, 0.9], [0.0, 0.9, 0.0], [0.0, 0.0, 0.0]]), truth, 10)
    bad = concept_loss(torch.tensor([[0.0, 0.9, 0.0], [0.9, 0.0, 0.0], [0.0, 0.0, 0.9]]), truth, 10)
    assert good < 0.01 < bad


def test_only_clear_answers_are_judged() -> None:
    cosines = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.5], [0.4, 0.5]])
    found = answered(cosines, np.array([[1, 0], [0, 1], [0, 1], [1, -1]], np.int8))
    assert len(found[1]) == 3 and balanced(*found) == 0.75
