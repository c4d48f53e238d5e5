"""What the model said about each phrase, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtWidgets import QLabel

from napari_medclipsam.annotation.requests import TextAnswer, Verdict
from napari_medclipsam.models.contracts import SaliencyMap

# A sign besides the word: read at a glance, and without colours.
SIGNS: Mapping[Verdict, str] = {"found": "✔", "unsure": "?", "not in this image": "–", "not known": "✘"}
_ALL = 0.995
_TIP = (
    "Found, unsure, or not in this image: the model's own verdict, with its score from 0 to 1.\n"
    "Specificity, from 0 to 1: how much the map differs from that of meaningless words.\n"
    "Near 0 the text did not matter, and nothing is called found; 1 is left out. It is not a test's specificity.\n"
    "Not a diagnosis."
)


class AnswerLabel(QLabel):
    """One line per phrase of the last text, for the slice on screen."""

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setToolTip(_TIP)
        self.show_answers(())

    def show_answers(self, answers: Sequence[TextAnswer], caution: str = "") -> None:
        """Show the answers of a slice and what they can't be taken for; for none, say how to begin."""
        lines = [*(_line(a) for a in answers), *([f"⚠ {caution}"] if caution else [])]
        self.setText("\n".join(lines) or "Nothing has been looked for in this slice.")
        self.setEnabled(bool(answers))


def _line(answer: TextAnswer) -> str:
    seen = answer.saliency
    if not seen.known:
        nearest = f"; the nearest it knows: {seen.nearest_phrase}" if seen.nearest_phrase else ""
        return f"{SIGNS[answer.verdict]} {seen.text}: {answer.verdict}{nearest}"
    return f"{SIGNS[answer.verdict]} {seen.text}: {answer.verdict} {figures(seen)}"


def figures(seen: SaliencyMap) -> str:
    """Return presence and specificity as they stand beside a verdict; of 1, which says little, presence alone."""
    if seen.specificity is None or seen.specificity >= _ALL:
        return f"{seen.presence:.2f}"
    deaf = "" if seen.depends_on_text else ": the map hardly depends on the text"
    return f"{seen.presence:.2f}, specificity {seen.specificity:.2f}{deaf}"
