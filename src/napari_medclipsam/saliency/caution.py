"""What is to be said beside an answer that its model can't stand for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from napari_medclipsam.models.contracts import SaliencyMap

_UNTAUGHT_CT = (
    "This looks like CT, which this model was not taught: its answer to a text means nothing here. Clicks and boxes "
    "work."
)


class _Image(Protocol):
    @property
    def looks_like_ct(self) -> bool: ...


def caution_of(answers: Iterable[SaliencyMap], image: _Image) -> str:
    """Return the sentence that belongs beside answers about an image; "" where there is nothing to say.

    Parameters
    ----------
    answers : iterable of SaliencyMap
        Of one text. For phrases that are not known nothing is drawn, so that they need no caution.
    image : Volume or AnnotatedImage
        What they are about.
    """
    is_guess = any(seen.known and not seen.knows_ct for seen in answers)
    return _UNTAUGHT_CT if is_guess and image.looks_like_ct else ""
