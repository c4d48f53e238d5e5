"""From the name of a class to a coded term (SNOMED CT), for DICOM objects.

The table is `terms.json`; every code in it is in pydicom's copy of the DICOM context groups, which a test checks. Where
there is no term, the name itself is coded in a private scheme: nothing is filed under a code that means something else.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

PRIVATE_SCHEME = "99MEDCLIPSAM"
_LONGEST_MEANING = 64


@dataclass(frozen=True)
class Code:
    """A coded concept: value, scheme ("SCT", "DCM" or "99MEDCLIPSAM") and meaning."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Term:
    """What a class is, in codes.

    Parameters
    ----------
    category, type : Code
        Segmented property category and type.
    modifier : Code, optional
        Which side or part of the type: left, right, both, anterior, posterior.
    region : Code, optional
        Where a finding lies, such as the brain for a neoplasm.
    """

    category: Code
    type: Code
    modifier: Code | None = None
    region: Code | None = None

    @property
    def is_standard(self) -> bool:
        """False where the type is free text."""
        return self.type.scheme != PRIVATE_SCHEME


def find_term(name: str, prompt: str = "") -> Term:
    """Return the coded term of a class: by its name, else by its prompt, else its name as free text."""
    return _known(name) or _known(prompt) or _free_text(name)


def _known(text: str) -> Term | None:
    entries, codes = _table()
    words = re.sub(r"[^a-z0-9]+", " ", text.casefold()).strip()
    words = words.removeprefix("the ")
    if words in entries:
        return _term(entries[words], codes)
    side = re.fullmatch(r"(left|right) (.+)|(.+) (left|right)", words)
    if side:
        base, modifier = side[2] or side[3], side[1] or side[4]
    else:
        base, modifier = words.removesuffix("s"), "both"
    entry = entries.get(base)
    if entry is None or not entry.get("paired"):
        return None
    return _term({**entry, "modifier": modifier}, codes)


def _term(entry: dict[str, str], codes: dict[str, Code]) -> Term:
    def code(field: str) -> Code | None:
        return codes[entry[field]] if field in entry else None

    return Term(codes[entry["category"]], codes[entry["type"]], code("modifier"), code("region"))


def _free_text(name: str) -> Term:
    meaning = " ".join(name.split())
    # A code value has 16 characters at most, so it can't be the name; the same name always gets the same one.
    value = "N" + hashlib.sha256(meaning.casefold().encode()).hexdigest()[:12].upper()
    return Term(_table()[1]["tissue"], Code(value, PRIVATE_SCHEME, meaning[:_LONGEST_MEANING]))


@cache
def _table() -> tuple[dict[str, dict[str, str]], dict[str, Code]]:
    """Return (name to entry, key to code)."""
    data = json.loads(files("napari_medclipsam.exchange").joinpath("terms.json").read_text(encoding="utf-8"))
    codes = {key: Code(value, "SCT", meaning) for key, (value, meaning) in data["codes"].items()}
    return {name: entry for entry in data["terms"] for name in entry["names"]}, codes
