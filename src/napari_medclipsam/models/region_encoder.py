"""Which part of a model makes vectors."""

from __future__ import annotations

from napari_medclipsam.models.contracts import RegionEncoder


def region_encoder_of(model: object) -> RegionEncoder | None:
    """Return what makes vectors of slices, regions and texts; None where a model does not.

    What a project has learnt wraps the model that encodes, and a saliency method its encoder: vectors and their version
    are those of the model inside, whatever was learnt on top.
    """
    inside = (getattr(model, "base", None), getattr(model, "encoder", None), model)
    return next((one for one in inside if isinstance(one, RegionEncoder)), None)
