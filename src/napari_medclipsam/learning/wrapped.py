"""medclipsam-lite with something learnt on top, which the rest of the program uses as it uses the model itself."""

from __future__ import annotations

from collections.abc import Callable

from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import Embedding, MaskResult, PromptSet, SaliencyMap
from napari_medclipsam.models.lite.model import LiteModel


class WrappedLite:
    """Answers as its base does, unless a subclass knows better.

    Parameters
    ----------
    base : LiteModel
        Encodes, and answers what was not learnt.

    Attributes
    ----------
    version : str
        Of the base, until whoever registers versions gives it its own.
    knows_ct : bool
        Whether CT was among what it learnt from.
    """

    knows_ct = False

    def __init__(self, base: LiteModel) -> None:
        self.base = base
        self.name = base.name
        self.version = str(getattr(base, "version", ""))

    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        """See `TextGrounder`."""
        return self.base.saliency(image, text)

    def embed(self, image: Slice) -> Embedding:
        """See `PromptableSegmenter`."""
        return self.base.embed(image)

    def embed_ahead(self, image: Slice, cancelled: Callable[[], bool]) -> bool:
        """See `EncodesAhead`."""
        return self.base.embed_ahead(image, cancelled)

    def masks(self, embedding: Embedding, prompts: PromptSet) -> MaskResult:
        """See `PromptableSegmenter`."""
        return self.base.masks(embedding, prompts)
