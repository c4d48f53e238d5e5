"""A real viewer with the dock, driven by simulated mouse and keyboard; for screenshots and for looking at images."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

SIZE = (1280, 800)


class Window:
    """A napari window of 1280 x 800 with the dock in it.

    Parameters
    ----------
    viewer : napari.Viewer, optional
        A new one by default.
    """

    def __init__(self, viewer: Any = None) -> None:
        import napari

        self.viewer = viewer or napari.Viewer(title="napari")
        self.main = self.viewer.window._qt_window
        self.main.resize(*SIZE)
        self.dock: Any = None

    def open_dock(self) -> None:
        """Open the dock and wait until the models are there."""
        _, self.dock = self.viewer.window.add_plugin_dock_widget("napari-medclipsam", "MedCLIP-SAM")
        self.main.resize(*SIZE)
        self.wait(lambda: "ready" in self.dock.status.model.text(), 600)

    def wait(self, done: Callable[[], bool], timeout_s: float = 300) -> None:
        """Let Qt work until something has happened."""
        end = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > end:
                raise TimeoutError(self.dock.status.message.text() if self.dock else "")
            self.rest(0.02)

    def rest(self, seconds: float = 0.3) -> None:
        """Let Qt work for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.005)

    def idle(self) -> None:
        """Wait until the models have nothing to do and everything is drawn."""
        self.rest(0.1)
        self.wait(lambda: not self.dock.workspace.work.worker.is_busy)
        self.rest(0.3)

    def type_text(self, text: str) -> None:
        """Type into the text field and press Enter, then wait for the answer."""
        field = self.dock.find_row.field
        field.setFocus()
        field.clear()
        QTest.keyClicks(field, text)
        field.completer().popup().hide()
        QTest.keyClick(field, Qt.Key.Key_Return)
        self.idle()

    def press(self, key: str) -> None:
        """Press a key over the canvas, as napari writes it."""
        *modifiers, last = key.split("-")
        held = Qt.KeyboardModifier.NoModifier
        for name in modifiers:
            held |= getattr(Qt.KeyboardModifier, f"{name}Modifier")
        canvas = self.canvas
        canvas.setFocus()
        name = {".": "Period", ",": "Comma"}.get(last, last.upper() if len(last) == 1 else last)
        QTest.keyClick(canvas, getattr(Qt.Key, f"Key_{name}"), held)
        self.idle()

    @property
    def canvas(self) -> Any:
        """The widget that the image is drawn on."""
        return self.viewer.window._qt_viewer.canvas.native

    def position(self, x: float, y: float) -> QPoint:
        """Return where a pixel (x, y) of the slice is on the canvas."""
        from napari_medclipsam.widgets import _adapters as adapters

        workspace = self.dock.workspace
        data = adapters.points_to_data([(x, y)], workspace.at)[0]
        world = workspace.image.data_to_world(data)
        shown = [world[axis] for axis in self.viewer.dims.displayed[-workspace.image.ndim :]]
        view = self.viewer.window._qt_viewer.canvas.view
        place = (view.transform * view.scene.transform).map(shown[::-1])[:2]
        return QPoint(*np.round(place).astype(int).tolist())

    def click(self, x: float, y: float, modifier: str = "No") -> None:
        """Click on a pixel and wait for the mask."""
        held = getattr(Qt.KeyboardModifier, f"{modifier}Modifier")
        place = self.position(x, y)
        QTest.mouseMove(self.canvas, place)
        self.rest(0.05)
        QTest.mouseClick(self.canvas, Qt.MouseButton.LeftButton, held, place)
        self.idle()

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 8) -> None:
        """Drag from one pixel to another and wait for the mask."""
        path = [self.position(*(np.add(start, np.subtract(end, start) * s / steps))) for s in range(steps + 1)]
        left = Qt.MouseButton.LeftButton
        QTest.mouseMove(self.canvas, path[0])
        QTest.mousePress(self.canvas, left, Qt.KeyboardModifier.NoModifier, path[0])
        for place in path[1:]:
            QTest.mouseMove(self.canvas, place)
            self.rest(0.08)
        QTest.mouseRelease(self.canvas, left, Qt.KeyboardModifier.NoModifier, path[-1])
        self.idle()

    def picture(self, path: Path | None = None) -> np.ndarray:
        """Return the window as an array, and save it."""
        self.rest(0.2)
        return self.viewer.screenshot(str(path) if path else None, canvas_only=False, flash=False)

    def close(self) -> None:
        """Close everything."""
        self.dock.shut()
        self.viewer.close()
