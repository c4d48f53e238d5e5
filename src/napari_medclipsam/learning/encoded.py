"""Examples as the learners on medclipsam-lite take them: embeddings, and masks where the canvas has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from napari_medclipsam.errors import ImageError, LearningError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.contracts import Example, LearningCancelled, Provenance
from napari_medclipsam.models.contracts import Embedding
from napari_medclipsam.models.lite.model import LiteModel
from napari_medclipsam.models.lite.preprocess import CANVAS, Fit
from napari_medclipsam.wording import counted

TRUST: Mapping[Provenance, float] = {
    "drawn": 1.0,
    "accepted": 0.8,
    "refused": 0.8,
    "propagated": 0.5,
    "automatic": 0.2,
}
"""How much a label counts."""


def lite_base(settings_base: str, device: str) -> LiteModel:
    """Load what these learners build on.

    Raises
    ------
    LearningError
        If it is another model than medclipsam-lite.
    """
    from napari_medclipsam.models.registry import load

    return require_lite(load(settings_base, device))


def require_lite(base: Any) -> LiteModel:
    """Return `base` if it is medclipsam-lite; raises `LearningError` where it is not."""
    if not isinstance(base, LiteModel):
        raise LearningError(
            f"This learner builds on medclipsam-lite, and the model is {getattr(base, 'name', 'another')}; "
            "choose lite, or another learner."
        )
    return base


def require_slices(examples: Sequence[Example], least: int) -> dict[str, list[Example]]:
    """Return the examples of each class that has at least `least` slices with a mask.

    Raises
    ------
    LearningError
        In one sentence, if there is no such class.
    """
    known: dict[str, list[Example]] = {}
    for example in examples:
        for name in example.labels:
            known.setdefault(name, []).append(example)
    if not any(label.provenance != "refused" for e in examples for label in e.labels.values()):
        raise LearningError("There is no accepted slice to learn from; accept a few slices first.")
    counts = {name: sum(bool(e.labels[name].mask_yx.any()) for e in found) for name, found in known.items()}
    if not any(counts.values()):
        raise LearningError(
            "Every accepted mask is empty, so there is nothing to learn what a structure looks like from; "
            "accept a slice that shows one."
        )
    enough = {name: found for name, found in known.items() if counts[name] >= least}
    if not enough:
        most = max(counts.values())
        raise LearningError(
            f"There {'is' if most == 1 else 'are'} {counted(most, 'accepted slice')} with a mask of a class, and "
            f"{least} are needed; accept some more."
        )
    return enough


def encode(base: LiteModel, image: Slice, step: Callable[[], None]) -> Embedding | None:
    """Return the embedding of a slice, asking `step` meanwhile; None for a slice without contrast.

    Raises
    ------
    LearningCancelled
        If `step` does.
    """
    ended: list[LearningCancelled] = []

    def cancelled() -> bool:
        try:
            step()
        except LearningCancelled as error:
            # Raised from here it would leave the encoder at work.
            ended.append(error)
        return bool(ended)

    try:
        if not base.embed_ahead(image, cancelled):
            raise ended[0]
        return base.embed(image)
    except ImageError:
        return None


@dataclass(frozen=True, eq=False)
class CanvasLabel:
    """A label on the canvas: bool (256, 256), and how much it counts."""

    mask: np.ndarray
    rejected: np.ndarray | None
    trust: float
    is_refusal: bool


def canvas_label(example: Example, name: str) -> CanvasLabel:
    """Return a label of an example where `to_canvas` puts the picture.

    Raises
    ------
    LearningError
        If the mask is not of the size of its slice.
    """
    label = example.labels[name]
    rejected = None if label.rejected_yx is None else on_canvas(label.rejected_yx)
    return CanvasLabel(on_canvas(label.mask_yx), rejected, TRUST[label.provenance], label.provenance == "refused")


def require_same_size(example: Example, image: Slice) -> None:
    """Raise `LearningError` where a mask is not of the size of its slice."""
    for name, label in example.labels.items():
        if label.mask_yx.shape != image.shape_yx:
            raise LearningError(
                f"The mask of {name} has shape {label.mask_yx.shape}, but its slice {image.shape_yx}; "
                "run project verify."
            )


def on_canvas(mask_yx: np.ndarray) -> np.ndarray:
    """Return a bool mask where `to_canvas` puts its picture, bool (256, 256)."""
    height, width = Fit.of((mask_yx.shape[0], mask_yx.shape[1])).inner_yx
    # By shares of covered pixels, so that a thin structure of a large picture does not fall between the samples.
    shares = Image.fromarray(mask_yx.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    canvas = np.zeros((CANVAS, CANVAS), bool)
    canvas[:height, :width] = np.asarray(shares) >= 0.5
    return canvas
