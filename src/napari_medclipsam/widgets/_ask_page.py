"""The page "Ask": what a region is, closed questions, and the model's answers with how sure it is of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import QStringListModel, Qt
from qtpy.QtGui import QTextCursor
from qtpy.QtWidgets import (
    QCompleter,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QTextEdit,
    QVBoxLayout,
    QWidget,
)

from napari_medclipsam.asking.answers import DISCLAIMER, Answer, Candidate
from napari_medclipsam.asking.naming import WHAT_IS_THIS
from napari_medclipsam.asking.sentences import FORMS
from napari_medclipsam.widgets._buttons import Button

if TYPE_CHECKING:
    from napari_medclipsam.widgets._ask_desk import AskDesk

_ROWS = 4
_MOST_BARS = 6
_SIGNS = {"sure": "✔✔", "likely": "✔", "unsure": "?", "": "–"}
_NO_REGION = "Region: nothing is marked here. Outline the selected class, or draw a box on the page Label."


class AskPage(QWidget):
    """A page of the dock.

    Parameters
    ----------
    desk : AskDesk
        Asks.

    Attributes
    ----------
    bottom : QVBoxLayout
        At the lower end of the page, for a panel that searches.
    """

    def __init__(self, desk: AskDesk) -> None:
        super().__init__()
        self._desk = desk
        self._are_own = False
        self.region = _label("What is asked about: the mask of the selected class in this slice, else the newest box.")
        # The kind that napari draws as a field; a plain one has no background in its themes.
        self.words = QTextEdit()
        self.words.setAcceptRichText(False)
        self.words.setToolTip("The names to choose from, one in a line. They begin as the names of your classes.")
        self.words.setPlaceholderText("One name in a line, two or more")
        self.words.setTabChangesFocus(True)
        self.words.setFixedHeight(_ROWS * self.fontMetrics().lineSpacing() + 28)
        self.words.textChanged.connect(self._on_typed)
        self.hint = _label("It tells names from each other, so it needs two of them.")
        tip = "Which of these names fits what is marked in this slice? Two names or more are needed."
        self.name_button = Button(WHAT_IS_THIS, tip, self._name, "find")
        tip = "Take the names of the classes again."
        self.reset = Button("My classes", tip, self._take_classes, "undo")
        self.question = QLineEdit()
        self.question.setPlaceholderText("is there a brain tumor?")
        self.question.setToolTip("A closed question, such as:\n" + "\n".join(FORMS))
        self.question.setClearButtonEnabled(True)
        self.question.returnPressed.connect(self._ask)
        completer = QCompleter(QStringListModel(list(FORMS), self), self)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.question.setCompleter(completer)
        self.ask_button = Button("Ask", "Ask it about this slice, or what is marked in it (Enter).", self._ask, "find")
        self.answer = _label("What the model answers, and how sure it is: sure, likely or unsure.")
        self.answer.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        font = self.answer.font()
        font.setBold(True)
        self.answer.setFont(font)
        self.bars = _Bars()
        self.notes = _label("What you should know of this answer.")
        self.notes.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.bottom = QVBoxLayout()
        self._lay_out()
        desk.changed.connect(self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(6)
        buttons = QHBoxLayout()
        buttons.addWidget(self.name_button, 2)
        buttons.addWidget(self.reset, 1)
        line = QHBoxLayout()
        line.addWidget(self.question, 1)
        line.addWidget(self.ask_button)
        column.addWidget(self.region)
        column.addWidget(QLabel("What is this? One of these names:"))
        column.addWidget(self.words)
        column.addWidget(self.hint)
        column.addLayout(buttons)
        column.addWidget(QLabel("Or a question with a closed answer:"))
        column.addLayout(line)
        for widget in (self.answer, self.bars, self.notes):
            column.addWidget(widget)
        column.addStretch(1)
        column.addLayout(self.bottom)

    def refresh(self) -> None:
        """Show the region, and the newest answer to the slice on screen."""
        marked = self._desk.marked
        self.region.setText(
            _NO_REGION
            if marked is None
            else f"Region: {marked.name}, {int(marked.mask_yx.sum()):,} pixels of this slice."
        )
        if not self._are_own:
            self._show_words(self._desk.class_names)
        self._show_hint()
        for button in (self.name_button, self.ask_button):
            button.setEnabled(not self._desk.is_waiting)
        answer = self._desk.answer
        if answer is not None:
            self.answer.setText(_headline(answer))
            self.bars.show_candidates(answer.candidates, answer.is_told)
            self.notes.setText(" ".join((*_evidence(answer), *answer.notes, DISCLAIMER)))
        else:
            self.answer.setText("Looking …" if self._desk.is_waiting else "")
            self.bars.show_candidates(())
            self.notes.setText(self._desk.refusal)
        for label in (self.answer, self.notes):
            label.setVisible(bool(label.text()))

    def _name(self) -> None:
        self.words.clearFocus()
        self._desk.name(self._words)

    def _ask(self) -> None:
        # Keys mean verbs again: without the focus, the field does not take them.
        self.question.clearFocus()
        self._desk.ask(self.question.text(), self._words)

    @property
    def _words(self) -> list[str]:
        return self.words.toPlainText().splitlines()

    def _on_typed(self) -> None:
        self._are_own = True
        self._show_hint()

    def _show_hint(self) -> None:
        self.hint.setText(self._desk.hint(self._words))
        self.hint.setVisible(bool(self.hint.text()))

    def _take_classes(self) -> None:
        self._are_own = False
        self._show_words(self._desk.class_names)
        self._show_hint()

    def _show_words(self, names: Sequence[str]) -> None:
        text = "\n".join(names)
        if len(names) == 1:
            # The next line is for the name that is missing.
            text += "\n"
        if text != self.words.toPlainText():
            self.words.blockSignals(True)
            self.words.setPlainText(text)
            self.words.moveCursor(QTextCursor.MoveOperation.End)
            self.words.blockSignals(False)


class _Bars(QWidget):
    """A bar for each candidate, the best first."""

    def __init__(self) -> None:
        super().__init__()
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(2)
        layout.setColumnStretch(1, 1)
        self.title = QLabel("For comparison only:")
        self.title.setEnabled(False)
        layout.addWidget(self.title, 0, 0, 1, 2)
        self.rows: list[tuple[QLabel, QProgressBar]] = []
        for row in range(_MOST_BARS):
            name, bar = QLabel(), QProgressBar()
            bar.setRange(0, 100)
            bar.setToolTip("How probable the name is, among those that were compared.")
            bar.setMaximumHeight(name.fontMetrics().lineSpacing() + 2)
            layout.addWidget(name, row + 1, 0)
            layout.addWidget(bar, row + 1, 1)
            self.rows.append((name, bar))

    def show_candidates(self, candidates: Sequence[Candidate], is_told: bool = True) -> None:
        """Show the first of them; in gray where the model could not tell which it is."""
        self.setVisible(bool(candidates))
        self.title.setVisible(not is_told)
        for row, (name, bar) in enumerate(self.rows):
            is_there = row < len(candidates)
            name.setVisible(is_there)
            bar.setVisible(is_there)
            name.setEnabled(is_told)
            bar.setEnabled(is_told)
            if is_there:
                candidate = candidates[row]
                name.setText(self._short(candidate.words))
                name.setToolTip(candidate.words)
                bar.setValue(round(100 * candidate.probability))
                bar.setFormat("%p %" if candidate.known else "not known")

    def _short(self, words: str) -> str:
        return self.fontMetrics().elidedText(words, Qt.TextElideMode.ElideRight, 150)


def _label(tip: str) -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setToolTip(tip)
    return label


def _headline(answer: Answer) -> str:
    about = "the region" if answer.about == "region" else "the slice"
    told = f"{_SIGNS[answer.confidence]} {answer.sentence[0].upper()}{answer.sentence[1:]}"
    # Another question may stand in the field by now.
    return f"{answer.question} (about {about})\n{told}"


def _evidence(answer: Answer) -> tuple[str, ...]:
    """Return where to look for what the answer goes by."""
    if answer.saliency is None or not answer.saliency.known:
        return ()
    return (f'The saliency shows where the model looks for "{answer.saliency.text}".',)
