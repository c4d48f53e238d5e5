"""The sample brain in a window, with the first question asked; also as a picture of that window.

``python -m napari_medclipsam.widgets._demo FOLDER`` writes ``window.png``: a process of its own, for where OpenGL is
not sound a window takes its whole process down.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Layer

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.worker_events import ModelChoice
from napari_medclipsam.errors import OutputError
from napari_medclipsam.files import atomic_path
from napari_medclipsam.napari_io import sample_layers
from napari_medclipsam.samples import SAMPLE_TEXT
from napari_medclipsam.widgets import _adapters as adapters
from napari_medclipsam.widgets._dock import MedClipSamDock

if TYPE_CHECKING:
    import napari
    from napari.components import ViewerModel

_SIZE = (1280, 800)
_PATIENCE_S = 600.0


def add_sample(viewer: ViewerModel) -> None:
    """Add the sample brain and show the slice where its lesion is largest."""
    image, lesion = (viewer.add_layer(Layer.create(*data)) for data in sample_layers())
    index = int(np.argmax(np.count_nonzero(lesion.data, axis=(1, 2))))
    adapters.go_to(image, viewer.dims, SliceAt.across(0, index))
    viewer.layers.selection.active = image


def open_demo(device: str | None = None) -> tuple[napari.Viewer, MedClipSamDock]:
    """Open a window with the sample and the dock, and ask for the lesion; the answer comes when the model is loaded."""
    import napari

    viewer = napari.Viewer(title="medclipsam demo (research use only)")
    viewer.window.resize(*_SIZE)
    add_sample(viewer)
    dock = MedClipSamDock(viewer)
    viewer.window.add_dock_widget(dock, name="MedCLIP-SAM", area="right")
    if device is not None:
        dock.workspace.use_model(ModelChoice(device=device))
    dock.ask(SAMPLE_TEXT)
    return viewer, dock


def write_window(folder: Path, device: str | None = None) -> None:
    """Write ``window.png``: the demo with its first question answered.

    Raises
    ------
    OutputError
        If no answer comes.
    """
    viewer, dock = open_demo(device)
    try:
        _wait(lambda: "can't be used" in dock.status.model.text() or dock.answers.isEnabled())
        # Once more, for what the answer has set going.
        _wait(lambda: not dock.workspace.work.worker.is_busy)
        with atomic_path(folder / "window.png") as temporary:
            viewer.screenshot(str(temporary), canvas_only=False, flash=False)
    finally:
        dock.shut()
        viewer.close()


def _wait(done: Callable[[], bool]) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + _PATIENCE_S
    calm = 0
    # A few rounds more than it takes: what is drawn comes after what is known.
    while calm < 20:
        if time.monotonic() > end:
            raise OutputError(f"The model gave no answer within {_PATIENCE_S:.0f} s; try again on a faster machine.")
        QApplication.processEvents()
        time.sleep(0.02)
        calm = calm + 1 if done() else 0


if __name__ == "__main__":
    write_window(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
