"""Does a caption look English? By the small words of a few other languages: enough to warn, not to decide."""

from __future__ import annotations

import re

_ENGLISH = frozenset(
    ("the", "of", "and", "with", "is", "are", "was", "were", "has", "have", "at", "from", "there", "this", "to", "by")
)
_OTHERS = (
    {
        "der",
        "die",
        "das",
        "und",
        "mit",
        "ist",
        "nicht",
        "eine",
        "einer",
        "ein",
        "keine",
        "kein",
        "von",
        "links",
        "rechts",
        "im",
        "bei",
    },
    {"le", "la", "les", "des", "une", "avec", "dans", "est", "du", "sans", "et", "à", "droite", "gauche"},
    {"el", "la", "los", "las", "con", "una", "del", "por", "sin", "se", "en", "derecho", "izquierdo", "y"},
    {"il", "la", "della", "con", "una", "nel", "senza", "di", "destra", "sinistra", "che"},
    {"o", "os", "uma", "com", "da", "do", "não", "sem", "no", "na", "direita", "esquerda"},
    {"het", "een", "van", "met", "niet", "geen", "en", "links", "rechts", "bij"},
)
_LEAST = 2


def seems_english(caption: str) -> bool:
    """Return False where at least two small words of one other language, and none of English, are in a caption."""
    words = set(re.findall(r"[^\W\d_]+", caption.casefold()))
    return bool(words & _ENGLISH) or not any(len(words & other) >= _LEAST for other in _OTHERS)
