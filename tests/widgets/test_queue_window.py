"""The review queue and the effort dashboard in a real viewer. Needs a display (scripts/with-display)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.reader import remember_reader
from napari_medclipsam.projects.studies import images_in
from napari_medclipsam.widgets import EffortDock
from synthetic import picture

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from window import Window

pytestmark = pytest.mark.skipif(
    os.environ.get("QT_QPA_PLATFORM") == "offscreen"
    or (sys.platform.startswith("linux") and not os.environ.get("DISPLAY")),
    reason="a real viewer needs a display",
)


def test_keys_go_through_cases_and_the_dashboard_is_drawn(make_napari_viewer, quick_models, tmp_path) -> None:
    remember_reader("ana")
    for name, level in (("a", 1), ("b", 2)):
        planes = np.stack([picture("disk")[0]] * 2)
        planes[:, 0, 2] = level
        nibabel.save(nibabel.Nifti1Image(planes.T, np.diag([-1.0, -1.0, 5.0, 1.0])), tmp_path / f"{name}.nii")
    with Project.create(tmp_path / "project", ["disk"], "ana") as project:
        for name in "ab":
            list(project.add(images_in(tmp_path / f"{name}.nii")))
    window = Window(make_napari_viewer(show=True))
    window.open_dock()
    desk = window.dock.project
    desk.open(tmp_path / "project")
    window.press(",")
    places = []
    for _ in range(4):
        places.append((desk.case.study.case, window.dock.workspace.at.index))
        window.press(".")
    assert places == [("c0001", 0), ("c0001", 1), ("c0002", 0), ("c0002", 1)]
    assert window.dock.progress.text() == "4 of 4 slices" and "needs you any more" in window.dock.status.message.text()
    window.dock.project_page.effort_wanted.emit()
    effort = next(dock for dock in window.viewer.window.dock_widgets.values() if isinstance(dock, EffortDock))
    window.wait(lambda: effort.board is not None)
    assert effort.parent().isFloating() and effort.board.total.n_slices == 4
    drawn = [box for box in effort.panels.boxes if box.panel.draw is not None]
    window.wait(lambda: drawn and all(not box.picture.pixmap().isNull() for box in drawn))
    effort.close()
    window.dock.shut()
    QApplication.processEvents()
    # pytest keeps what it gave to the test; the viewer must be free to go.
    window.viewer = window.main = window.dock = None
