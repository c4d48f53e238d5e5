"""Buttons for verbs and tools, and the keys that do the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari._qt.qt_resources import QColoredSVGIcon
from napari.utils.theme import get_theme
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QShowEvent
from qtpy.QtWidgets import QButtonGroup, QGridLayout, QHBoxLayout, QPushButton, QWidget

from napari_medclipsam.widgets._actions import ACTIONS, Action
from napari_medclipsam.widgets._verbs import Tool, Verbs

if TYPE_CHECKING:
    from napari.components import ViewerModel

_ICONS = Path(__file__).parent / "icons"
_ICON_MARGIN_PX = 1
_ICON_GAP_PX = 6
_FADED = 0.35
_TOOL_COLUMNS = 3
_TOOLS: tuple[tuple[Tool, str, str], ...] = (
    ("look", "Look", "Move and zoom the image."),
    ("point", "Point", "Click on the object. With Ctrl or Shift: click on what does not belong to it."),
    ("box", "Box", "Drag a box around the object."),
    ("move", "Move", "Drag boxes; pressed twice, points. The mask follows. Delete removes what is selected."),
    ("paint", "Paint", "Paint the mask by hand."),
    ("erase", "Erase", "Erase the mask by hand."),
)


class ActionButtons(QWidget):
    """A grid of buttons, one per action.

    Parameters
    ----------
    actions : sequence of Action
        In reading order.
    verbs : Verbs
        Have a method for each.
    columns : int
        Buttons per row.
    """

    def __init__(self, actions: Sequence[Action], verbs: Verbs, columns: int) -> None:
        super().__init__()
        layout = _grid(self)
        self.buttons: dict[str, QPushButton] = {}
        for place, action in enumerate(actions):
            button = Button(action.label, action.tooltip, getattr(verbs, action.verb), action.icon)
            layout.addWidget(button, place // columns, place % columns)
            self.buttons[action.verb] = button


class ToolButtons(QWidget):
    """What the mouse does: one of the tools is chosen."""

    def __init__(self, verbs: Verbs) -> None:
        super().__init__()
        layout = _grid(self)
        group = QButtonGroup(self)
        self.buttons: dict[str, QPushButton] = {}
        for place, (tool, label, tip) in enumerate(_TOOLS):
            button = Button(label, tip, partial(verbs.use_tool, tool), tool)
            button.setCheckable(True)
            group.addButton(button)
            layout.addWidget(button, place // _TOOL_COLUMNS, place % _TOOL_COLUMNS)
            self.buttons[tool] = button
        self._group = group

    def show_tool(self, tool: str | None) -> None:
        """Show which tool is chosen; none where napari has another mode."""
        self._group.setExclusive(False)
        for name, button in self.buttons.items():
            button.setChecked(name == tool)
        self._group.setExclusive(tool is not None)


class Keys:
    """The keys of a viewer that do the verbs, whatever layer is selected.

    Parameters
    ----------
    viewer : ViewerModel
        Its keys are bound.
    verbs : Verbs
        Have a method for each action.
    """

    def __init__(self, viewer: ViewerModel, verbs: Verbs) -> None:
        self._viewer = viewer
        self._bound = {action.key: _caller(getattr(verbs, action.verb)) for action in ACTIONS}
        self._on_labels = {"Control-Z": _caller(verbs.undo), "Control-Shift-Z": _caller(verbs.redo)}
        self._layers: list[tuple[Any, set[str]]] = []
        for key, call in self._bound.items():
            viewer.bind_key(key, call, overwrite=True)

    def bind(self, layers: Sequence[Any], masks: Any) -> None:
        """Bind the keys on layers too, whose own keys come before the viewer's; undo as well on the masks."""
        for layer in layers:
            if all(layer is not known for known, _ in self._layers):
                bound = self._bound | (self._on_labels if layer is masks else {})
                self._layers.append((layer, set(bound)))
                for key, call in bound.items():
                    layer.bind_key(key, call, overwrite=True)

    def unbind(self) -> None:
        """Give all keys back."""
        for provider, keys in ((self._viewer, set(self._bound)), *self._layers):
            for key in keys:
                provider.bind_key(key, None)


def _caller(verb: Callable[[], None]) -> Callable[[Any], None]:
    return lambda _: verb()


def _grid(widget: QWidget) -> QGridLayout:
    layout = QGridLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(3)
    return layout


class Button(QPushButton):
    """A button that is no wider than its words and icon need, so that several fit beside each other.

    Parameters
    ----------
    label, tip : str
        Its words and its tooltip.
    clicked : callable
        Called when it is pressed.
    icon : str
        A file of the folder ``icons``, without suffix; "" for none.
    """

    def __init__(self, label: str, tip: str, clicked: Callable[[], object], icon: str = "") -> None:
        super().__init__(label)
        self.setToolTip(tip)
        # The keyboard stays with the canvas, where the keys mean verbs.
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.clicked.connect(lambda _=False: clicked())
        self._icon_name = icon
        self._icon_color = ""
        self._drawn_icon = ("", 0)

    def color_icon(self, color: str) -> None:
        """Draw the icon in a colour of the theme, as large as the letters; now, or when the button is first seen."""
        self._icon_color = color
        if self._icon_name:
            height = self.fontMetrics().height() - _ICON_MARGIN_PX
            self.setIconSize(QSize(height, height))
            if self.isVisible():
                self._draw_icon()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Draw the icon: most pages of a dock are never opened."""
        super().showEvent(event)
        self._draw_icon()

    def _draw_icon(self) -> None:
        wanted = (self._icon_color, self.iconSize().height())
        if not self._icon_name or not self._icon_color or wanted == self._drawn_icon:
            return
        self._drawn_icon = wanted
        color, height = wanted
        drawing = QColoredSVGIcon(str(_ICONS / f"{self._icon_name}.svg"))
        icon = QIcon()
        for mode, opacity in ((QIcon.Mode.Normal, 1.0), (QIcon.Mode.Disabled, _FADED)):
            # Twice the size as well, for screens with small pixels.
            for side in (height, 2 * height):
                icon.addPixmap(drawing.colored(color, opacity).pixmap(side, side), mode)
        self.setIcon(icon)

    def sizeHint(self) -> QSize:
        """Return room for the words, the icon and a margin of two letters."""
        metrics = self.fontMetrics()
        width = metrics.horizontalAdvance(self.text()) + 2 * metrics.averageCharWidth() + 4
        if self._icon_name:
            width += self.iconSize().width() + _ICON_GAP_PX
        return QSize(width, super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        """Return the same: words are never cut."""
        return self.sizeHint()


def color_icons(widget: QWidget, theme: str) -> None:
    """Draw the icons of all buttons of a widget in the colour of a theme."""
    for button in widget.findChildren(Button):
        button.color_icon(get_theme(theme).icon.as_hex())


def row_of(*widgets: QWidget) -> QHBoxLayout:
    """Return widgets beside each other, each as wide as the others; *Cancel* as narrow as it can be."""
    layout = QHBoxLayout()
    layout.setSpacing(3)
    for widget in widgets:
        layout.addWidget(widget, int(not isinstance(widget, Button) or widget.text() != "Cancel"))
    return layout
