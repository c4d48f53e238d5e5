"""The napari dock. Widgets only translate: all they know is in `annotation` and below."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_medclipsam.widgets._dock import MedClipSamDock
from napari_medclipsam.widgets._samples import open_glioma_flair, open_glioma_t2

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_medclipsam.widgets._effort_dock import EffortDock
    from napari_medclipsam.widgets._learning_dock import LearningDock

__all__ = ["EffortDock", "LearningDock", "MedClipSamDock", "open_dock", "open_glioma_flair", "open_glioma_t2"]

# Not at once: the main dock opens without waiting for them.
_LATER = {"EffortDock": "_effort_dock", "LearningDock": "_learning_dock"}


def __getattr__(name: str) -> Any:
    """Import a dock when it is asked for."""
    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def open_dock() -> QWidget | None:
    """Open the dock in the current viewer, or bring it to the front, on the selected image; for the layer menu."""
    from napari import current_viewer

    viewer = current_viewer()
    if viewer is None:
        return None
    holder, dock = viewer.window.add_plugin_dock_widget("napari-medclipsam", "MedCLIP-SAM")
    holder.show()
    holder.raise_()
    dock.label_selected()
    return dock
