from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medclipsam.errors import ModelError
from napari_medclipsam.learning.lite_calibration import calibrate_known
from napari_medclipsam.learning.lite_clicks import (
    ClickSettings,
    central_pixel,
    click_loss,
    first_turn,
    largest_error,
    object_mask,
    pack,
    saliency_like,
    train_clicks,
)
from napari_medclipsam.learning.lite_grounding import (
    SHARES,
    Asker,
    GroundingSettings,
    grounding_loss,
    known_absent,
    questions,
    shares_of,
    train_grounding,
)
from napari_medclipsam.learning.lite_region import fit_region
from napari_medclipsam.learning.lite_samples import GROUPS, STRUCTURE_REGIONS, STRUCTURES
from napari_medclipsam.learning.lite_training import LiteSettings, train_lite
from napari_medclipsam.learning.lite_views import View, ViewStore
from napari_medclipsam.models.lite.click_net import click_blobs
from napari_medclipsam.models.lite.known import PhraseBank
from napari_medclipsam.models.lite.phrases import PhraseBook, Structure, phrase_book
from napari_medclipsam.models.lite.region import RegionProbe

BRAIN = STRUCTURES.index("brain_tumor")


def small_book() -> PhraseBook:
    entries = {name: Structure(name, name, (name,), (f"a {name}",), {}, (f"my {name}",)) for name in STRUCTURES}
    return PhraseBook(("{}", "find {}"), entries, ("liver",), ("dog",), ("spleen",), ("cat",))


def hashed(texts: object) -> np.ndarray:
    """A stand-in for a text encoder with the property that counts here: equal texts, equal unit vectors."""
    rows = [np.random.default_rng(abs(hash(t)) % 2**32).normal(size=384) for t in texts]  # type: ignore[attr-defined]
    return np.stack([r / np.linalg.norm(r) for r in rows]).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> ViewStore:
    """Eight pictures whose embedding shows where the object is."""
    rng = np.random.default_rng(0)
    ys, xs = np.indices((256, 256))
    views, embeddings, bits = [], [], []
    for k in range(8):
        cy, cx = rng.integers(60, 190, 2)
        mask = (ys - cy) ** 2 + (xs - cx) ** 2 < 30**2
        if k == 7:
            mask[:] = False
        embedding = rng.normal(0, 0.1, (256, 64, 64))
        embedding[:32] += mask[::4, ::4]
        embeddings.append(embedding.astype(np.float16))
        bits.append(mask.astype(np.uint16) << BRAIN)
        views.append(View("brain_mri", str(k), ("brain_tumor",), "", k == 6, False, (256, 256), k))
    np.stack(embeddings).tofile(tmp_path / "embeddings.f16")
    np.stack(bits).tofile(tmp_path / "bits.u16")
    pictures = [np.broadcast_to((b > 0) * np.uint8(200), (3, 256, 256)) for b in bits]
    np.stack(pictures).astype(np.uint8).tofile(tmp_path / "canvases.u8")
    (tmp_path / "views.json").write_text(json.dumps([vars(v) for v in views]))
    return ViewStore(tmp_path)


def test_absent_is_only_what_is_certainly_absent() -> None:
    view = View("chest_xray", "a", ("left_lung", "lungs", "right_lung"), "", False, False, (256, 256), 0)
    near, far = known_absent(view, {"lungs"})
    assert near == ["left_lung", "right_lung"]
    # The heart is in every chest film though nobody drew it here.
    assert "cardiomediastinum" not in near + far
    assert all(STRUCTURE_REGIONS[s] != "chest" for s in far)


def test_questions_fit_the_view(store: ViewStore) -> None:
    asker = Asker(small_book(), hashed)
    rng = np.random.default_rng(0)
    for row in range(8):
        vectors, masks, presence = questions(store.views[row], store.bits[row], asker, rng)
        assert vectors.shape == (3, 384) and masks.shape == (3, 128, 128) and presence.shape == (3,)
        assert presence[0] == float(store.bits[row].any())
        for mask, there in zip(masks, presence, strict=True):
            expected = float((store.bits[row] > 0).mean()) if there else 0.0
            assert mask.mean() == pytest.approx(expected, abs=1e-6)


def test_grounding_loss_prefers_the_truth() -> None:
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 40:80, 40:80] = 1
    there = torch.ones(1, 1)
    good = grounding_loss((mask - 0.5) * 12, torch.full((1, 1), 4.0), mask, there)
    shifted = grounding_loss((mask.roll(20, -1) - 0.5) * 12, torch.full((1, 1), 4.0), mask, there)
    missed = grounding_loss(torch.full_like(mask, -6), torch.full((1, 1), -4.0), mask, there)
    assert good < shifted < missed


def test_grounding_learns_and_repeats(store: ViewStore) -> None:
    asker = Asker(small_book(), hashed)
    rows: list[dict[str, float]] = []
    settings = GroundingSettings(steps=75, batch=2, seed=3)
    head = train_grounding(store, asker, settings, rows.append)
    assert rows[-1]["loss"] < rows[0]["loss"]
    short = GroundingSettings(steps=2, batch=2, seed=3)
    first, second = (train_grounding(store, asker, short, rows.append).state_dict() for _ in range(2))
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not head.training


def test_what_is_left_out_teaches_nothing(store: ViewStore) -> None:
    views = [{**vars(v), "dataset": "breast_us" if k % 2 else "brain_mri"} for k, v in enumerate(store.views)]
    (store.folder / "views.json").write_text(json.dumps(views))
    store = ViewStore(store.folder, ["brain_mri"])
    assert store.rows(validation=False) == [1, 3, 5, 7] and store.rows(validation=True) == []
    assert store.shown() == {"brain_tumor"}
    whole = np.memmap(store.folder / "embeddings.f16", np.float16, "r+", shape=store.embeddings.shape)
    # What is not read can't teach: of these numbers the weights would not be finite.
    whole[::2] = np.nan
    settings = GroundingSettings(steps=1, batch=2, seed=3)
    head = train_grounding(store, Asker(small_book(), hashed), settings, lambda row: None)
    assert all(torch.isfinite(v).all() for v in head.state_dict().values())


def test_what_nobody_shows_any_more_is_never_asked_for(store: ViewStore) -> None:
    whole = small_book()
    left = {name: s for name, s in whole.structures.items() if name in ("brain_tumor", "polyp")}
    asker = Asker(PhraseBook(whole.templates, left, whole.unknown, whole.meaningless, (), ()), hashed)
    rng = np.random.default_rng(0)
    # The empty picture: all that is asked for is absent, and an asker with a phrase for it is needed each time.
    vectors, _, presence = questions(store.views[7], store.bits[7], asker, rng, 40)
    assert not presence.any() and len(np.unique(vectors, axis=0)) > 4


def test_a_body_region_keeps_its_share() -> None:
    assert shares_of(list(SHARES)) == pytest.approx(list(SHARES.values()))
    left = ["breast_us", "mni", "hippocampus"]
    breast, mni, hippocampus = shares_of(left)
    assert breast == pytest.approx(SHARES["breast_us"])
    assert mni + hippocampus == pytest.approx(sum(s for name, s in SHARES.items() if GROUPS[name] == "neuro"))
    assert mni / hippocampus == pytest.approx(SHARES["mni"] / SHARES["hippocampus"])


@pytest.mark.parametrize("sets", [["brain"], list(GROUPS)])
def test_data_sets_that_cannot_be_left_out_are_refused(sets: list[str]) -> None:
    with pytest.raises(ModelError, match="Can't leave out"):
        LiteSettings.with_seed(0, sets)


def test_clicks_fall_inside_the_error() -> None:
    target = np.zeros((256, 256), bool)
    target[50:90, 60:120] = True
    drawn = np.zeros_like(target)
    assert largest_error(drawn, target) == (central_pixel(target), 1)
    drawn[50:90, 60:120] = True
    assert largest_error(drawn, target) is None
    drawn[150:200, 150:200] = True
    click = largest_error(drawn, target)
    assert click is not None and click[1] == 0
    x, y = click[0]
    assert drawn[int(y), int(x)] and not target[int(y), int(x)]


@pytest.mark.parametrize("seed", range(10))
def test_first_prompts_describe_the_object(seed: int, store: ViewStore) -> None:
    rng = np.random.default_rng(seed)
    target = object_mask(store.bits[0], rng)
    assert target is not None
    turn = first_turn(target, rng)
    for (x, y), label in zip(turn.points_xy, turn.labels, strict=True):
        assert label == 1 and target[int(y), int(x)]
    if turn.box_xyxy is not None:
        x0, y0, x1, y1 = turn.box_xyxy
        assert 0 <= x0 < x1 <= 255 and 0 <= y0 < y1 <= 255
        assert target[int(y0) : int(y1) + 2, int(x0) : int(x1) + 2].sum() > 0.6 * target.sum()
    rough = saliency_like(target, rng) > 0
    assert (rough & target).sum() > 0.3 * target.sum()
    assert object_mask(store.bits[7], rng) is None


def test_pack_pads_and_marks_missing_masks(store: ViewStore) -> None:
    rng = np.random.default_rng(1)
    target = object_mask(store.bits[0], rng)
    assert target is not None
    one, two = first_turn(target, rng), first_turn(target, rng)
    one.points_xy, one.labels, one.box_xyxy, one.mask = [(3.0, 4.0)], [1], None, None
    two.points_xy, two.labels, two.box_xyxy, two.mask = [(5.0, 6.0)], [0], (1.0, 2.0, 9.0, 8.0), target * 8.0 - 4
    points, labels, masks = pack([one, two])
    assert labels.tolist() == [[1, -1, -1], [0, 2, 3]]
    assert points[1].tolist() == [[5.0, 6.0], [1.0, 2.0], [9.0, 8.0]]
    assert masks[0].isnan().all() and not masks[1].isnan().any()


def test_click_loss_prefers_the_truth() -> None:
    target = torch.zeros(1, 256, 256)
    target[:, 50:90, 50:90] = 1
    good = click_loss((target - 0.5) * 10, torch.tensor([1.0]), target)
    worse = click_loss((target.roll(15, 1) - 0.5) * 10, torch.tensor([1.0]), target)
    assert good < worse


def test_click_training_moves_the_decoder_alone(store: ViewStore) -> None:
    from napari_medclipsam.learning.lite_training import _frozen_parts
    from napari_medclipsam.models.lite.clicks import ClickDecoder
    from napari_medclipsam.models.lite.encoder import load_litemedsam

    decoder = ClickDecoder(load_litemedsam(_frozen_parts()["lite_medsam.pth"]))
    before = {k: v.clone() for k, v in decoder.state_dict().items()}
    settings = ClickSettings(steps=2, learning_rate=1e-3, averaging=0.9, rounds=(2,), batch=1)
    after = train_clicks(store, decoder, settings, lambda row: None).state_dict()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert moved and not any(k.startswith("net.") or k == "share" for k in moved)
    assert all(torch.isfinite(v).all() for v in after.values())


def test_click_blobs_lie_where_the_clicks_are() -> None:
    points = torch.tensor([[[10.0, 20.0], [200.0, 30.0], [50.0, 60.0], [90.0, 80.0]]])
    blobs = click_blobs(points, torch.tensor([[1, 0, 2, 3]]))[0]
    assert blobs.shape == (5, 256, 256)
    for plane, (x, y) in ((0, (10, 20)), (1, (10, 20)), (2, (200, 30)), (3, (200, 30))):
        assert blobs[plane].argmax() == y * 256 + x and blobs[plane].max() == 1
    assert blobs[4].sum() == 41 * 21 and blobs[4, 60, 50] == 1 and blobs[4, 80, 90] == 1
    assert not click_blobs(points, torch.full((1, 4), -1)).any()


def test_region_is_read_from_the_whole_picture(tmp_path: Path) -> None:
    """Four regions that differ in a few channels, one of them rare; pictures held out are read as well."""
    rng = np.random.default_rng(0)
    datasets = ["brain_mri", "breast_us", "polyps", "chest_xray"]
    views, embeddings = [], []
    for k in range(44):
        dataset = datasets[min(k % 14, 3)] if k % 11 else "breast_us"
        embedding = rng.normal(0, 1, (256, 64, 64))
        embedding[datasets.index(dataset) * 10 : datasets.index(dataset) * 10 + 10] *= 1.5
        embeddings.append(embedding.astype(np.float16))
        views.append(View(dataset, str(k), (), "", k % 4 == 3, False, (256, 256), k))
    np.stack(embeddings).tofile(tmp_path / "embeddings.f16")
    np.zeros((44, 256, 256), np.uint16).tofile(tmp_path / "bits.u16")
    np.zeros((44, 3, 256, 256), np.uint8).tofile(tmp_path / "canvases.u8")
    (tmp_path / "views.json").write_text(json.dumps([vars(v) for v in views]))
    probe = RegionProbe()
    figures = fit_region(ViewStore(tmp_path), probe)
    assert figures["region right"] == 1 and figures["own region too improbable"] == 0
    chances = probe.probabilities(torch.from_numpy(embeddings[1].astype(np.float32))[None])
    assert max(chances, key=lambda region: chances[region]) == GROUPS[views[1].dataset]


def test_held_out_phrasings_are_held_out() -> None:
    book = phrase_book()
    for structure in book.structures.values():
        assert len(structure.nouns) >= 6 and structure.heldout
        assert not set(structure.heldout) & set(structure.phrases)
    assert set(book.structures) == set(STRUCTURES)
    assert not set(book.unknown + book.meaningless) & set(book.heldout_unknown + book.heldout_meaningless)


def test_known_phrases_are_told_from_strange_ones() -> None:
    from napari_medclipsam.learning.lite_training import _frozen_parts
    from napari_medclipsam.models.lite.text import TextEncoder

    parts = _frozen_parts()
    encode = TextEncoder(parts["model.safetensors"], parts["tokenizer.json"])
    book = phrase_book()
    bank = PhraseBank.build(book, encode)
    similarity, _, figures = calibrate_known(bank, book, encode)
    assert 0 < similarity < 1
    assert figures["known_taken_as_known"] > 0.9 and figures["strange_taken_as_known"] < 0.1


def test_wrong_data_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not the training data"):
        train_lite(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
