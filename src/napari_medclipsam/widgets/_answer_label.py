"""What the model said about each phrase, in words."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import QLabel

from napari_medclipsam.annotation.requests import TextAnswer

# A sign besides the word: read at a glance, and without colours.
_SIGNS = {"found": "✔", "unsure": "?", "not in this image": "–", "not known": "✘"}
_TIP = (
    "Found, unsure, or not in this image: the model's own verdict, with its score from 0 to 1.\n"
    "A calibrated answer, not a diagnosis."
)


class AnswerLabel(QLabel):
    """One line per phrase of the last text, for the slice on screen."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setToolTip(_TIP)
        self.show_answers(())

    def show_answers(self, answers: Sequence[TextAnswer]) -> None:
        """Show the answers of a slice; for none, say how to begin."""
        self.setText("\n".join(_line(a) for a in answers) or "Nothing has been looked for in this slice.")
        self.setEnabled(bool(answers))


def _line(answer: TextAnswer) -> str:
    seen = answer.saliency
    score = f" {seen.presence:.2f}" if seen.known else ""
    nearest = f"; the nearest it knows: {seen.nearest_phrase}" if not seen.known and seen.nearest_phrase else ""
    return f"{_SIGNS[answer.verdict]} {seen.text}: {answer.verdict}{score}{nearest}"
