"""The prompts that ship with the package, and what stands for a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medclipsam.saliency.prompt_book import is_readable, prompt_book

BOOK = prompt_book()


def test_the_data_is_sound():
    assert all(template.count("{}") == 1 for part in BOOK.templates.values() for template in part)
    # The first is the user's own wording.
    assert all(part[0] == "{}" and len(set(part)) == len(part) for part in BOOK.templates.values())
    assert all(structure["modality"] in BOOK.templates and structure["negative"] for structure in BOOK.structures)
    names = [name for structure in BOOK.structures for name in structure["names"]]
    assert len(set(names)) == len(names) and all(name == name.casefold() for name in names)
    assert BOOK.null and BOOK.meaningless and all(map(is_readable, (*BOOK.null, *BOOK.meaningless, *names)))


@pytest.mark.parametrize("text", ["brain tumor", "  Brain   Tumor "])
def test_a_structure_brings_its_modality_and_opposites(text):
    question = BOOK.question(text)
    assert question.positive[0] == " ".join(text.split())
    assert any("MRI" in wording for wording in question.positive) and question.negative


def test_other_words_take_the_general_templates_and_a_sentence_stands_alone():
    assert len(BOOK.question("renal cyst").positive) == len(BOOK.templates["any"])
    assert BOOK.question("renal cyst").negative == ()
    sentence = "a hypoechoic mass with spiculated margins and shadowing"
    assert BOOK.question(sentence).positive == (sentence,)


@given(st.text(min_size=1).filter(str.strip))
def test_any_text_is_asked_as_the_user_wrote_it_first(text):
    assert BOOK.question(text).positive[0] == " ".join(text.split())


@pytest.mark.parametrize("text", ["Hirntumor", "tumeur cérébrale", "α-blocker lesion", "T2"])
def test_latin_letters_are_readable(text):
    assert is_readable(text)


@pytest.mark.parametrize("text", ["", "42", "腫瘍", "ورم", "όγκος"])
def test_other_scripts_are_not(text):
    assert not is_readable(text)
