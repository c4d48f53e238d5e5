"""What medclipsam-lite has been told the names of: phrases by structure, and phrases it must not answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Structure:
    """One thing the model was taught to find.

    Parameters
    ----------
    name : str
        Its key, as in the training data.
    title : str
        How a clinician would read it.
    nouns, sentences : tuple of str
        Phrasings the model was trained with.
    kinds : dict
        Phrasings of finer kinds ("glioma"), used only with images of that kind.
    heldout : tuple of str
        Phrasings kept out of training, to set thresholds on.
    """

    name: str
    title: str
    nouns: tuple[str, ...]
    sentences: tuple[str, ...]
    kinds: dict[str, tuple[str, ...]]
    heldout: tuple[str, ...]

    @property
    def phrases(self) -> tuple[str, ...]:
        """Every phrasing used in training."""
        return self.nouns + self.sentences + tuple(p for kind in self.kinds.values() for p in kind)


@dataclass(frozen=True)
class PhraseBook:
    """All phrases; see `phrases.json`."""

    templates: tuple[str, ...]
    structures: dict[str, Structure]
    unknown: tuple[str, ...]
    meaningless: tuple[str, ...]
    heldout_unknown: tuple[str, ...]
    heldout_meaningless: tuple[str, ...]


def _structure(name: str, entry: dict[str, Any]) -> Structure:
    kinds = {kind: tuple(phrases) for kind, phrases in entry["kinds"].items()}
    return Structure(
        name, entry["title"], tuple(entry["nouns"]), tuple(entry["sentences"]), kinds, tuple(entry["heldout"])
    )


@cache
def phrase_book() -> PhraseBook:
    """Return the phrases that ship with the package."""
    raw = json.loads(resources.files(__package__).joinpath("phrases.json").read_text(encoding="utf-8"))
    return PhraseBook(
        tuple(raw["templates"]),
        {name: _structure(name, entry) for name, entry in raw["structures"].items()},
        tuple(raw["unknown"]),
        tuple(raw["meaningless"]),
        tuple(raw["heldout_unknown"]),
        tuple(raw["heldout_meaningless"]),
    )
