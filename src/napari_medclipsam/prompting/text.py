"""What the user typed, as phrases."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from napari_medclipsam.errors import PromptError

MAX_PHRASE_LENGTH = 300
MAX_STRUCTURES = 20
MAX_PHRASINGS = 6


def parse_structures(text: str) -> tuple[str, ...]:
    """Split ``"left lung; right lung; heart"`` into its phrases; a phrase given twice counts once.

    Raises
    ------
    PromptError
        If there is no phrase, one is too long or holds control characters, or there are too many.
    """
    phrases: dict[str, str] = {}
    for part in unicodedata.normalize("NFC", text).replace("\uff1b", ";").split(";"):
        phrase = part.strip()
        if any(unicodedata.category(c) in ("Cc", "Cs") for c in phrase):
            raise PromptError(
                "The text holds control characters or broken letters; type it as plain words on one line."
            )
        if len(phrase) > MAX_PHRASE_LENGTH:
            raise PromptError(
                f"The text has a phrase of {len(phrase)} characters and {MAX_PHRASE_LENGTH} is the limit; name the "
                "structure in a few words, and separate several structures with ';'."
            )
        if phrase:
            phrases.setdefault(" ".join(phrase.casefold().split()), " ".join(phrase.split()))
    if not phrases:
        raise PromptError('The text is empty; name what to look for, for example "brain tumor".')
    if len(phrases) > MAX_STRUCTURES:
        raise PromptError(f"The text lists {len(phrases)} structures and {MAX_STRUCTURES} is the limit; split it.")
    return tuple(phrases.values())


def phrasings_of(lines: Iterable[str]) -> tuple[str, ...]:
    """Return the phrasings that are written one in a line, each once; empty lines are left out (a window has them).

    Raises
    ------
    PromptError
        If there is none, there are more than `MAX_PHRASINGS`, or a line can't be asked or names several structures.
    """
    found: dict[str, str] = {}
    for line in filter(str.strip, lines):
        phrase, *others = parse_structures(line)
        if others:
            raise PromptError(f'"{line.strip()}" names several structures; write one phrasing in a line.')
        found.setdefault(phrase.casefold(), phrase)
    if not found:
        raise PromptError("There is no phrasing to compare; write each in a line of its own.")
    if len(found) > MAX_PHRASINGS:
        raise PromptError(f"{len(found)} phrasings do not fit side by side and {MAX_PHRASINGS} is the limit.")
    return tuple(found.values())
