"""From a text or a region to answers in words.

Where a text names a structure of the model's vocabulary, how sure an answer is, is the presence of that structure in
the slice, as the model's grounding gave it when the slice was indexed; what a reader has accepted is surely there.

Else it is a contrast: how much nearer what was found is to what was asked than to its opposites and to what means
nothing (for a text, see `saliency.prompt_book`), or to the rest of its own slice (for a region). At one half it is as
near to those, or the model is undecided, and nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import KnowsPhrases, KnowsStructures, RegionEncoder
from napari_medclipsam.models.lite.known import DENIALS, words
from napari_medclipsam.saliency.prompt_book import prompt_book
from napari_medclipsam.search.index import EVERYWHERE, LEAST, Coverage, Hit, Hits, Index, Scope, Structure
from napari_medclipsam.search.rows import Kind
from napari_medclipsam.wording import counted

_WORDS = ((0.9, "very likely"), (0.7, "likely"), (LEAST, "possible"))
# "Free air" is a finding.
_DENIALS = DENIALS - {"free", "negative"}
# So many cases are named in a sentence.
_NAMED = 5
# A part that the region covers this much of is not its surroundings.
_COVERED = 0.02


@dataclass(frozen=True)
class Answer:
    """A slice that fits.

    Parameters
    ----------
    case : str
    at : SliceAt
    score : float
        In [0.5, 1], see the head of this module.
    kind : Kind
        Whether that is a part of it or an accepted region.
    label : int
        Class of the region; 0 where it is none.
    box_xyxy : tuple of int
        Where in the slice as it is stored, in pixels, maxima inclusive.
    is_guess : bool
        Whether the model was not taught what was asked.
    """

    case: str
    at: SliceAt
    score: float
    kind: Kind
    label: int
    box_xyxy: tuple[int, int, int, int]
    is_guess: bool = False

    @property
    def words(self) -> str:
        """How sure it is."""
        if self.is_guess:
            return "a guess"
        return next(word for least, word in _WORDS if self.score >= least)


@dataclass(frozen=True)
class Found:
    """What a search has brought.

    Parameters
    ----------
    answers : tuple of Answer
        The surest first.
    message : str
        For the reader.
    coverage : Coverage
        How much could be searched.
    n_claimed : int
        How many slices there are that fit; `answers` are the surest of them.
    is_known : bool
        False where the model was not taught the text.
    """

    answers: tuple[Answer, ...]
    message: str
    coverage: Coverage
    n_claimed: int = 0
    is_known: bool = True


def find_text(index: Index, encoder: RegionEncoder, text: str, scope: Scope = EVERYWHERE, top: int = 20) -> Found:
    """Return the slices that show what a text names.

    Parameters
    ----------
    index : Index
        Refreshed.
    encoder : RegionEncoder
        Made its vectors.
    text : str
        One phrase.
    scope : Scope
        Where to look.
    top : int
        How many slices at most.

    Raises
    ------
    PromptError
        If the text is empty or denies something.
    """
    phrase = checked_phrase(text)
    name, structure = known_structure(index, encoder, phrase)
    unseen = [] if getattr(encoder, "knows_ct", True) else list(filter(scope.holds, index.ct_cases))
    hits = index.nearest(*text_vectors(encoder, phrase), scope, top, structure, unseen)
    found = _found(index, hits, encoder.scale, f'"{name or phrase}"')
    if unseen:
        others = found.message if hits.n_looked_at else ""
        found = replace(found, message=f"{_left_out(unseen)} {others}".rstrip())
    if structure is not None:
        told = "" if name.casefold() == phrase.casefold() else f'"{phrase}" is looked for as "{name}". '
        return replace(found, message=told + found.message)
    is_known, nearest = encoder.nearest_known(phrase) if isinstance(encoder, KnowsPhrases) else (True, "")
    if is_known:
        return found
    caution = f'The model was not taught "{phrase}" (the nearest that it knows: {nearest}), so this is a guess.'
    guesses = tuple(replace(answer, is_guess=True) for answer in found.answers)
    return replace(found, answers=guesses, message=f"{caution} {found.message}", is_known=False)


def _left_out(cases: Sequence[str]) -> str:
    """Say which cases a text was not looked for in."""
    named = ", ".join(cases[:_NAMED]) + (f" and {len(cases) - _NAMED} others" if len(cases) > _NAMED else "")
    looks = "looks like CT, so it is" if len(cases) == 1 else "look like CT, so they are"
    return f"{named} {looks} left out, but for what was accepted there: the model was not taught CT."


def checked_phrase(text: str) -> str:
    """Return a text that can be looked for, on one line; raises as `find_text`."""
    phrase = " ".join(text.split())
    if not phrase:
        raise PromptError("The text is empty. Type what to look for, for example: brain tumor")
    if words(phrase) & _DENIALS:
        raise PromptError(
            f'"{phrase}" denies something, which models mishear. Look for the finding itself: the slices that are not '
            "listed then look as if they had none."
        )
    return phrase


def text_vectors(encoder: RegionEncoder, phrase: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the vector that stands for a phrase, (d,), and those of what it must not be mistaken for, (k, d)."""
    book = prompt_book()
    question = book.question(phrase)
    # Template ensembles are for encoders of captions; one with a vocabulary was taught the plain phrase.
    wordings = question.positive[:1] if isinstance(encoder, KnowsPhrases) else question.positive
    return (
        _mean(encoder.embed_text(wordings)),
        encoder.embed_text([*question.negative, *book.null, *book.meaningless]),
    )


def find_like(
    index: Index, encoder: RegionEncoder, image: Slice, mask_yx: np.ndarray, scope: Scope = EVERYWHERE, top: int = 20
) -> Found:
    """Return the slices that show something like a region.

    Parameters
    ----------
    index, encoder, scope, top
        As for `find_text`.
    image : Slice
        The slice of the region.
    mask_yx : numpy.ndarray
        bool, of its shape: the region.

    Raises
    ------
    PromptError
        If the mask is empty, covers the whole slice, or is not of the image's shape.
    """
    if mask_yx.shape != image.shape_yx or not mask_yx.any():
        raise PromptError("There is no region to look for: outline something in this slice first.")
    # With it comes torch, which a window does not wait for.
    from napari_medclipsam.models.lite.regions import parts_of

    parts = parts_of(image.pixels)
    around = [part for part in parts if (part & mask_yx).sum() <= _COVERED * part.sum()]
    if not around:
        raise PromptError("The region covers all of the slice, so nothing tells it apart: outline less.")
    vectors = encoder.embed_regions(image, np.stack([mask_yx, *around]))
    hits = index.nearest(vectors[0], _mean(vectors[1:])[None], scope, top)
    return _found(index, hits, encoder.scale, "this region")


def known_structure(index: Index, encoder: RegionEncoder, phrase: str) -> tuple[str, Structure | None]:
    """Return the structure that a phrase names, with the classes of the project that are it; None where it is none.

    A kind ("glioma") is looked for as its structure, for presence does not tell kinds apart; a class that was accepted
    is it only if it is of that kind.
    """
    if not isinstance(encoder, KnowsStructures):
        return "", None
    name, kind = encoder.structure_of(phrase)
    if not name:
        return "", None
    named = {c.label: encoder.structure_of(c.name) for c in index.classes}
    labels = [label for label, (own, own_kind) in named.items() if own == name and kind in ("", own_kind)]
    return name, Structure(encoder.structures.index(name), tuple(labels))


def _mean(vectors: np.ndarray) -> np.ndarray:
    """Return the direction of several vectors together."""
    mean = vectors.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)


def _found(index: Index, hits: Hits, scale: float, what: str) -> Found:
    answers = tuple(_answer(hit, scale) for hit in hits.best if hit.is_claimed)
    return Found(answers, _message(answers, hits, what, index.coverage), index.coverage, hits.n_claimed)


def _answer(hit: Hit, scale: float) -> Answer:
    score = hit.presence
    if score is None:
        score = float(1 / (1 + np.exp(np.clip(-scale * hit.lead, -50, 50))))
    return Answer(hit.case, hit.row.at, score, hit.row.kind, hit.row.key.label, hit.row.box_xyxy)


def _message(answers: Sequence[Answer], hits: Hits, what: str, coverage: Coverage) -> str:
    rest = "" if coverage.n_indexed >= coverage.n_slices else f" {coverage.words}"
    if not hits.n_looked_at:
        return f"There is nothing to search there: nothing that is indexed fits what you have narrowed it to.{rest}"
    if not answers:
        return f"Can't tell: nothing that is indexed looks like {what}.{rest}"
    n = hits.n_claimed
    n_shown = len(answers)
    shown = "" if n_shown == n else " This is the surest." if n_shown == 1 else f" These are the {n_shown} surest."
    return f"{counted(n, 'slice looks', 'slices look')} like {what}.{shown}{rest}"
