"""The text field: history, suggestions, Enter runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from qtpy.QtCore import QModelIndex, QStringListModel, Qt, Signal
from qtpy.QtGui import QFocusEvent, QKeyEvent
from qtpy.QtWidgets import QCompleter, QHBoxLayout, QLineEdit, QWidget

from napari_medclipsam.annotation.text_history import TextHistory
from napari_medclipsam.widgets._buttons import Button


class FindRow(QWidget):
    """What to look for.

    Parameters
    ----------
    find : callable
        Told the text when the user presses Enter or the button.
    history : TextHistory
        Gets the texts.
    compare : callable, optional
        Called when the user wants to see several phrasings side by side.
    """

    def __init__(
        self, find: Callable[[str], None], history: TextHistory, compare: Callable[[], None] | None = None
    ) -> None:
        super().__init__()
        self._find = find
        self.field = _Field(history)
        self.field.setPlaceholderText("What are you looking for? e.g. brain tumor")
        self.field.setToolTip(
            "Type one structure, or several separated by “;”, and press Enter.\nUp and Down bring earlier texts back."
        )
        self.field.setClearButtonEnabled(True)
        self.field.returnPressed.connect(self._run)
        self.button = Button("Find", "Look for it in the slice on screen (Enter).", self._run, "find")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.field, 1)
        layout.addWidget(self.button)
        if compare is not None:
            tip = "Compare several phrasings side by side in the slice on screen."
            self.compare = Button("", tip, compare, "compare")
            layout.addWidget(self.compare)

    def suggest(self, phrases: Iterable[str]) -> None:
        """Complete to these phrases from now on."""
        ordered = [phrase for _, phrase in sorted((phrase.casefold(), phrase) for phrase in set(phrases))]
        # A new list would close the suggestions that are open.
        if ordered != self.field.phrases.stringList():
            self.field.phrases.setStringList(ordered)

    def _run(self) -> None:
        text = self.field.text().strip()
        # Keys mean verbs again: without the focus, the field does not take them.
        self.field.clearFocus()
        self._find(text)
        # Last, for it waits for the disk.
        self.field.remember(text)


class _Field(QLineEdit):
    focused = Signal()

    def __init__(self, history: TextHistory) -> None:
        super().__init__()
        self._history = history
        # How far back from the newest text; 0 is beyond it, where a new one is typed.
        self._back = 0
        self.phrases = QStringListModel(self)
        completer = _LastStructure(self.phrases, self)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        self.setCompleter(completer)

    def remember(self, text: str) -> None:
        if text:
            self._history.add(text)
        self._back = 0

    def focusInEvent(self, event: QFocusEvent | None) -> None:
        super().focusInEvent(event)
        self.focused.emit()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        step = {Qt.Key.Key_Up: 1, Qt.Key.Key_Down: -1}.get(Qt.Key(event.key())) if event is not None else None
        texts = self._history.texts
        if step is None or not texts:
            super().keyPressEvent(event)
            return
        self._back = min(max(0, self._back + step), len(texts))
        self.setText(texts[-self._back] if self._back else "")


class _LastStructure(QCompleter):
    """Completes what stands after the last semicolon."""

    def splitPath(self, path: str | None) -> list[str]:
        return [(path or "").rpartition(";")[2].strip()]

    def pathFromIndex(self, index: QModelIndex) -> str:
        field = self.widget()
        assert isinstance(field, QLineEdit)
        before, semicolon, _ = field.text().rpartition(";")
        return f"{before}{semicolon}{' ' if semicolon else ''}{super().pathFromIndex(index)}"
