"""Several phrasings of one question about the slice on screen: what each sees, side by side, before one is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.requests import Cancelled, Progress
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import PromptableSegmenter, SaliencyMap, TextGrounder
from napari_medclipsam.saliency.comparing import compare


@dataclass(frozen=True, eq=False)
class PhrasingsRequest:
    """Phrasings on one slice; see `Session.plan_phrasings`. Nothing to apply: its answers are for looking at.

    Parameters
    ----------
    at : SliceAt
        The slice.
    texts : tuple of str
        The phrasings.
    image : Slice
        As the reader sees it.
    """

    at: SliceAt
    texts: tuple[str, ...]
    image: Slice
    kind: ClassVar[str] = "phrasings"

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> tuple[SaliencyMap, ...]:
        """Return where each phrasing is seen, turned as the reader sees the slice; raises as `compare`."""
        return tuple(compare(grounder, self.image, self.texts, progress, cancelled))
