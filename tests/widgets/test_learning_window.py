"""From accepted slices to the next proposal in a real viewer, with the shipped model on a real volume.

Needs a display (scripts/with-display).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_medclipsam.images.io import read_image, read_mask
from napari_medclipsam.learning.versions import active_version
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.reader import remember_reader
from napari_medclipsam.projects.studies import images_in
from napari_medclipsam.widgets import LearningDock, MedClipSamDock

PATIENCE_MS = 300_000

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("QT_QPA_PLATFORM") == "offscreen"
        or (sys.platform.startswith("linux") and not os.environ.get("DISPLAY")),
        reason="a real viewer needs a display",
    ),
]


def test_accept_learn_promote_ask(make_napari_viewer, qtbot, tmp_path, data_dir: Path) -> None:
    remember_reader("ana")
    volumes = data_dir / "volumes" / "hippocampus"
    scan = sorted((volumes / "images").glob("*.nii.gz"))[0]
    with Project.create(tmp_path / "project", ["hippocampus"], "ana") as project:
        list(project.add(images_in(scan)))
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-medclipsam", "MedCLIP-SAM")
    assert isinstance(dock, MedClipSamDock)

    def until(done):
        qtbot.waitUntil(done, timeout=PATIENCE_MS)

    def idle():
        qtbot.wait(100)
        until(lambda: not dock.workspace.work.worker.is_busy)
        qtbot.wait(200)

    until(lambda: "ready" in dock.status.model.text())
    dock.project.open(tmp_path / "project")
    dock.project.open_case("c0001")
    case = dock.project.case
    mask = case.view.to_turned(read_mask(volumes / "labels" / scan.name, read_image(scan)) > 0)
    shown = np.flatnonzero(mask.sum((1, 2)) > 60)
    middle = int(shown[len(shown) // 2])
    for index in (middle - 2, middle, middle + 2):
        viewer.dims.set_current_step(0, index)
        dock.workspace.choose(1)
        box = (slice(index, index + 1), *(slice(0, n) for n in mask.shape[1:]))
        dock.workspace.draw(case.session.paint(box, mask[box].astype(np.uint8)))
        dock.verbs.accept()
        idle()
    dock._open_learning()
    found = [one for one in viewer.window.dock_widgets.values() if isinstance(one, LearningDock)]
    assert found and found[0].now is not None and found[0].versions is not None
    dock.project._on_poll()
    until(lambda: dock.learning.n_accepted == 3 and not dock.learning.is_busy)
    found[0].now.start.click()
    until(lambda: dock.learning.is_learning)
    until(lambda: bool(dock.learning.overview.versions))
    # One patient: the gate can't tell, and the reader decides.
    until(lambda: not dock.learning.is_busy and not dock.learning.is_learning)
    assert "candidate" in found[0].now.state.text()
    found[0].versions.promote.click()
    until(lambda: dock.badge.isVisibleTo(dock))
    assert active_version(tmp_path / "project").name == "v0001"
    viewer.dims.set_current_step(0, middle + 1)
    dock.ask("hippocampus")
    idle()
    proposed, truth = case.session.proposed[middle + 1] > 0, mask[middle + 1]
    assert 2 * (proposed & truth).sum() / (proposed.sum() + truth.sum()) > 0.6
    dock.shut()
