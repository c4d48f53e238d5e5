"""Does the model know this phrase? By its distance to what it was taught and to what it was taught not to answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches

import numpy as np

from napari_medclipsam.models.lite.phrases import PhraseBook

_FRAMES = ("{}", "outline the {}", "where is the {}?")


_SIDES = {"left": 1, "right": 2}
# A text encoder hardly hears these: "no tumor" is to it a tumor.
DENIALS = frozenset(
    ["no", "not", "without", "absent", "absence", "negative", "free", "never", "none", "nothing", "neither", "nor"]
)
# What lies in an organ is not the organ: to a text encoder "fluid in the left lung" is a left lung.
_PLACED = re.compile(r"\b(?:in|of|within|inside|on|at|near|around|over|behind|beside)\b")
_FINDINGS = frozenset(["brain_tumor", "breast_lesion", "polyp", "ground_glass_opacities", "consolidation"])
# "rigth" and "lfet" reach it; a taught word never does.
_MISTYPED_SIDE = 0.75
# "lnug" and "barin tumor" reach it, and hardly a word for something else.
_LIKE_SPELLING = 0.75


def words(phrase: str) -> set[str]:
    """The words of a phrase in lower case."""
    return set(re.findall(r"[^\W\d_]+", phrase.casefold()))


# An organ's part is named by them, and the organ is meant.
_WHOLES = words(
    "all area areas base border body contour edge half image outline parenchyma part picture portion region scan "
    "section shape shadow side silhouette slice structure tip tissue top view whole zone"
)
_SMALL = words(
    "a an and any are at both by do does for from has here i is it its of on or s see some that there these this "
    "those to was what where which with you"
)


def sides(phrase: str) -> int:
    """Which sides a phrase names: 1 left, 2 right, 3 both words, 0 neither."""
    return sum(bit for word, bit in _SIDES.items() if word in words(phrase))


def bank_phrases(book: PhraseBook) -> tuple[list[str], list[str], list[str]]:
    """Return (taught phrases, the structure each names, untaught phrases), in a fixed order."""
    taught, names = [], []
    for structure in book.structures.values():
        for phrase in structure.phrases:
            taught.append(phrase)
            names.append(structure.name)
    return taught, names, [*book.unknown, *book.meaningless]


def _vectors(phrases: Sequence[str], encode: Callable[[Sequence[str]], np.ndarray]) -> np.ndarray:
    """Float16 (n · frames, 384): each phrase plain and as a request, for people write both."""
    return encode([frame.format(phrase) for phrase in phrases for frame in _FRAMES]).astype(np.float16)


@dataclass(frozen=True, eq=False)
class Familiarity:
    """How near a phrase is to the model's vocabulary.

    Parameters
    ----------
    nearest_phrase, structure : str
        The taught phrase nearest in meaning and the structure that it names. For what is not known, `nearest_phrase` is
        a hint: one of like spelling, where there is one.
    known : bool
        Near enough to a taught phrase, and nearer than to any untaught one.
    vector : numpy.ndarray
        float32 (384,), what the head is asked: half way from the phrase to that taught phrase. A wording that nobody
        wrote down is so brought nearer to those the head has heard.
    """

    nearest_phrase: str
    structure: str
    known: bool
    vector: np.ndarray


class PhraseBank:
    """The vocabulary as vectors.

    Parameters
    ----------
    book : PhraseBook
        The phrases.
    taught, untaught : numpy.ndarray
        Their vectors, as `build` makes them.
    least_similarity, least_margin : float
        A phrase is known when its cosine to the nearest taught phrase is at least the first, and exceeds that to the
        nearest untaught phrase by at least the second.

    Raises
    ------
    ValueError
        If the vectors do not belong to these phrases.
    """

    def __init__(
        self,
        book: PhraseBook,
        taught: np.ndarray,
        untaught: np.ndarray,
        least_similarity: float = 0.0,
        least_margin: float = 0.0,
    ) -> None:
        self._phrases, self._names, others = bank_phrases(book)
        self._spelled = {phrase.casefold(): phrase for phrase in self._phrases}
        if len(taught) != len(self._phrases) * len(_FRAMES) or len(untaught) != len(others) * len(_FRAMES):
            raise ValueError("the phrase vectors were made from another phrases.json; train the model again")
        self.taught, self.untaught = taught, untaught
        self.least_similarity, self.least_margin = least_similarity, least_margin
        self._wide = (taught.astype(np.float32), untaught.astype(np.float32))
        self._sides = np.repeat([sides(phrase) for phrase in self._phrases], len(_FRAMES))
        self._words = set().union(*map(words, self._phrases))
        organs = [one for one in book.structures.values() if one.name not in _FINDINGS]
        self._organ_words = set().union(*(words(phrase) for one in organs for phrase in one.phrases)) - _SMALL
        held_out = (phrase for one in book.structures.values() for phrase in one.heldout)
        told = self._words.union(*map(words, held_out), *map(words, book.templates))
        self._heard = {_singular(word) for word in told | _SMALL | _WHOLES}

    @classmethod
    def build(cls, book: PhraseBook, encode: Callable[[Sequence[str]], np.ndarray]) -> PhraseBank:
        """Encode every phrase (some seconds)."""
        taught, _, untaught = bank_phrases(book)
        return cls(book, _vectors(taught, encode), _vectors(untaught, encode))

    def scores(self, phrase: str, vector: np.ndarray) -> tuple[float, float, int]:
        """Return (cosine to the nearest taught phrase, its lead over the nearest untaught one, its row).

        A taught phrase that names a side which `phrase` does not name is passed over: "left lung" and "right lung" are
        nearly one to a text encoder, and must never stand for each other.
        """
        near = np.where(self._sides & ~sides(phrase), -1.0, self._wide[0] @ vector)
        best = int(near.argmax())
        return float(near[best]), float(near[best] - (self._wide[1] @ vector).max()), best

    def judge(self, phrase: str, vector: np.ndarray) -> Familiarity:
        """Place a phrase and its vector (384,) in the vocabulary."""
        similarity, margin, row = self.scores(phrase, vector)
        near = similarity >= self.least_similarity and margin >= self.least_margin
        position = row // len(_FRAMES)
        known = near and not self._is_unclear(phrase) and not self._is_inside(phrase, self._names[position])
        between = vector + self._wide[0][row]
        nearest = self._phrases[position] if known else self._meant(phrase) or self._phrases[position]
        return Familiarity(nearest, self._names[position], known, between / np.linalg.norm(between))

    def _meant(self, phrase: str) -> str:
        """Return the taught phrase that somebody may have mistyped or denied; "" where none is like it."""
        asked = [word for word in phrase.casefold().split() if word not in DENIALS]
        near = get_close_matches(" ".join(asked), self._spelled, n=1, cutoff=_LIKE_SPELLING)
        if not near and len(asked) < len(phrase.split()):
            # "No tumor": of what is denied some words are enough.
            near = [one for one in self._spelled if asked and set(asked) <= words(one)]
        return self._spelled[near[0]] if near else ""

    def _is_unclear(self, phrase: str) -> bool:
        """Whether words would mislead although the whole is near: a denial, a mistyped side, another language."""
        named = words(phrase)
        mistyped = any(
            SequenceMatcher(None, word, side).ratio() >= _MISTYPED_SIDE
            for word in named - self._words - set(_SIDES)
            for side in _SIDES
        )
        return bool(named & DENIALS) or mistyped or not named & self._words

    def _is_inside(self, phrase: str, structure: str) -> bool:
        """Whether something in an organ is named, and taken for the organ."""
        parts = _PLACED.split(phrase.casefold(), maxsplit=1)
        if structure in _FINDINGS or len(parts) < 2:
            return False
        what, where = words(parts[0]) - _SMALL - {"the"}, words(parts[1])
        return bool(what) and not what & (self._organ_words | _WHOLES) and bool(where & self._organ_words)

    def unheard(self, phrase: str) -> tuple[str, ...]:
        """Return the words of a phrase that stand in no phrase of the book: what is asked for leaves them out."""
        return tuple(sorted(word for word in words(phrase) if _singular(word) not in self._heard))


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > 3 else word
