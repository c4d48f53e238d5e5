"""What is asked of a CLIP model in the place of the user's few words: templates, opposites and null prompts, as data.

A CLIP model answers "brain tumor" and "MRI: brain tumor" differently, and neither is the right one. The mean over
several templates depends less on the wording (Radford et al. 2021, section 3.1.4).
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib import resources

# A text longer than this is a sentence of its own, and reads oddly inside another.
_MOST_WORDS = 6


@dataclass(frozen=True)
class Question:
    """What stands for one text.

    Parameters
    ----------
    positive : tuple of str
        Wordings whose mean vector is asked for; the user's own is the first.
    negative : tuple of str
        What is in the same kind of image and is something else: the text must fit better than each of them.
    """

    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True)
class PromptBook:
    """Templates by modality, structures with their modality and opposites, null and meaningless prompts.

    Parameters
    ----------
    templates : dict
        Modality to templates with ``{}``; "any" is for texts that no structure names.
    structures : tuple of dict
        Each with names, modality and negative.
    null : tuple of str
        Texts that fit every image; a structure that is there must fit better.
    meaningless : tuple of str
        Texts that fit no image: a map that looks like theirs does not come from the text.
    """

    templates: dict[str, tuple[str, ...]]
    structures: tuple[dict[str, object], ...]
    null: tuple[str, ...]
    meaningless: tuple[str, ...]

    def question(self, text: str) -> Question:
        """Return what stands for a text: the whole ensemble, or the text alone where it is a sentence."""
        words = " ".join(text.split())
        if len(words.split()) > _MOST_WORDS:
            return Question((words,), ())
        structure = next((s for s in self.structures if words.casefold() in s["names"]), None)  # type: ignore[operator]
        modality = str(structure["modality"]) if structure else "any"
        negative = tuple(structure["negative"]) if structure else ()  # type: ignore[arg-type]
        return Question(tuple(template.format(words) for template in self.templates[modality]), negative)


@cache
def prompt_book() -> PromptBook:
    """Return the prompts that ship with the package."""
    raw = json.loads(resources.files(__package__).joinpath("prompts.json").read_text(encoding="utf-8"))
    return PromptBook(
        {name: tuple(templates) for name, templates in raw["templates"].items()},
        tuple(raw["structures"]),
        tuple(raw["null"]),
        tuple(raw["meaningless"]),
    )


def is_readable(text: str) -> bool:
    """Tell whether at least half of the letters are Latin: the biomedical CLIP models were taught English only."""
    letters = [letter for letter in text if letter.isalpha()]
    latin = [letter for letter in letters if unicodedata.name(letter, "").startswith("LATIN")]
    return bool(letters) and 2 * len(latin) >= len(letters)
