"""The user's own words as candidates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from napari_medclipsam.errors import PromptError
from napari_medclipsam.prompting.text import parse_structures
from napari_medclipsam.saliency.prompt_book import is_readable

MOST_CHARACTERS = 80
MOST_WORDS = 20


@dataclass(frozen=True)
class Words:
    """Candidates, each once.

    Parameters
    ----------
    words : tuple of str
        At least one, in the user's order.
    notes : tuple of str
        What was left out, in words.
    """

    words: tuple[str, ...]
    notes: tuple[str, ...] = ()


def checked_words(given: Iterable[str]) -> Words:
    """Return the candidates of a list: without empty ones, and each once whatever its capitals.

    Raises
    ------
    PromptError
        If none is left, there are too many, or one is too long or not written in Latin letters.
    """
    found: dict[str, str] = {}
    n_twice = 0
    for text in given:
        if not text.strip():
            continue
        if ";" in text:
            raise PromptError(f"One candidate is one name; got {text!r}. Put several into lines of their own.")
        (phrase,) = parse_structures(text)
        if len(phrase) > MOST_CHARACTERS:
            raise PromptError(
                f"A candidate has {len(phrase)} characters and {MOST_CHARACTERS} is the limit; name it in a few words."
            )
        if not is_readable(phrase):
            raise PromptError(f"The models know English names in Latin letters only; got {phrase!r}.")
        n_twice += phrase.casefold() in found
        found.setdefault(phrase.casefold(), phrase)
    if not found:
        raise PromptError("There are no words to choose from; give at least two names, such as: glioma, meningioma")
    if len(found) > MOST_WORDS:
        raise PromptError(f"There are {len(found)} names to choose from and {MOST_WORDS} is the limit; leave some out.")
    notes = ("A name that is there twice counts once.",) if n_twice else ()
    return Words(tuple(found.values()), notes)
