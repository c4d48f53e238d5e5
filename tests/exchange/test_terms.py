from __future__ import annotations

import json
from importlib.resources import files

import pytest
from pydicom.sr._concepts_dict import concepts

from napari_medclipsam.exchange.terms import find_term
from napari_medclipsam.models.lite.phrases import phrase_book

#: The DICOM context groups have no term for these; they are free text.
WITHOUT = {"ground_glass_opacities", "consolidation"}


def test_every_code_is_in_pydicoms_dictionary() -> None:
    known = {(value, meaning) for entry in concepts["SCT"].values() for value, (meaning, _) in entry.items()}
    table = json.loads(files("napari_medclipsam.exchange").joinpath("terms.json").read_text(encoding="utf-8"))
    for value, meaning in table["codes"].values():
        assert (value, meaning) in known
    used = {entry[f] for entry in table["terms"] for f in ("category", "type", "region", "modifier") if f in entry}
    assert used <= set(table["codes"])
    names = [name for entry in table["terms"] for name in entry["names"]]
    assert len(names) == len(set(names))


def test_what_the_lite_model_knows_has_terms() -> None:
    for name in phrase_book().structures:
        assert find_term(name).is_standard == (name not in WITHOUT), name


@pytest.mark.parametrize(
    ("name", "kind", "modifier", "region"),
    [
        ("Left Lung", "Lung", "Left", None),
        ("kidney_right", "Kidney", "Right", None),
        ("the lungs", "Lung", "Bilateral", None),
        ("Brain tumour", "Neoplasm", None, "Brain"),
        ("left atrium", "Left atrium", None, None),
        ("anterior hippocampus", "Hippocampus", "Anterior", None),
        ("polyp", "Polyp of colon", None, "Colon"),
    ],
)
def test_names_become_terms(name: str, kind: str, modifier: str | None, region: str | None) -> None:
    term = find_term(name)
    assert term.type.meaning == kind and term.type.scheme == "SCT"
    assert (term.modifier and term.modifier.meaning) == modifier and (term.region and term.region.meaning) == region


def test_nothing_is_filed_under_another_meaning() -> None:
    # A liver has no sides here, a colour is no structure, and a prompt helps where the name does not.
    for name in ("left liver", "GREEN", "lung transplant", "brains"):
        term = find_term(name)
        assert not term.is_standard and term.type.meaning == name and term.category.meaning == "Tissue"
    assert find_term("T1", prompt="brain tumor").type.meaning == "Neoplasm"
    long = find_term("a very long name " * 10)
    assert len(long.type.value) <= 16 and len(long.type.meaning) <= 64
    assert find_term("My thing").type.value == find_term("my  THING").type.value != find_term("other").type.value
