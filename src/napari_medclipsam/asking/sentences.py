"""Closed questions in plain English: a few fixed forms, read strictly. What is not understood is refused.

A text encoder hears "no tumour" as a tumour and "two masses" as a mass; a sentence that says more than its noun would
be answered as if it did not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from napari_medclipsam.asking.opposites import Opposites, opposites_of
from napari_medclipsam.asking.words import MOST_CHARACTERS, checked_words
from napari_medclipsam.errors import PromptError
from napari_medclipsam.models.lite.known import DENIALS, words
from napari_medclipsam.prompting.text import parse_structures
from napari_medclipsam.saliency.prompt_book import is_readable

FORMS = (
    "is there a brain tumor?",
    "is there a mass here?",
    "does this slice show a polyp?",
    "is this malignant?",
    "is this a glioma?",
    "is this benign or malignant?",
    "which of these: glioma, meningioma, pituitary tumor",
)
_UNDERSTOOD = "Understood are:\n" + "\n".join(f"  {form}" for form in FORMS)

# Words that ask for more than whether a thing is there, or which it is.
_BEYOND = frozenset(
    [
        *("more", "less", "fewer", "than", "larger", "bigger", "smaller", "biggest", "largest", "growing", "grown"),
        *("two", "three", "four", "five", "several", "many", "multiple", "another", "only", "just", "except", "but"),
        *("still", "again", "since", "after", "before", "previous", "previously", "changed", "change", "yet"),
        *("probably", "possibly", "likely", "unlikely", "should", "could", "would", "cause", "causes", "caused"),
        *("which", "what", "where", "who", "why", "how", "when", "and", "if", "that", "because"),
    ]
)
# To a text encoder normal tissue is tissue with something: it is compared with other names, never looked for.
_NORMAL = frozenset(["normal", "healthy", "unremarkable", "clear", "abnormal"])
_PLACE = re.compile(
    r"\s+(?:(?P<here>here)|(?:in|on|inside|within) (?:this|the) (?P<part>region|box|area|mask|outline)"
    r"|(?:in|on) (?:this|the) (?P<all>image|slice|picture|scan))$",
    re.IGNORECASE,
)
_THERE = re.compile(r"(?:is|are) there (?P<what>.+)|(?:do|can) you see (?P<seen>.+)", re.IGNORECASE)
_SHOWS = re.compile(
    r"does (?:this|the) (?:(?P<all>image|slice|picture|scan)|region|box|area) (?:show|contain) (?P<what>.+)",
    re.IGNORECASE,
)
_IS = re.compile(r"(?:is|are) (?:this|it|that|these|(?P<the>the)) (?P<what>.+)", re.IGNORECASE)
_WHICH = re.compile(
    r"(?:which|which one|what) (?:of these|is this|is it|of these is it|of these is this)\s*[:,]\s*(?P<what>.+)",
    re.IGNORECASE,
)
_VERB = re.compile(r"(?:is|are|was|does|do|did|can|has|have|will)\b", re.IGNORECASE)
_ARTICLE = re.compile(r"(?:a|an|any|the|some)\s+", re.IGNORECASE)
_POINTER = re.compile(r"(?:region|area|structure|thing|box|mask)\s+", re.IGNORECASE)
About = Literal["region", "slice", ""]


@dataclass(frozen=True)
class Question:
    """A question that was understood.

    Parameters
    ----------
    text : str
        As it was asked.
    kind : {"presence", "is", "choice"}
        Whether something is there; whether a word fits; which of several words fits.
    words : tuple of str
        What is asked after; several for a choice.
    noun : str
        What the words are said of, where the question says it ("lesion" in "is this lesion malignant?").
    about : {"region", "slice", ""}
        What the question itself says that it is about.
    """

    text: str
    kind: Literal["presence", "is", "choice"]
    words: tuple[str, ...]
    noun: str = ""
    about: About = ""

    @property
    def wants_region(self) -> bool:
        """True when a region that is marked is what is meant, although the question does not say so."""
        return self.about == "region" or (self.about == "" and self.kind != "presence")

    @property
    def opposites(self) -> Opposites | None:
        """The words that shut each other out, among them those of the question."""
        return opposites_of(*self.words)


def parse_question(text: str) -> Question:
    """Return what a closed question asks.

    Raises
    ------
    PromptError
        If it is empty, too long, not in Latin letters, asks several things at once, or has none of the forms; the
        message lists them.
    """
    phrases = parse_structures(text)
    body = " ".join(phrases).rstrip(" ?!.")
    if len(phrases) > 1 or "?" in body:
        raise PromptError("Ask one question at a time.")
    if not is_readable(body):
        raise PromptError(f"Questions are read in English only. {_UNDERSTOOD}")
    said = " ".join(phrases)
    body, about = _without_place(body)
    if (found := _WHICH.fullmatch(body)) is not None:
        return Question(said, "choice", _choices(found["what"]), about=about)
    if (found := _SHOWS.fullmatch(body)) is not None:
        return _presence(said, found["what"], "slice" if found["all"] else "region")
    if (found := _THERE.fullmatch(body)) is not None:
        return _presence(said, found["what"] or found["seen"], about)
    if (found := _IS.fullmatch(body)) is not None:
        what = _POINTER.sub("", found["what"], count=1)
        return _identity(said, what, about, needs_opposite=bool(found["the"]) and what == found["what"])
    if " or " in body.casefold() and not _VERB.match(body):
        return Question(said, "choice", _choices(body), about=about)
    raise PromptError(f"The question {said!r} is not understood. {_UNDERSTOOD}")


def _without_place(body: str) -> tuple[str, About]:
    """Return a question without "here" or "in this slice", and what that says of its subject."""
    found = _PLACE.search(body)
    if found is None:
        return body, ""
    return body[: found.start()], "slice" if found["all"] else "region"


def _presence(said: str, what: str, about: About) -> Question:
    """Return the question whether a thing is there; "malignant lesion" is a lesion and what is said of it."""
    name = _thing(what)
    if opposites_of(name) is None:
        for word in name.split():
            if opposites_of(word) is not None:
                noun = " ".join(other for other in name.split() if other != word)
                return Question(said, "presence", (word,), noun, about)
    return Question(said, "presence", (name,), about=about)


def _identity(said: str, what: str, about: About, *, needs_opposite: bool) -> Question:
    """Return the question "is this …?": an opposite, a choice, or whether a thing is there."""
    noun, choices = _shared_noun(_split(what))
    if len(choices) > 1:
        return Question(said, "choice", _choices_of(choices), noun, about)
    word = _thing(choices[0])
    if opposites_of(word) is not None:
        return Question(said, "is", (word,), noun, about)
    # "Is the lung clear?" and "is this lung clear?" say something of a lung; "is this a lung?" does not.
    if needs_opposite or (len(word.split()) > 1 and word == what):
        raise PromptError(
            f"{word!r} is not understood here: write 'is this a …?' for a thing, and for a property both sides, "
            f"such as 'is this solid or cystic?'. {_UNDERSTOOD}"
        )
    return _presence(said, word, about or "region")


def _shared_noun(parts: list[str]) -> tuple[str, list[str]]:
    """Take the noun off "lesion benign", where the last word is one that has opposites: "is this lesion benign?"."""
    first, _, last = parts[0].rpartition(" ")
    if first and opposites_of(parts[0]) is None and opposites_of(last, *parts[1:]) is not None:
        return _thing(first), [last, *parts[1:]]
    return "", parts


def _split(text: str) -> list[str]:
    parts = re.split(r",\s*or\s+|\s+or\s+|,", text, flags=re.IGNORECASE)
    return [_ARTICLE.sub("", part.strip(), count=1) if _ARTICLE.match(part.strip()) else part.strip() for part in parts]


def _choices(text: str) -> tuple[str, ...]:
    return _choices_of(_split(text))


def _choices_of(parts: list[str]) -> tuple[str, ...]:
    found = checked_words(parts).words
    if len(found) < 2:
        raise PromptError(f"A choice is between two names or more; got {found[0]!r} alone. {_UNDERSTOOD}")
    return tuple(_thing(name, is_compared=True) for name in found)


def _thing(text: str, *, is_compared: bool = False) -> str:
    """Return a noun without its article, or refuse what says more than a noun."""
    article = _ARTICLE.match(text)
    name = text[article.end() :].strip() if article else text.strip()
    named = words(name)
    if named & DENIALS or any(word.casefold().startswith("non-") and not opposites_of(word) for word in name.split()):
        raise PromptError(f"{name!r} denies something, which models mishear; ask whether it is there.")
    if named & _NORMAL and not is_compared:
        raise PromptError(f"{name!r} is told by comparison only; ask: which of these: {name}, …")
    if named & _BEYOND or "or" in named or "," in name:
        told = sorted(named & (_BEYOND | {"or"})) or [","]
        raise PromptError(
            f"{name!r} asks more than one thing, or for more than is understood ({', '.join(told)}). {_UNDERSTOOD}"
        )
    if not named or len(name) > MOST_CHARACTERS:
        raise PromptError(f"Name what you ask for in one to {MOST_CHARACTERS} characters; got {name[:40]!r}.")
    return name
