"""What is to be said beside an answer that its model can't stand for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from napari_medclipsam.images.intensity import Looks

if TYPE_CHECKING:
    from napari_medclipsam.models.contracts import SaliencyMap

_UNTAUGHT_CT = (
    "This looks like CT, which this model was not taught: its answer to a text means nothing here. Clicks and boxes "
    "work."
)
_MASK = (
    "This holds only a few values, as a mask does and no image: what was found in it means nothing. Give the image "
    "itself."
)
_ONE_THING = (
    '{asked} are looked for as one thing, "{structure}": this model does not tell them apart, and what '
    "it saw was divided between them. Ask for one at a time."
)


class _Image(Protocol):
    @property
    def looks_like(self) -> Looks: ...


def cautions_of(answers: Iterable[SaliencyMap], image: _Image) -> str:
    """Return what belongs beside the answers to a text of one or several structures; "" where there is nothing to say.

    Parameters
    ----------
    answers, image
        As for `caution_of`.
    """
    told = list(answers)
    return " ".join(filter(None, (caution_of(told, image), _one_thing(told))))


def _one_thing(answers: Iterable[SaliencyMap]) -> str:
    """Say which of several structures are the same to the model, where both are seen."""
    alike: dict[str, list[str]] = {}
    for seen in answers:
        if seen.known and seen.present and seen.structure:
            alike.setdefault(seen.structure, []).append(f'"{seen.text}"')
    structure, asked = next(((name, texts) for name, texts in alike.items() if len(texts) > 1), ("", []))
    return _ONE_THING.format(asked=" and ".join(asked), structure=structure) if asked else ""


def caution_of(answers: Iterable[SaliencyMap], image: _Image) -> str:
    """Return the sentence that belongs beside answers about an image; "" where there is nothing to say.

    Parameters
    ----------
    answers : iterable of SaliencyMap
        Of one text. For phrases that are not known nothing is drawn, so that they need no caution.
    image : Volume or AnnotatedImage
        What they are about.
    """
    known = [seen for seen in answers if seen.known]
    if known and image.looks_like == "mask":
        return _MASK
    is_guess = any(not seen.knows_ct for seen in known)
    return _UNTAUGHT_CT if is_guess and image.looks_like == "CT" else ""
