"""What a model that takes no text says of one."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import SaliencyMap, TextGrounder


class Wordless:
    """Knows no word, and sees nothing: what a segmenter alone, such as a segment-anything model, says of texts."""

    name = "none"
    version = ""

    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        """See `TextGrounder`."""
        return SaliencyMap(np.zeros(image.shape_yx, np.float32), text, 0.0, False, known=False)


def grounder_of(model: Any) -> TextGrounder:
    """Return a model as one that is asked for texts."""
    return model if isinstance(model, TextGrounder) else Wordless()
