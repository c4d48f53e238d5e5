"""The table of classes."""

from __future__ import annotations

import pytest

from napari_medclipsam.annotation.classes import COLORS, ClassTable
from napari_medclipsam.errors import PromptError


def test_labels_are_not_used_twice():
    table = ClassTable()
    table.add("brain tumor")
    oedema = table.add("oedema")
    table.remove(oedema.label)
    assert table.add("cyst").label == 3
    assert [c.name for c in table] == ["brain tumor", "cyst"] and 2 not in table


def test_names_are_found_whatever_their_case():
    table = ClassTable()
    added = table.named_or_added("Brain  Tumor")
    assert table.named_or_added("brain tumor") is added and table.named("lung") is None
    assert table.rename(1, "glioma").name == "glioma" and table.named("brain tumor") is None


def test_colours_differ_and_labels_from_a_file_fit_in():
    table = ClassTable()
    assert len({table.add(str(i)).color for i in range(len(COLORS))}) == len(COLORS)
    table.add("from a file", 40)
    assert table.add("next").label == 41
    assert not table.show(40, False).shown and table.recolor(40, "#FFFFFF").color == "#FFFFFF"


@pytest.mark.parametrize(("name", "label"), [("", None), ("x" * 301, None), ("a", 0), ("a", 256), ("again", 1)])
def test_bad_names_and_labels_are_refused(name, label):
    table = ClassTable()
    table.add("first")
    with pytest.raises(PromptError):
        table.add(name, label)


def test_an_unknown_label_is_named():
    with pytest.raises(PromptError, match="label 7"):
        ClassTable()[7]


def test_words_belong_to_one_class():
    table = ClassTable()
    table.add("glioma", prompts=["brain tumor"])
    table.add("cyst")
    assert table.reword(2, ["bubble", " bubble", "round  thing"]).prompts == ("bubble", "round thing")
    with pytest.raises(PromptError, match='stands for the class "glioma"'):
        table.reword(2, ["Brain Tumor"])
    assert table.named("round thing").label == 2
    assert table.reword(1, ["glioma", "brain tumor"]).label == 1 and table.reword(1, []).prompts == ()
