import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medclipsam.errors import PromptError
from napari_medclipsam.prompting.text import MAX_PHRASE_LENGTH, MAX_STRUCTURES, parse_structures, phrasings_of


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("brain tumor", ("brain tumor",)),
        ("  left lung ;right  lung; heart; ", ("left lung", "right lung", "heart")),
        ("lung; Lung", ("lung",)),
        ("опухоль мозга", ("опухоль мозга",)),
        ("脑肿瘤\uff1b心脏", ("脑肿瘤", "心脏")),
        ("a" * MAX_PHRASE_LENGTH, ("a" * MAX_PHRASE_LENGTH,)),
        ("tumor\n", ("tumor",)),
    ],
)
def test_phrases(text, phrases):
    assert parse_structures(text) == phrases


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (" ; ;", "empty"),
        ("a" * (MAX_PHRASE_LENGTH + 1), "characters"),
        ("brain\x00tumor", "control"),
        ("brain\ntumor", "control"),
        ("lung\udcff", "control"),
        (";".join(f"part {i}" for i in range(MAX_STRUCTURES + 1)), "structures"),
    ],
)
def test_unusable_text_is_refused_in_a_sentence(text, said):
    with pytest.raises(PromptError, match=said):
        parse_structures(text)


@given(st.text(max_size=400))
def test_any_text_gives_phrases_or_a_refusal(text):
    try:
        phrases = parse_structures(text)
    except PromptError:
        return
    assert 1 <= len(phrases) <= MAX_STRUCTURES
    assert all(p and ";" not in p and len(p) <= MAX_PHRASE_LENGTH for p in phrases)


def test_phrasings_one_a_line_each_once():
    assert phrasings_of(["brain  tumor", "", "Brain tumor", "glioma"]) == ("brain tumor", "glioma")


@pytest.mark.parametrize(
    ("lines", "told"),
    [([" "], "no phrasing"), (["left lung; right lung"], "several structures"), ([f"mass {n}" for n in range(7)], "7")],
)
def test_phrasings_that_can_not_be_compared(lines, told):
    with pytest.raises(PromptError, match=told):
        phrasings_of(lines)
