"""Closed questions in plain English: a few fixed forms, read strictly. What is not understood is refused.

A text encoder hears "no tumour" as a tumour and "two masses" as a mass; a sentence that says more than its noun would
be answered as if it did not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from napari_medclipsam.asking.opposites import GENERAL, Opposites, opposites_of
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
    "what is this?",
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
# "lesion" in "is this lesion benign?"; not in "is this mass in the brain benign?".
_POINTER = re.compile(rf"(?:{'|'.join(sorted(GENERAL))}) (?!(?:or|in|on|of|at|with|near)\b)", re.IGNORECASE)
# "brain tumor" in "is this brain tumor a glioma?".
_SAID_OF = re.compile(r"(?P<noun>(?:(?!(?:an?|or|in|on|of|at|with|near)\b)[\w-]+ )+)(?P<said>an? .+)", re.IGNORECASE)
_OPEN = re.compile(rf"(?:what is|what's|what’s) (?:this|it|that)(?: (?:{'|'.join(sorted(GENERAL))}))?", re.IGNORECASE)
About = Literal["region", "slice", ""]


@dataclass(frozen=True)
class Question:
    """A question that was understood.

    Parameters
    ----------
    text : str
        As it was asked.
    kind : {"presence", "is", "choice", "naming"}
        Whether something is there; whether a word fits; which of several words fits; which of the user's own names
        does ("what is this?", for `Asked.name`).
    words : tuple of str
        What is asked after; several for a choice, none for "what is this?".
    noun : str
        What the words are said of ("breast lesion" in "is this breast lesion malignant?"); "" where the question does
        not say it, or only "lesion" or the like.
    about : {"region", "slice", ""}
        What the question itself says that it is about.
    """

    text: str
    kind: Literal["presence", "is", "choice", "naming"]
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
        return opposites_of(*self.words) if self.words else None


def parse_question(text: str) -> Question:
    """Return what a closed question asks.

    Raises
    ------
    PromptError
        If it is empty, too long, not in Latin letters, asks several things at once, or has none of the forms; the
        message lists them.
    """
    if not text.strip(" \t\r\n;?!."):
        raise PromptError(f'Type a question, such as "{FORMS[0]}".')
    phrases = parse_structures(text)
    body = " ".join(phrases).rstrip(" ?!.")
    if len(phrases) > 1 or "?" in body:
        raise PromptError("Ask one question at a time.")
    if not is_readable(body):
        raise PromptError(f"Questions are read in English only. {_UNDERSTOOD}")
    said = " ".join(phrases)
    body, about = _without_place(body)
    if _OPEN.fullmatch(body) is not None:
        return Question(said, "naming", (), about=about)
    if (found := _WHICH.fullmatch(body)) is not None:
        return _choice(said, _split(found["what"]), about)
    if (found := _SHOWS.fullmatch(body)) is not None:
        return _presence(said, found["what"], "slice" if found["all"] else "region")
    if (found := _THERE.fullmatch(body)) is not None:
        return _presence(said, found["what"] or found["seen"], about)
    if (found := _IS.fullmatch(body)) is not None:
        return _identity(said, found["what"], about, is_this=not found["the"])
    if " or " in body.casefold() and not _VERB.match(body):
        return _choice(said, _split(body), about)
    raise PromptError(f"The question {said!r} is not understood. {_UNDERSTOOD}")


def _without_place(body: str) -> tuple[str, About]:
    """Return a question without "here" or "in this slice", and what that says of its subject."""
    found = _PLACE.search(body)
    if found is None:
        return body, ""
    return body[: found.start()], "slice" if found["all"] else "region"


def _presence(said: str, what: str, about: About) -> Question:
    """Return the question whether a thing is there; "malignant lesion" is a lesion and what is said of it."""
    word, noun = _told_of(_thing(what))
    return Question(said, "presence", (word,), noun, about)


def _identity(said: str, what: str, about: About, *, is_this: bool) -> Question:
    """Return the question "is this …?": an opposite, a choice, or whether a thing is there."""
    subject, what, is_pointed = _without_subject(what)
    parts = _split(what)
    if len(parts) > 1:
        return _choice(said, parts, about, subject)
    name = _thing(parts[0])
    word, noun = _told_of(name)
    is_named = bool(_ARTICLE.match(what))
    if opposites_of(word) is not None and (is_named or name.endswith(word)):
        return Question(said, "is", (word,), noun or subject, about)
    # "Is the lung clear?" and "is this lung clear?" say something of a lung; "is this a lung?" does not.
    if not is_named and (is_pointed or not is_this or len(name.split()) > 1):
        raise PromptError(
            f"{name!r} is not understood here: write 'is this a …?' for a thing, and for a property both sides, "
            f"such as 'is this solid or cystic?'. {_UNDERSTOOD}"
        )
    return _presence(said, name, about or "region")


def _without_subject(what: str) -> tuple[str, str, bool]:
    """Return what "is this …" points at, what is said of it, and whether it points; a general noun is left out."""
    if (found := _SAID_OF.fullmatch(what)) is not None:
        return _specific(_thing(found["noun"])), found["said"], True
    said = _POINTER.sub("", what, count=1) if _POINTER.match(what) else what
    return "", said, said != what


def _choice(said: str, parts: list[str], about: About, subject: str = "") -> Question:
    """Return a choice; "benign or malignant brain tumor" are two words said of a brain tumor."""
    names = [_thing(name, is_compared=True) for name in checked_words(parts).words]
    if len(names) < 2:
        raise PromptError(f"A choice is between two names or more; got {names[0]!r} alone. {_UNDERSTOOD}")
    told = [_told_of(name) for name in names]
    group = opposites_of(*(word for word, _ in told))
    nouns = {noun for _, noun in told if noun} or {subject}
    if group is None or len(nouns) > 1 or len({group.choice(word) for word, _ in told}) < 2:
        return Question(said, "choice", tuple(names), subject, about)
    return Question(said, "choice", tuple(word for word, _ in told), nouns.pop(), about)


def _told_of(name: str) -> tuple[str, str]:
    """Take the noun off "malignant brain tumor" and "brain tumor benign": the word that has opposites, and the noun."""
    if opposites_of(name) is not None:
        return name, ""
    with_opposites = [(group.are_nouns, word) for word in name.split() if (group := opposites_of(word)) is not None]
    if not with_opposites:
        return name, ""
    # "Malignant glioma" says malignant of a glioma.
    word = min(with_opposites, key=lambda pair: pair[0])[1]
    return word, _specific(" ".join(other for other in name.split() if other != word))


def _specific(noun: str) -> str:
    """Return a noun; "" for one that could be anything."""
    return "" if set(noun.casefold().split()) <= GENERAL else noun


def _split(text: str) -> list[str]:
    parts = re.split(r",\s*or\s+|\s+or\s+|,", text, flags=re.IGNORECASE)
    return [_ARTICLE.sub("", part.strip(), count=1) if _ARTICLE.match(part.strip()) else part.strip() for part in parts]


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
