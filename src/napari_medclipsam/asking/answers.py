"""What a model says to a question: the answer, how sure it is of it, and what it goes by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_medclipsam.models.contracts import SaliencyMap

Confidence = Literal["sure", "likely", "unsure", ""]

CANT_TELL = "can't tell"
DISCLAIMER = "This is the proposal of a model, not a diagnosis."
UNCALIBRATED = "The scores of this model are not calibrated: go by their order, not by their size."


@dataclass(frozen=True)
class Limits:
    """From a probability to words; set on validation pictures, see docs/ask.md.

    Parameters
    ----------
    sure, likely, least : float
        The least probability of an answer that is called so; below `least` the model can't tell.
    """

    sure: float
    likely: float
    least: float

    def confidence(self, probability: float, is_calibrated: bool = True) -> Confidence:
        """Return how sure an answer of a probability is; "" where it is none.

        Without a calibration a high score says little: "unsure" is the most that it gets.
        """
        if probability < self.least:
            return ""
        if not is_calibrated or probability < self.likely:
            return "unsure"
        return "sure" if probability >= self.sure else "likely"


@dataclass(frozen=True)
class Candidate:
    """One of the user's words.

    Parameters
    ----------
    words : str
        As the user wrote them.
    probability : float
        Among all the known ones; they add up to 1. 0 for words that are not known.
    cosine : float
        Between the region and the words, before it is compared with the others.
    known : bool
        False for words that the model does not know.
    """

    words: str
    probability: float
    cosine: float
    known: bool = True


@dataclass(frozen=True, eq=False)
class Answer:
    """An answer with its evidence.

    Parameters
    ----------
    question : str
        As it was asked.
    verdict : str
        "yes", "no", one of the words, or `CANT_TELL`.
    confidence : {"sure", "likely", "unsure", ""}
        "" where it can't tell.
    score : float
        Probability of the verdict, or of the best candidate where it can't tell.
    candidates : tuple of Candidate
        The words that were compared, the best first; empty for a question after presence.
    reason : str
        Why it can't tell; "" for an answer.
    notes : tuple of str
        What the reader should know of how it was found.
    region_yx : numpy.ndarray, optional
        bool (height, width): what it is about; None for the whole slice.
    saliency : SaliencyMap, optional
        Where the model sees what was asked after.
    """

    question: str
    verdict: str
    confidence: Confidence
    score: float
    candidates: tuple[Candidate, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()
    region_yx: np.ndarray | None = None
    saliency: SaliencyMap | None = None

    @property
    def is_told(self) -> bool:
        """False when it can't tell."""
        return self.verdict != CANT_TELL

    @property
    def about(self) -> str:
        """What it is about: "region" or "slice"."""
        return "slice" if self.region_yx is None else "region"

    @property
    def sentence(self) -> str:
        """The answer in one line: "yes (sure, 0.97)"."""
        if self.is_told:
            return f"{self.verdict} ({self.confidence}, {self.score:.2f})"
        return f"{CANT_TELL}: {self.reason}"
