"""What the user typed, as phrases."""

from __future__ import annotations

import unicodedata

from napari_medclipsam.errors import PromptError

MAX_PHRASE_LENGTH = 300
MAX_STRUCTURES = 20


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
