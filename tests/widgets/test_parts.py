"""The small widgets, and the keys."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points, Shapes
from napari.settings import get_settings
from napari.utils.theme import get_theme, register_theme, unregister_theme
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QShowEvent
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QSlider,
    QSpinBox,
    QTabBar,
    QTableWidget,
    QWidget,
)

from napari_medclipsam.annotation.worker_events import ModelChoice
from napari_medclipsam.images.volume import Volume
from napari_medclipsam.napari_io import image_layer
from napari_medclipsam.saliency.methods import METHODS
from napari_medclipsam.widgets import _work
from napari_medclipsam.widgets._actions import ACTIONS
from napari_medclipsam.widgets._buttons import Button
from napari_medclipsam.widgets._options_page import model_choices
from napari_medclipsam.widgets._scrolled import Scrolled
from napari_medclipsam.widgets._verbs import Verbs
from synthetic import Both


def test_our_keys_are_free_in_napari_and_distinct() -> None:
    keys = [action.key.replace("-", "+").casefold() for action in ACTIONS]
    assert len(set(keys)) == len(keys)
    taken = {str(key).casefold() for bound in get_settings().shortcuts.shortcuts.values() for key in bound}
    for kind in (ViewerModel, Image, Labels, Points, Shapes):
        taken |= {str(key).casefold() for key in kind.class_keymap}
    assert not taken & set(keys)


def test_every_action_is_a_verb() -> None:
    assert all(callable(getattr(Verbs, action.verb)) for action in ACTIONS)


def test_keys_are_bound_on_the_viewer_and_on_our_layers(desk) -> None:
    desk.ask("disk")
    for provider in (desk.viewer, desk.layer("points"), desk.layer("boxes"), desk.layer("masks")):
        (accept,) = [call for key, call in provider.keymap.items() if str(key) == "G"]
        accept(provider)
        assert desk.session.undo_name.startswith("accept")
        desk.do("undo")


def test_everything_that_can_be_used_has_a_tooltip(desk) -> None:
    for kind in (QAbstractButton, QComboBox, QLineEdit, QSlider, QSpinBox, QTableWidget):
        for widget in desk.dock.findChildren(kind):
            is_part_of_another = widget.parent() is not None and isinstance(
                widget.parent(), (QSpinBox, QLineEdit, QTableWidget, QTabBar)
            )
            is_napari_s = widget.objectName().startswith("qt_")
            assert widget.toolTip() or is_part_of_another or is_napari_s, (kind, widget.parent())


def test_history_and_suggestions(desk, qtbot) -> None:
    field = desk.dock.find_row.field
    for text in ("disk", "bar"):
        field.setText(text)
        qtbot.keyClick(field, Qt.Key.Key_Return)
        desk.idle()
    qtbot.keyClick(field, Qt.Key.Key_Up)
    qtbot.keyClick(field, Qt.Key.Key_Up)
    assert field.text() == "disk"
    phrases = field.phrases.stringList()
    assert "disk" in phrases and any("tumor" in phrase for phrase in phrases)
    field.setText("disk; brain t")
    completer = field.completer()
    assert completer.splitPath(field.text()) == ["brain t"]
    completer.setCompletionPrefix("brain t")
    assert completer.pathFromIndex(completer.currentIndex()).startswith("disk; ")


def test_enter_stays_in_the_dock(desk, qtbot) -> None:
    reached = []
    frame = QWidget()
    frame.keyPressEvent = lambda event: reached.append(event.key())
    qtbot.addWidget(frame)
    desk.dock.setParent(frame)
    for key in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape):
        qtbot.keyClick(desk.dock.find_row.field, key)
    # napari ends a shape with Enter, and goes by the other keys in whatever part of its window they are pressed.
    assert reached == [Qt.Key.Key_Escape]
    desk.dock.setParent(None)


def test_the_history_lasts_and_can_be_cleared(desk, open_desk, qtbot, caplog) -> None:
    desk.dock.find_row.field.setText("secret words")
    qtbot.keyClick(desk.dock.find_row.field, Qt.Key.Key_Return)
    desk.idle()
    field = open_desk(ViewerModel()).dock.find_row.field
    qtbot.keyClick(field, Qt.Key.Key_Up)
    assert field.text() == "secret words" and "secret" not in caplog.text
    desk.dock.options.clear_history.click()
    assert "forgotten" in desk.message
    field = open_desk(ViewerModel()).dock.find_row.field
    qtbot.keyClick(field, Qt.Key.Key_Up)
    assert field.text() == ""


def test_the_class_table(desk) -> None:
    desk.ask("disk")
    table = desk.dock.classes.table
    table.item(0, 1).setText("a round thing")
    assert desk.session.classes[1].name == "a round thing"
    table.item(0, 0).setCheckState(Qt.CheckState.Unchecked)
    assert not desk.session.classes[1].shown and desk.layer("proposals").colormap.color_dict[1][3] == 0
    table.item(0, 1).setText(" ")
    assert "name" in desk.message and table.item(0, 1).text() == "a round thing"
    buttons = {b.text(): b for b in desk.dock.classes.findChildren(QAbstractButton)}
    buttons["Class"].click()
    assert table.rowCount() == 2 and desk.session.current.label == 2
    assert desk.layer("masks").selected_label == 2
    buttons["Remove"].click()
    assert table.rowCount() == 1
    table.setCurrentCell(0, 1)
    buttons["Object"].click()
    assert desk.session.current == (1, 2) and "object 2" in desk.message


def test_ct_windows_and_contrast_are_what_the_models_see(open_desk) -> None:
    array = np.linspace(-1000, 1000, 4 * 5 * 6).reshape(4, 5, 6).astype(np.int16)
    viewer = ViewerModel()
    data, shown, _ = image_layer([Volume(array, np.eye(4), modality="CT")], "ct")
    layer = viewer.add_image(data, **shown)
    desk = open_desk(viewer)
    assert tuple(layer.contrast_limits) == (-160, 240)
    windows = desk.dock.image_row.windows
    windows.setCurrentText("lung")
    windows.activated.emit(windows.currentIndex())
    assert tuple(layer.contrast_limits) == (-1350, 150) and desk.session.window == "lung"
    layer.contrast_limits = (0, 100)
    assert desk.session.window == (0, 100) and windows.currentText() == "as shown"
    desk.dock.image_row.reset.click()
    assert desk.session.window == "auto" and tuple(layer.contrast_limits) == (-160, 240)


def test_letters_at_the_edges(open_desk, qtbot) -> None:
    viewer = ViewerModel()
    data, shown, _ = image_layer([Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))], "mri")
    viewer.add_image(data, **shown)
    desk = open_desk(viewer)
    qtbot.waitUntil(lambda: "medclipsam bottom" in viewer.canvas.overlays)
    letters = {side: viewer.canvas.overlays[f"medclipsam {side}"] for side in ("left", "right", "top", "bottom")}
    assert {side: letter.text for side, letter in letters.items() if letter.visible} == {
        "left": "R",
        "right": "L",
        "top": "A",
        "bottom": "P",
    }
    viewer.dims.ndisplay = 3
    assert not any(letter.visible for letter in letters.values())
    desk.dock.shut()
    assert "medclipsam left" not in viewer.canvas.overlays


def test_models_that_are_not_installed_say_so() -> None:
    choices = dict(model_choices())
    assert choices["lite"] == "lite"
    assert "not installed" in choices["lite+sam-vit-b"]
    assert choices["biomedclip+lite"] == "biomedclip+lite (biomedclip not installed)"


def test_a_saliency_method_is_chosen_for_clip_models_only(open_desk, monkeypatch) -> None:
    loads: list[tuple] = []

    def load(*asked, **more):
        loads.append((asked, more))
        return Both(), Both()

    monkeypatch.setattr(_work, "load_beside_opengl", load)
    desk = open_desk(ViewerModel())
    page = desk.dock.options
    assert not page.methods.isVisibleTo(page) and not page.method_line.isVisibleTo(page)
    page.models.setCurrentIndex(page.models.findData("biomedclip+lite"))
    page.methods.setCurrentIndex(page.methods.findData("m2ib"))
    page.methods.activated.emit(page.methods.currentIndex())
    assert page.methods.isVisibleTo(page) and METHODS["m2ib"].explanation in page.method_line.text()
    wanted = ModelChoice("biomedclip+lite", None, "m2ib")
    desk.qtbot.waitUntil(lambda: desk.dock.workspace.model == wanted)
    page.models.setCurrentIndex(page.models.findData("lite"))
    page.models.activated.emit(page.models.currentIndex())
    assert not page.methods.isVisibleTo(page)
    desk.idle()
    assert loads[-1] == (("lite", None), {})


def _ink(button, mode=QIcon.Mode.Normal) -> QColor:
    """Return the colour in which most of an icon is drawn."""
    image = button.icon().pixmap(button.iconSize(), mode).toImage()
    pixels = [image.pixelColor(x, y) for x in range(image.width()) for y in range(image.height())]
    return max(pixels, key=lambda pixel: pixel.alpha())


@pytest.fixture
def yellow_on_black():
    """A theme of high contrast."""
    name = "yellow on black"
    colors = {"background": "black", "primary": "black", "text": "white", "icon": "yellow"}
    register_theme(name, get_theme("dark").to_rgb_dict() | colors | {"id": name, "label": name}, "test")
    yield
    unregister_theme(name)


@pytest.mark.parametrize("theme", ["dark", "light", "system", "yellow on black"])
def test_icons_have_the_colour_of_the_theme(yellow_on_black, desk, theme) -> None:
    """Whatever the theme: a change of colours comes with a change of napari's style sheet."""
    desk.viewer.theme = theme
    desk.dock.setStyleSheet("QLabel { padding: 0px; }")
    expected = QColor(get_theme(theme).icon.as_hex("long"))
    for button in desk.dock.findChildren(Button):
        QApplication.sendEvent(button, QShowEvent())
        has_arrow = bool(set("◂▸") & set(button.text()))
        assert button.icon().isNull() == (has_arrow or button.text() in {"All", "Reader …", "Words …"}), button.text()
        if not button.icon().isNull():
            assert _ink(button).rgb() == expected.rgb()
            assert _ink(button, QIcon.Mode.Disabled).alpha() < 128


def test_the_chosen_tool_is_shown(desk) -> None:
    for tool in ("point", "box", "paint", "look"):
        desk.dock.tools.buttons[tool].click()
        assert [name for name, button in desk.dock.tools.buttons.items() if button.isChecked()] == [tool]


def test_labels_fit_their_words(desk) -> None:
    """No cut-off text: at the width that it asks for, every button and label has room for its words."""
    desk.dock.resize(desk.dock.sizeHint())
    desk.dock.show()
    for button in desk.dock.actions_.buttons.values():
        assert button.sizeHint().width() <= button.width() + 1, button.text()
    for label in desk.dock.findChildren(QLabel):
        if label.isVisible() and not label.wordWrap() and label.text():
            assert label.sizeHint().width() <= label.width() + 1, label.text()


@pytest.mark.parametrize("name", ["find_row", "answers", "tools", "classes", "actions_", "status"])
def test_the_main_page_shows_it(desk, name) -> None:
    assert not getattr(desk.dock, name).isHidden()


def test_the_main_page_fits_a_small_screen(desk) -> None:
    """Of 800 pixels napari itself needs about 80: nothing scrolls there, and with another dock below it does."""
    dock = desk.dock
    assert dock.minimumSizeHint().height() <= 300 and dock.minimumSizeHint().width() <= 420
    page = next(area for area in dock.findChildren(Scrolled) if area.isAncestorOf(dock.tools))
    bar = page.verticalScrollBar()
    for height, scrolls in ((720, False), (400, True)):
        dock.resize(dock.minimumSizeHint().width(), height)
        dock.show()
        desk.qtbot.waitUntil(lambda scrolls=scrolls: (bar.maximum() > 0) is scrolls, timeout=30_000)
        assert not dock.status.visibleRegion().isEmpty()
