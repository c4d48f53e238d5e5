"""Questions about the slice on screen: planned here, answered by the worker, dropped when the slice is another one.

Runs on the GUI thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_medclipsam.annotation.ask_request import AskOutcome, AskRequest, Marked
from napari_medclipsam.annotation.worker import Done, Event, Failed
from napari_medclipsam.asking.answers import Answer
from napari_medclipsam.asking.sentences import parse_question
from napari_medclipsam.errors import PromptError
from napari_medclipsam.widgets._said import said_on_error

if TYPE_CHECKING:
    from napari_medclipsam.widgets._workspace import Workspace

_MARK_FIRST = (
    "Nothing is marked in this slice. Choose a class that has a mask here, or draw a box with the tool Box on the page "
    "Label, and ask again."
)
_TOO_FEW = (
    'Add at least two names to choose from, such as "brain tumor" and "normal brain tissue".',
    'Add at least one more name to choose from, such as "normal brain tissue".',
)


class AskDesk(QObject):
    """See the head of this module.

    Parameters
    ----------
    workspace : Workspace
        Shows the slice.
    parent : QObject
        Of Qt.

    Attributes
    ----------
    answer : Answer or None
        The newest answer to the slice on screen.
    refusal : str
        Why there is none; "" where nothing was refused.
    changed : Signal
        Any of these may be another, or the region.
    said : Signal of str
        What was refused, in words.
    """

    changed = Signal()
    said = Signal(str)

    def __init__(self, workspace: Workspace, parent: QObject) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self.answer: Answer | None = None
        self.refusal = ""
        self._request: AskRequest | None = None
        self._shown: tuple[Any, Any] = (None, None)
        self.said.connect(self._refuse)
        workspace.refreshed.connect(self._on_refreshed)
        workspace.work.happened.connect(self._on_event)

    @property
    def is_waiting(self) -> bool:
        """True while the model is at a question."""
        return self._request is not None

    @property
    def marked(self) -> Marked | None:
        """What the user has marked in the slice on screen."""
        session, at = self._workspace.session, self._workspace.at
        return None if session is None or at is None else session.marked_region(at)

    @property
    def class_names(self) -> list[str]:
        """The names of the classes."""
        session = self._workspace.session
        return [] if session is None else [structure.name for structure in session.classes]

    @staticmethod
    def hint(words: Sequence[str]) -> str:
        """Return what is missing before `name` can choose among words; "" where nothing is."""
        n = len({word.strip().casefold() for word in words if word.strip()})
        return _TOO_FEW[n] if n < len(_TOO_FEW) else ""

    @said_on_error
    def name(self, words: Sequence[str]) -> None:
        """Ask what the marked region is, among words."""
        session, at = self._workspace.require_slice()
        marked = self.marked
        if marked is None:
            raise PromptError(_MARK_FIRST)
        self._submit(session.plan_question(at, words, marked.mask_yx))

    @said_on_error
    def ask(self, text: str, words: Sequence[str] = ()) -> None:
        """Ask a closed question: about the marked region where the question means it, else about the slice.

        "What is this?" chooses among words, as `name` does.
        """
        question, marked = parse_question(text), self.marked
        if question.kind == "naming":
            self.name(words)
            return
        session, at = self._workspace.require_slice()
        if question.about == "region" and marked is None:
            raise PromptError(_MARK_FIRST)
        region = marked.mask_yx if marked is not None and question.wants_region else None
        self._submit(session.plan_question(at, question, region))

    def _submit(self, request: AskRequest) -> None:
        self._request, self.answer, self.refusal = request, None, ""
        self._workspace.work.worker.submit(request)
        self.changed.emit()

    def _refuse(self, sentence: str) -> None:
        self._request, self.answer, self.refusal = None, None, sentence
        self.changed.emit()

    def _on_refreshed(self) -> None:
        shown = (self._workspace.session, self._workspace.at)
        if shown != self._shown:
            # An answer is about one slice: on another one it would be read as about that.
            self._shown, self._request, self.answer, self.refusal = shown, None, None, ""
        self.changed.emit()

    def _on_event(self, event: Event) -> None:
        if self._request is None or getattr(event, "request", None) is not self._request:
            return
        if isinstance(event, Failed):
            self._refuse(event.message)
        elif isinstance(event, Done):
            self._request = None
            if isinstance(event.outcome, AskOutcome):
                self._take(event.outcome)
            self.changed.emit()

    def _take(self, outcome: AskOutcome) -> None:
        """Show an answer and what it goes by."""
        self.answer = outcome.answer
        if outcome.answer.saliency is not None:
            self._workspace.ensure_layers()
            saliency = self._workspace.saliency
            assert saliency is not None  # `ensure_layers` made it
            saliency.show_map(outcome.answer.saliency.values_yx, outcome.request.at)
