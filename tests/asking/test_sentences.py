"""Questions that are understood, as what they ask; and those that are refused."""

import pytest

from napari_medclipsam.asking.sentences import FORMS, parse_question
from napari_medclipsam.errors import PromptError


@pytest.mark.parametrize(
    ("text", "kind", "words", "noun", "about"),
    [
        ("is there a brain tumor?", "presence", ("brain tumor",), "", ""),
        ("Is there any mass here?", "presence", ("mass",), "", "region"),
        ("are there lungs in this image", "presence", ("lungs",), "", "slice"),
        ("Do you see a polyp ?", "presence", ("polyp",), "", ""),
        ("Does this slice show the left lung?", "presence", ("left lung",), "", "slice"),
        ("does the region contain a polyp?", "presence", ("polyp",), "", "region"),
        ("is there a mass in the brain?", "presence", ("mass in the brain",), "", ""),
        ("is there a malignant breast lesion?", "presence", ("malignant",), "breast lesion", ""),
        ("is this a polyp?", "presence", ("polyp",), "", "region"),
        ("Is this malignant?", "is", ("malignant",), "", ""),
        ("is this lesion malignant?", "is", ("malignant",), "", ""),
        ("is this breast lesion malignant?", "is", ("malignant",), "breast lesion", ""),
        ("is this mass in the brain malignant?", "is", ("malignant",), "mass in the brain", ""),
        ("is this lesion a glioma?", "is", ("glioma",), "", ""),
        ("is this brain tumor a pituitary tumor?", "is", ("pituitary tumor",), "brain tumor", ""),
        ("is this a malignant mass?", "is", ("malignant",), "", ""),
        ("is there a cancer of the breast?", "presence", ("cancer of the breast",), "", ""),
        ("is this lesion a polyp?", "presence", ("polyp",), "", "region"),
        ("is there a malignant lesion?", "presence", ("malignant",), "", ""),
        ("is there a malignant glioma?", "presence", ("malignant",), "glioma", ""),
        (
            "is this lesion a benign breast lesion or a malignant breast lesion?",
            *("choice", ("benign", "malignant"), "breast lesion", ""),
        ),
        ("is this a benign or malignant brain tumor?", "choice", ("benign", "malignant"), "brain tumor", ""),
        ("is this tumor a polyp or a lung?", "choice", ("polyp", "lung"), "", ""),
        ("low-grade glioma or high-grade glioma?", "choice", ("low-grade glioma", "high-grade glioma"), "", ""),
        ("What is this?", "naming", (), "", ""),
        ("what’s this lesion here", "naming", (), "", "region"),
        ("is this a glioma?", "is", ("glioma",), "", ""),
        ("is it benign or malignant?", "choice", ("benign", "malignant"), "", ""),
        ("Benign or malignant?", "choice", ("Benign", "malignant"), "", ""),
        ("is the breast lesion benign or malignant?", "choice", ("benign", "malignant"), "breast lesion", ""),
        ("is this a polyp, a lung, or a heart?", "choice", ("polyp", "lung", "heart"), "", ""),
        (
            *("which of these: glioma, meningioma, pituitary tumor", "choice"),
            *(("glioma", "meningioma", "pituitary tumor"), "", ""),
        ),
        ("is this a polyp or normal mucosa?", "choice", ("polyp", "normal mucosa"), "", ""),
        ("What is this: polyp or lung?", "choice", ("polyp", "lung"), "", ""),
    ],
)
def test_what_is_understood(text: str, kind: str, words: tuple[str, ...], noun: str, about: str) -> None:
    found = parse_question(text)
    assert (found.kind, found.words, found.noun, found.about) == (kind, words, noun, about)
    assert found.text == " ".join(text.split())


@pytest.mark.parametrize("text", FORMS)
def test_every_form_that_is_shown_is_understood(text: str) -> None:
    found = parse_question(text)
    assert bool(found.words) == (found.kind != "naming")


@pytest.mark.parametrize(
    "text",
    [
        *("", "   ", "?", "brain tumor", "why is there a tumor?", "how many polyps are there?", "where is the heart?"),
        *(
            "is there no tumor?",
            "is there a scan without a tumor?",
            "is this not malignant?",
            "is there non-solid tissue?",
        ),
        *("is there a tumor and oedema?", "is there a glioma or a meningioma?", "is there more than one mass?"),
        *("are there two nodules?", "is there still a tumor?", "is the tumor growing?", "is the lung clear?"),
        *("is this lung normal tissue here now?", "is this lung clear?", "which of these: glioma", "glioma or glioma?"),
        *(
            "is there a mass? is it malignant?",
            "is there a mass; is it malignant",
            "есть ли опухоль?",
            "腫瘍はありますか",
        ),
        *("is there a \x00?", "is there a " + "very " * 30 + "large mass?", "is there", "is there a 1?", "is this?"),
        *("is this normal?", "is there normal breast tissue?", "is the lung healthy?"),
        *("is this lesion enhancing?", "is the glioma enhancing?", "is this lesion a probably malignant one?"),
    ],
)
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(PromptError):
        parse_question(text)


@pytest.mark.parametrize("text", ["", " ?! "])
def test_nothing_asked_is_answered_with_an_example(text: str) -> None:
    with pytest.raises(PromptError, match="Type a question, such as"):
        parse_question(text)


def test_a_refusal_says_what_is_understood() -> None:
    with pytest.raises(PromptError, match="which of these: glioma"):
        parse_question("where is the tumor?")


@pytest.mark.parametrize(
    ("text", "is_region"),
    [("is there a mass?", False), ("is there a mass here?", True), ("is this malignant?", True)],
)
def test_which_questions_are_about_what_is_marked(text: str, is_region: bool) -> None:
    assert parse_question(text).wants_region is is_region
