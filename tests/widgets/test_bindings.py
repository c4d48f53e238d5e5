"""A small session in a real viewer, with both of the Qt bindings that napari supports. Needs a display."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import qtpy
from qtpy.QtWidgets import QApplication

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from window import Window

pytestmark = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen"
    or (sys.platform.startswith("linux") and not os.environ.get("DISPLAY")),
    reason="a real viewer needs a display",
)

_OTHER = "PySide6" if qtpy.API_NAME == "PyQt6" else "PyQt6"


def test_a_small_session(make_napari_viewer, quick_models, disk_stack, dice) -> None:
    window = Window(make_napari_viewer(show=True))
    window.viewer.add_image(disk_stack[0], name="stack")
    window.viewer.dims.set_current_step(0, 3)
    window.open_dock()
    session = window.dock.workspace.session
    window.type_text("disk")
    window.press("G")
    window.dock.tools.buttons["point"].click()
    window.click(20, 18)
    assert session.state(window.dock.workspace.at).of(session.current).prompts.points
    window.press("8")
    window.press("Shift-G")
    assert dice(window.viewer.layers["masks"].data, disk_stack[1]) > 0.9
    window.dock.tools.buttons["paint"].click()
    window.drag((40, 40), (50, 44))
    painted = session.labels.copy()
    window.press("Control-Z")
    assert np.count_nonzero(session.labels) < np.count_nonzero(painted)
    window.viewer.theme = "light"
    window.rest(0.2)
    window.dock.shut()
    QApplication.processEvents()
    # pytest keeps what it gave to the test; the viewer must be free to go.
    window.viewer = window.main = window.dock = None


@pytest.mark.skipif(importlib.util.find_spec(_OTHER) is None, reason=f"{_OTHER} is not installed")
def test_the_same_with_the_other_binding() -> None:
    """In a process of its own: a process can have only one."""
    chosen = {"QT_API": _OTHER.lower(), "PYTEST_QT_API": _OTHER.lower()}
    call = [sys.executable, "-m", "pytest", "-q", f"{__file__}::test_a_small_session"]
    done = subprocess.run(call, env=os.environ | chosen, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
