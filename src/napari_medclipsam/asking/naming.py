"""The question "What is this?": the user's own words, ranked by how well they fit a region."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from napari_medclipsam.asking.answers import CANT_TELL, UNCALIBRATED, Answer, Candidate, Limits
from napari_medclipsam.asking.regions import checked_region
from napari_medclipsam.asking.words import checked_words
from napari_medclipsam.errors import PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import RegionEncoder
from napari_medclipsam.saliency.prompt_book import prompt_book

WHAT_IS_THIS = "What is this?"
# On the pictures held out, about 0.95 of the sure answers are right, and half of those below 0.6.
LIMITS = Limits(sure=0.9, likely=0.75, least=0.6)


def what_is_this(
    encoder: RegionEncoder,
    image: Slice,
    mask_yx: np.ndarray | None,
    words: Sequence[str],
    *,
    knows: Callable[[str], bool] = lambda words: True,
    limits: Limits = LIMITS,
) -> Answer:
    """Rank words for a region.

    Parameters
    ----------
    encoder : RegionEncoder
        Compares region and words.
    image : Slice
        What the reader sees.
    mask_yx : numpy.ndarray or None
        bool (height, width), the region; None for the whole slice.
    words : sequence of str
        At least two different names.
    knows : callable, optional
        Whether the model knows a name; all by default. Those it does not know are not compared.
    limits : Limits, optional
        From probabilities to words.

    Returns
    -------
    Answer
        "can't tell" where fewer than two names are known, none stands out, or the region is like none of them.

    Raises
    ------
    PromptError
        If there are not two different names, one can't be used, or the region is empty.
    """
    given = checked_words(words)
    if len(given.words) < 2:
        raise PromptError(
            f"One name leaves nothing to compare it with; add other names to {given.words[0]!r}, two or more in all, "
            f"or ask: is this a {given.words[0]}?"
        )
    region_yx, notes = checked_region(mask_yx, image.shape_yx)
    known = [name for name in given.words if knows(name)]
    candidates = ranked(encoder, image, region_yx, {name: name for name in known})
    unknown = tuple(Candidate(name, 0.0, 0.0, known=False) for name in given.words if name not in known)
    notes = (*given.notes, *notes, *_unknown_note(unknown))
    return answer_of(WHAT_IS_THIS, encoder, candidates, limits, (*candidates, *unknown), notes, region_yx)


def ranked(
    encoder: RegionEncoder, image: Slice, region_yx: np.ndarray | None, phrases: dict[str, str]
) -> tuple[Candidate, ...]:
    """Return candidates, the best first, from names and what the encoder is asked for each."""
    if not phrases:
        return ()
    vectors = np.stack([text_vector(encoder, phrase) for phrase in phrases.values()])
    own = encoder.embed_image(image) if region_yx is None else encoder.embed_regions(image, region_yx[None])[0]
    cosines = vectors @ own
    logits = encoder.scale * cosines.astype(np.float64)
    weights = np.exp(logits - logits.max())
    probabilities = weights / weights.sum()
    found = (Candidate(n, float(p), float(c)) for n, p, c in zip(phrases, probabilities, cosines, strict=True))
    return tuple(sorted(found, key=lambda candidate: -candidate.probability))


def text_vector(encoder: RegionEncoder, phrase: str) -> np.ndarray:
    """Return the unit vector of a phrase, float32 (d,): for a model of captions the mean over the templates.

    Radford et al. 2021, section 3.1.4. A model that was calibrated on plain names is asked for the plain name.
    """
    texts = (phrase,) if is_calibrated(encoder) else prompt_book().question(phrase).positive
    mean = encoder.embed_text(texts).mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def is_calibrated(model: object) -> bool:
    """Tell whether the scores of a model are probabilities; only those that are not say so."""
    return bool(getattr(model, "is_calibrated", True))


def answer_of(
    question: str,
    encoder: RegionEncoder,
    compared: tuple[Candidate, ...],
    limits: Limits,
    shown: tuple[Candidate, ...],
    notes: tuple[str, ...],
    region_yx: np.ndarray | None,
) -> Answer:
    """Return the best of the candidates that were compared, or that it can't tell and why; all of `shown` are shown."""
    best = compared[0] if compared else Candidate("", 0.0, 0.0)
    confidence = limits.confidence(best.probability, is_calibrated(encoder))
    if len(compared) < 2:
        reason = "the model knows fewer than two of these names."
    elif best.cosine < getattr(encoder, "least_cosine", -1.0):
        reason = "this looks like none of these names."
    elif not confidence:
        first_two = ", ".join(f"{candidate.words} {candidate.probability:.2f}" for candidate in compared[:2])
        reason = f"no name stands out ({first_two})."
    else:
        reason = ""
    notes = notes if is_calibrated(encoder) else (*notes, UNCALIBRATED)
    verdict, confidence = (CANT_TELL, "") if reason else (best.words, confidence)
    return Answer(question, verdict, confidence, best.probability, shown, reason, notes, region_yx)


def _unknown_note(unknown: Sequence[Candidate]) -> tuple[str, ...]:
    names = ", ".join(f'"{candidate.words}"' for candidate in unknown)
    return (f"The model does not know {names}; not compared.",) if unknown else ()
