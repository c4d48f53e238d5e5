"""From a name that the user chose to the two models that the work needs."""

from __future__ import annotations

from typing import Any

from napari_medclipsam.errors import ModelError
from napari_medclipsam.models.contracts import PromptableSegmenter, TextGrounder
from napari_medclipsam.models.registry import load


def load_pair(name: str, device: str | None = None) -> tuple[TextGrounder, PromptableSegmenter]:
    """Load ``MODEL``, which does both, or ``GROUNDER+SEGMENTER``.

    Raises
    ------
    ModelError
        If a model is unknown or not installed, or can't play its part.
    """
    first, plus, second = name.partition("+")
    grounder: Any = load(first, device)
    segmenter: Any = load(second, device) if plus else grounder
    if not isinstance(grounder, TextGrounder):
        raise ModelError(
            f"The model {first!r} does not take text; use lite, or put a model that does before it: biomedclip+{first}."
        )
    if not isinstance(segmenter, PromptableSegmenter):
        raise ModelError(
            f"The model {second or first!r} does not draw masks; add one that does, such as {first}+sam-vit-b."
        )
    return grounder, segmenter
