"""From names that the user chose to the two models that the work needs."""

from __future__ import annotations

from typing import Any

from napari_medclipsam.errors import ModelError
from napari_medclipsam.models.contracts import PromptableSegmenter, TextGrounder, TextImageEncoder
from napari_medclipsam.models.entry import ModelEntry
from napari_medclipsam.models.registry import OPEN_CLIP_PREFIXES, list_models, load
from napari_medclipsam.saliency.methods import DEFAULT_METHOD, find_method


def load_pair(
    name: str, device: str | None = None, saliency_method: str | None = None
) -> tuple[TextGrounder, PromptableSegmenter]:
    """Load ``MODEL``, which does both, or ``GROUNDER+SEGMENTER``.

    Parameters
    ----------
    name : str
        Names as for ``models.registry.load``.
    device : str, optional
        As for ``models.device.choose_device``.
    saliency_method : str, optional
        One of ``saliency.methods.METHODS``, where the grounder is a CLIP model; `DEFAULT_METHOD` by default.

    Raises
    ------
    ModelError
        If a model is unknown or not installed, can't play its part, or has a saliency of its own and a method is named.
    """
    first, plus, second = name.partition("+")
    read, grounder = _loaded_grounder(first, device, saliency_method)
    segmenter: Any = load(second, device) if plus else read
    if not isinstance(segmenter, PromptableSegmenter):
        raise ModelError(
            f"The model {second or first!r} does not draw masks; add one that does, such as {first}+sam-vit-b."
        )
    return grounder, segmenter


def load_grounder(name: str, device: str | None = None, saliency_method: str | None = None) -> TextGrounder:
    """Load what reads the text: ``MODEL``, or the first of ``GROUNDER+SEGMENTER``; see `load_pair`."""
    return _loaded_grounder(name.partition("+")[0], device, saliency_method)[1]


def _loaded_grounder(first: str, device: str | None, saliency_method: str | None) -> tuple[Any, TextGrounder]:
    """Return a model as it was loaded, and as a grounder."""
    if saliency_method is not None:
        find_method(saliency_method)
    model: Any = load(first, device)
    if isinstance(model, TextGrounder):
        if saliency_method is not None:
            raise ModelError(
                f"The model {first!r} has a saliency of its own; a saliency method is chosen for CLIP models only. "
                "Leave it out, or use a model such as biomedclip+sam-vit-b."
            )
        return model, model
    if isinstance(model, TextImageEncoder):
        from napari_medclipsam.saliency.grounder import ClipGrounder

        return model, ClipGrounder(model, saliency_method or DEFAULT_METHOD)  # type: ignore[arg-type]
    raise ModelError(
        f"The model {first!r} does not take text; use lite, or put a model that does before it: biomedclip+{first}."
    )


def reads_text(entry: ModelEntry) -> bool:
    """Tell whether a model can be the first of a pair: by itself, or by a saliency method."""
    return "ground" in entry.roles or "encode" in entry.roles


def takes_method(name: str) -> bool:
    """Tell whether the grounder of ``MODEL`` or ``GROUNDER+SEGMENTER`` is a CLIP model, which needs a method."""
    first = name.partition("+")[0]
    entry = next((e for e in list_models() if e.name == first), None)
    return first.startswith(OPEN_CLIP_PREFIXES) if entry is None else reads_text(entry) and "ground" not in entry.roles
