from __future__ import annotations

import numpy as np
import pytest

from napari_medclipsam.models.lite.known import _FRAMES, PhraseBank, sides
from napari_medclipsam.models.lite.phrases import phrase_book
from napari_medclipsam.models.lite.text import TextEncoder


@pytest.fixture(scope="module")
def encode() -> TextEncoder:
    from napari_medclipsam.learning.lite_training import _frozen_parts

    parts = _frozen_parts()
    return TextEncoder(parts["model.safetensors"], parts["tokenizer.json"])


@pytest.fixture(scope="module")
def bank(encode: TextEncoder) -> PhraseBank:
    return PhraseBank.build(phrase_book(), encode)


@pytest.mark.parametrize(
    ("phrase", "named"), [("Left lung", 1), ("lung, right", 2), ("left-right", 3), ("both lungs", 0), ("bright", 0)]
)
def test_sides_are_whole_words(phrase: str, named: int) -> None:
    assert sides(phrase) == named


@pytest.mark.parametrize(
    ("phrase", "structure"),
    [
        ("lung of the right side", "right_lung"),
        ("the patient's left-sided lung", "left_lung"),
        ("outline the patient's lungs on this radiograph", "lungs"),
        ("tumour in the right frontal lobe", "brain_tumor"),
    ],
)
def test_a_side_never_stands_for_the_other(bank: PhraseBank, encode: TextEncoder, phrase: str, structure: str) -> None:
    found = bank.judge(phrase, encode([phrase])[0])
    assert found.structure == structure
    assert not sides(found.nearest_phrase) & ~sides(phrase)


def test_the_head_is_asked_between_the_phrase_and_the_vocabulary(bank: PhraseBank, encode: TextEncoder) -> None:
    vector = encode(["growth inside the skull"])[0]
    found = bank.judge("growth inside the skull", vector)
    taught = encode([found.nearest_phrase])[0]
    assert np.linalg.norm(found.vector) == pytest.approx(1, abs=1e-5)
    assert found.vector @ vector > taught @ vector and found.vector @ taught > vector @ taught


def test_a_taught_phrase_is_asked_as_it_is(bank: PhraseBank, encode: TextEncoder) -> None:
    vector = encode(["brain tumor"])[0]
    assert bank.judge("brain tumor", vector).vector @ vector == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "phrase",
    ["rigth lung", "lfet lung", "rechte Lunge", "linke Lunge", "no tumor", "brain without tumour", "absence of polyps"],
)
def test_words_that_would_mislead_are_not_known(bank: PhraseBank, encode: TextEncoder, phrase: str) -> None:
    limited = PhraseBank(phrase_book(), bank.taught, bank.untaught, -1.0, -2.0)
    assert not limited.judge(phrase, encode([phrase])[0]).known


def test_held_out_phrases_are_not_taken_for_unclear(bank: PhraseBank, encode: TextEncoder) -> None:
    limited = PhraseBank(phrase_book(), bank.taught, bank.untaught, -1.0, -2.0)
    heldout = [phrase for structure in phrase_book().structures.values() for phrase in structure.heldout]
    assert all(limited.judge(phrase, vector).known for phrase, vector in zip(heldout, encode(heldout), strict=True))


@pytest.mark.parametrize("what", ["dog in the left lung", "fluid within the lung", "mass in the right lung"])
def test_what_lies_in_an_organ_is_not_the_organ(bank: PhraseBank, encode: TextEncoder, what: str) -> None:
    found = bank.judge(what, encode([what])[0])
    assert not found.known and found.structure in ("left_lung", "lungs", "right_lung")


@pytest.mark.parametrize("known", ["lung of the left side", "head of the hippocampus", "base of the right lung"])
def test_a_part_of_an_organ_is_still_the_organ(bank: PhraseBank, encode: TextEncoder, known: str) -> None:
    assert not bank.unheard(known)
    assert not bank._is_inside(known, bank.judge(known, encode([known])[0]).structure)


def test_no_phrase_of_the_book_is_taken_for_something_in_an_organ(bank: PhraseBank) -> None:
    for structure in phrase_book().structures.values():
        for phrase in (*structure.phrases, *structure.heldout):
            assert not bank._is_inside(phrase, structure.name) and not bank.unheard(phrase), phrase


def test_words_that_no_phrase_has_are_unheard(bank: PhraseBank) -> None:
    assert bank.unheard("Is there a collapsed left lung?") == ("collapsed",)
    assert bank.unheard("metastatic brain tumors") == ("metastatic",)


@pytest.mark.parametrize(
    ("phrase", "hint"),
    [
        *[("barin tumor", "brain tumor"), ("Lnug", "lung"), ("rigth lung", "right lung"), ("no polyp", "polyp")],
        *[("no tumor", "brain tumor"), ("no", None), ("kidney", None)],
    ],
)
def test_a_phrase_of_like_spelling_is_the_first_hint(
    bank: PhraseBank, encode: TextEncoder, phrase: str, hint: str | None
) -> None:
    limited = PhraseBank(phrase_book(), bank.taught, bank.untaught, 0.9)
    vector = encode([phrase])[0]
    found = limited.judge(phrase, vector)
    by_meaning = limited._phrases[limited.scores(phrase, vector)[2] // len(_FRAMES)]
    assert not found.known and found.nearest_phrase == (hint or by_meaning)
    assert np.array_equal(found.vector, bank.judge(phrase, vector).vector)


def test_what_is_known_is_not_taken_for_a_slip(bank: PhraseBank, encode: TextEncoder) -> None:
    found = bank.judge("brain tumorous", encode(["brain tumor"])[0])
    assert found.known and found.nearest_phrase == "brain tumor"
