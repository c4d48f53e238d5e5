"""Words that shut each other out, as data: to be asked after one is to be asked after the others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

# Nouns that only point at something: they say of no organ, and of no kind.
GENERAL = frozenset(
    [
        *("lesion", "lesions", "mass", "masses", "tumor", "tumors", "tumour", "tumours", "nodule", "nodules"),
        *("finding", "findings", "abnormality", "growth", "tissue", "spot", "part", "object", "outline"),
        *("region", "area", "structure", "thing", "box", "mask"),
    ]
)
_GLUE = frozenset(["in", "of", "the", "a", "an"])


@dataclass(frozen=True)
class Opposites:
    """Words of which one fits.

    Parameters
    ----------
    choices : dict of str to tuple of str
        Each word with others that mean the same.
    phrase : str
        What a model with a vocabulary of its own is asked, with ``{}`` for the word.
    other_phrase : str
        What any other model is asked.
    shown : str
        What a model with a vocabulary must see in the slice before it can tell; "" where none was taught these words.
    organ : tuple of str
        Words for where `shown` is: a noun that has none of them names something else.
    grave : str
        The choice that is not ruled out unless the model is sure; "" where there is none.
    """

    choices: dict[str, tuple[str, ...]]
    phrase: str
    other_phrase: str
    shown: str
    organ: tuple[str, ...]
    grave: str = ""

    @property
    def are_nouns(self) -> bool:
        """True where each word names a thing ("glioma"); else it is said of one ("malignant")."""
        return self.phrase == "{}"

    def told_of(self, noun: str) -> str | None:
        """Return what a model with a vocabulary looks for where these words are said of a noun; None for another thing.

        A general noun, and one that adds only the organ, means `shown`; "hypoechoic breast lesion" is looked for as it
        is written.
        """
        named = set(noun.casefold().split()) - _GLUE
        if named <= GENERAL | set(self.organ):
            return self.shown
        return noun if named & set(self.organ) else None

    def choice(self, word: str) -> str | None:
        """Return which of the choices a word means."""
        wanted = " ".join(word.casefold().split())
        return next((name for name, others in self.choices.items() if wanted in (name, *others)), None)


@cache
def all_opposites() -> tuple[Opposites, ...]:
    """Return those that ship with the package."""
    raw = json.loads(resources.files(__package__).joinpath("opposites.json").read_text(encoding="utf-8"))
    return tuple(
        Opposites(
            {word: tuple(others) for word, others in entry["choices"].items()},
            entry["phrase"],
            entry["other_phrase"],
            entry["shown"],
            tuple(entry["organ"]),
            entry.get("grave", ""),
        )
        for entry in raw
    )


def opposites_of(*words: str) -> Opposites | None:
    """Return the group that has all of these words; None where there is none."""
    return next((group for group in all_opposites() if all(group.choice(word) for word in words)), None)
