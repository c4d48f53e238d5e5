"""CLIP models as grounders: ensembles, presence, specificity, and texts that are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clip_samples import TOWERS, make_encoder, noise_image
from napari_medclipsam.errors import PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import MIN_SPECIFICITY, TextGrounder
from napari_medclipsam.saliency.grounder import ClipGrounder
from napari_medclipsam.saliency.methods import METHODS
from napari_medclipsam.saliency.prompt_book import prompt_book

ENCODER = make_encoder("plain")
IMAGE = noise_image()


def mean_vector(texts) -> np.ndarray:
    mean = np.mean([ENCODER.embed_text([text])[0] for text in texts], axis=0)
    return mean / np.linalg.norm(mean)


@pytest.mark.parametrize("kind", TOWERS)
@pytest.mark.parametrize("method", METHODS)
def test_a_map_at_image_size_between_0_and_1(kind, method):
    grounder = ClipGrounder(make_encoder(kind), method)
    assert isinstance(grounder, TextGrounder)
    result = grounder.saliency(IMAGE, "brain tumor")
    assert result.values_yx.shape == (40, 60) and result.values_yx.dtype == np.float32
    # All that gScoreCAM sees in an untrained network may speak against the text; then the map is zero everywhere.
    is_zero = not result.values_yx.any()
    assert result.values_yx.min() == 0 and (result.values_yx.max() == 1 or (is_zero and method == "gscorecam"))
    assert 0 <= result.presence <= 1 and 0 <= result.specificity <= 1 and result.known
    assert result.present == (result.presence > 0.5 and result.specificity > MIN_SPECIFICITY)


def test_presence_compares_the_ensemble_with_opposites_and_null_prompts():
    book = prompt_book()
    question = book.question("brain tumor")
    vector = ENCODER.embed_image(IMAGE)
    others = [ENCODER.embed_text([text])[0] @ vector for text in (*question.negative, *book.null)]
    contrast = ENCODER.scale * (mean_vector(question.positive) @ vector - max(others))
    presence = ClipGrounder(ENCODER).saliency(IMAGE, "brain tumor").presence
    assert presence == pytest.approx(1 / (1 + np.exp(-contrast)), abs=1e-4)
    assert len(question.negative) == 2


def test_meaningless_words_have_a_map_without_specificity_and_are_never_present():
    nonsense = replace(prompt_book(), meaningless=("lkjh poiu",), templates={"any": ("{}",)}, null=("flying carpet",))
    result = ClipGrounder(ENCODER, book=nonsense).saliency(IMAGE, "lkjh poiu")
    assert result.specificity == pytest.approx(0, abs=1e-5) and not result.present
    # The same text, had the map been another's: present needs both.
    other = ClipGrounder(ENCODER, book=replace(nonsense, meaningless=("two slices of bread",))).saliency(
        IMAGE, "lkjh poiu"
    )
    assert other.specificity > MIN_SPECIFICITY and other.present == (other.presence > 0.5)


def test_contrast_asks_for_what_the_text_has_over_the_others():
    plain, contrasted = ClipGrounder(ENCODER, "gradcam"), ClipGrounder(ENCODER, "gradcam", contrast=1.0)
    assert not np.allclose(
        plain.saliency(IMAGE, "brain tumor").values_yx, contrasted.saliency(IMAGE, "brain tumor").values_yx, atol=0.01
    )
    book = prompt_book()
    question = book.question("brain tumor")
    others = np.mean([ENCODER.embed_text([text])[0] for text in (*question.negative, *book.null)], axis=0)
    direction = mean_vector(question.positive) - others
    np.testing.assert_allclose(contrasted._direction("brain tumor"), direction / np.linalg.norm(direction), atol=1e-5)


def test_phrasings_side_by_side_in_their_order_and_each_once():
    texts = ["glioma", "brain tumor", "glioma", "опухоль мозга"]
    grounder = ClipGrounder(ENCODER)
    results = grounder.compare(IMAGE, texts)
    assert [r.text for r in results] == texts and results[0] is results[2]
    np.testing.assert_allclose(results[1].values_yx, grounder.saliency(IMAGE, "brain tumor").values_yx, atol=1e-5)
    assert [r.known for r in results] == [True, True, True, False]


def test_a_flat_map_says_nothing(monkeypatch):
    grounder = ClipGrounder(ENCODER)
    maps = grounder._method.maps
    monkeypatch.setattr(grounder._method, "maps", lambda *args: (0 * maps(*args)[0] + 3, maps(*args)[1]))
    result = grounder.saliency(IMAGE, "brain tumor")
    assert not result.values_yx.any() and result.specificity == 0 and not result.present and result.known


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_image(method):
    result = ClipGrounder(ENCODER, method).saliency(Slice(np.zeros((9, 9), np.uint8)), "brain tumor")
    assert np.isfinite(result.values_yx).all() and np.isfinite(result.presence)


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text(text):
    with pytest.raises(PromptError, match="empty"):
        ClipGrounder(ENCODER).compare(IMAGE, ["brain tumor", text])


@pytest.mark.parametrize("text", ["脑肿瘤", "опухоль мозга", "12345", "?!"])
def test_a_text_that_is_not_in_latin_letters_is_not_known(text):
    result = ClipGrounder(ENCODER).saliency(IMAGE, text)
    assert not result.known and not result.present and not result.values_yx.any()


def test_a_text_longer_than_the_context_is_said():
    with pytest.warns(UserWarning, match=r"has \d+ tokens and .* reads the first 32"):
        assert ClipGrounder(ENCODER).saliency(IMAGE, "a rounded mass with irregular edges " * 9).known


def test_texts_are_encoded_once_for_all_slices(monkeypatch):
    grounder = ClipGrounder(ENCODER)
    first = grounder.saliency(IMAGE, "polyp")
    monkeypatch.setattr(ENCODER, "embed_text", lambda texts: pytest.fail("encoded again"), raising=False)
    np.testing.assert_array_equal(grounder.saliency(IMAGE, "polyp").values_yx, first.values_yx)
