"""The page "Ask" without a window: regions, names, questions, evidence, and answers that come too late."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from asking_models import GrayModel
from napari_medclipsam.widgets import _work
from synthetic import RegionGrower, picture


@pytest.fixture
def asking(open_desk, monkeypatch):
    """The dock on four slices with a disk, a square in the second, and models that know shapes by their gray."""
    monkeypatch.setattr(_work, "load_beside_opengl", lambda name, device: (GrayModel(), RegionGrower()))
    viewer = ViewerModel()
    viewer.add_image(np.stack([picture("disk", *(["square"] * (z == 1)))[0] for z in range(4)]), name="stack")
    viewer.dims.set_current_step(0, 1)
    desk = open_desk(viewer)
    desk.idle()
    return desk


def ask(desk, question: str) -> str:
    page = desk.dock.ask_page
    page.question.setText(question)
    page.ask_button.click()
    desk.idle()
    return page.answer.text() or page.notes.text()


def test_names_are_ranked_for_what_is_marked(asking) -> None:
    page = asking.dock.ask_page
    page.name_button.click()
    assert "Nothing is marked" in page.notes.text() and "nothing is marked" in page.region.text()
    asking.ask("square; disk")
    asking.dock.workspace.choose(1)
    assert page.words.toPlainText().split() == ["square", "disk"] and 'mask of "square"' in page.region.text()
    page.name_button.click()
    assert page.answer.text() == "Looking …" and not page.ask_button.isEnabled()
    asking.idle()
    assert "Square (sure" in page.answer.text() and "not a diagnosis" in page.notes.text()
    assert page.bars.title.isHidden() and page.bars.rows[0][1].isEnabled()
    names = [name.text() for name, bar in page.bars.rows if not bar.isHidden() and not page.bars.isHidden()]
    assert names == ["square", "disk"] and page.bars.rows[0][1].value() > 90


def test_words_of_ones_own_stay_until_the_classes_are_taken_again(asking) -> None:
    page = asking.dock.ask_page
    asking.ask("disk")
    page.words.setPlainText("bar\nsquare")
    asking.ask("square")
    assert page.words.toPlainText() == "bar\nsquare"
    page.reset.click()
    assert page.words.toPlainText() == "disk\nsquare"


def test_one_class_is_not_enough_and_the_page_says_so_at_once(asking) -> None:
    page = asking.dock.ask_page
    assert "at least two names" in page.hint.text() and not page.hint.isHidden()
    asking.ask("square")
    assert "one more name" in page.hint.text() and page.words.toPlainText() == "square\n"
    page.words.insertPlainText("Square\n")
    assert not page.hint.isHidden()
    page.words.insertPlainText("disk")
    assert page.hint.isHidden()
    assert "Square (sure" in ask(asking, " What is  this ")
    assert "What is this? (about the region)" in page.answer.text()
    page.reset.click()
    assert not page.hint.isHidden() and "One name" in ask(asking, "what is this?")


def test_what_it_cannot_tell_is_for_comparison_only(asking) -> None:
    asking.ask("disk")
    page = asking.dock.ask_page
    page.words.setPlainText("square\nbar")
    page.name_button.click()
    asking.idle()
    assert "Can't tell" in page.answer.text() and not page.bars.isHidden() and not page.bars.title.isHidden()
    assert not any(part.isEnabled() for part in page.bars.rows[0])


def test_a_box_is_a_region(asking) -> None:
    session, at = asking.session, asking.at
    key = session.object_of(session.classes.add("thing").label)
    session.current = key
    session.add_box(at, (40, 38, 52, 50), key)
    asking.dock.workspace.refreshed.emit()
    page = asking.dock.ask_page
    assert 'box of "thing"' in page.region.text()
    page.words.setPlainText("square\ndisk\nbar")
    page.name_button.click()
    asking.idle()
    assert "Square (sure" in page.answer.text() and "What is this? (about the region)" in page.answer.text()


def test_the_evidence_is_shown_as_the_saliency_of_a_text(asking) -> None:
    assert "Yes (sure, 1.00)" in ask(asking, "is there a square?")
    layer = asking.layer("saliency")
    assert layer.data[0][44, 46] > 0.9 and layer.data[0][18, 20] < 0.1
    asking.dock.verbs.toggle_saliency()
    assert "Yes" in ask(asking, "is there a disk?") and not layer.visible and layer.data[0][18, 20] > 0.9


def test_an_answer_belongs_to_its_slice(asking) -> None:
    assert "Yes" in ask(asking, "is there a square?")
    asking.go(2)
    page = asking.dock.ask_page
    assert page.answer.text() == "" and page.notes.text() == ""
    page.question.setText("is there a square?")
    page.ask_button.click()
    asking.go(3)
    asking.idle()
    assert page.answer.text() == "" and page.ask_button.isEnabled()
    assert "No (sure" in ask(asking, "is there a square?")


def test_what_cant_be_asked_is_said(asking) -> None:
    assert "not understood" in ask(asking, "where is the square?")
    assert "Nothing is marked" in ask(asking, "is there a square here?")
    asking.go(0)
    assert asking.dock.ask_page.notes.text() == ""
    asking.viewer.layers.remove("stack")
    assert "no image" in ask(asking, "is there a disk?")
