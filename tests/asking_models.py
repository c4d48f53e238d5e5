"""A grounder and region encoder that knows gray levels by name: the shapes of `synthetic`, compared for real."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_medclipsam.errors import PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.region_masks import checked_masks
from synthetic import LEVELS, Both

# What each name looks like: a gray level.
GRAYS = {
    **LEVELS,
    "benign disk": 205,
    "malignant disk": 235,
    "breast lesion": LEVELS["disk"],
    "benign breast lesion": 205,
    "malignant breast lesion": 235,
    "brain tumor": 90,
    "glioma": 200,
    "meningioma": 215,
    "pituitary tumor": 235,
}


def _vector(gray: float) -> np.ndarray:
    """Gray levels as directions in a quarter of a circle: near levels have a high cosine."""
    angle = gray / 255 * np.pi / 2
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


class GrayModel(Both):
    """Grounder, segmenter and region encoder."""

    name = "gray"
    version = "1"
    scale = 400.0
    least_cosine = 0.98

    def saliency(self, image: Slice, text: str):
        plain = text.removeprefix("burst ")
        word = {"breast lesion": "disk", "brain tumor": "bar"}.get(plain, plain)
        found = super().saliency(image, word)
        return type(found)(
            found.values_yx, text, found.presence, found.present, found.known, found.specificity, found.nearest_phrase
        )

    def nearest_known(self, text: str) -> tuple[bool, str]:
        return text.casefold().removeprefix("burst ") in GRAYS, "disk"

    def unheard(self, text: str) -> tuple[str, ...]:
        return tuple(word for word in text.casefold().split() if word == "burst")

    def embed_image(self, image: Slice) -> np.ndarray:
        return self.embed_regions(image, np.ones((1, *image.shape_yx), bool))[0]

    def embed_regions(self, image: Slice, masks_nyx: np.ndarray) -> np.ndarray:
        return np.stack([_vector(image.pixels[m].mean()) for m in checked_masks(masks_nyx, image.shape_yx)])

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        if not all(text.strip() for text in texts):
            raise PromptError("The text is empty.")
        return np.stack([_vector(GRAYS[text.casefold()]) for text in texts])
