"""A project in a real viewer: killed in the middle of work, and closed. Needs a display (scripts/with-display)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import images_in
from synthetic import picture

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("QT_QPA_PLATFORM") == "offscreen"
        or (sys.platform.startswith("linux") and not os.environ.get("DISPLAY")),
        reason="a real viewer needs a display",
    ),
]

_AT = SliceAt.across(0, 4)
_PROGRAM = """
import sys, time
from pathlib import Path
import napari
from qtpy.QtWidgets import QApplication
from napari_medclipsam.projects.reader import remember_reader
from napari_medclipsam.widgets import MedClipSamDock, _work
from synthetic import IntensityGrounder, RegionGrower
_work.load_beside_opengl = lambda name, device: (IntensityGrounder(), RegionGrower())
remember_reader("ana")

def wait(done):
    end = time.monotonic() + 60
    while not done() and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)
    assert done()

viewer = napari.Viewer()
dock = MedClipSamDock(viewer)
viewer.window.add_dock_widget(dock)
wait(lambda: "ready" in dock.status.model.text())
dock.project.open(Path(sys.argv[1]))
dock.project.open_case("c0001")
viewer.dims.set_current_step(0, 4)
dock.ask("disk")
wait(lambda: dock.workspace.session.proposed.any())
dock.verbs.accept()
if sys.argv[2] == "close":
    viewer.close()
    QApplication.processEvents()
    print("closed", flush=True)
else:
    # In the middle of the next step.
    dock.ask("square")
    print("accepted", flush=True)
    wait(lambda: False)
"""


@pytest.fixture
def folder(tmp_path):
    """A project of one study, closed."""
    scan = tmp_path / "scan.nii.gz"
    planes = [picture("disk", "square")[0]] * 8
    nibabel.save(nibabel.Nifti1Image(np.stack(planes).T, np.diag([-1.0, -1.0, 5.0, 1.0])), scan)
    with Project.create(tmp_path / "project", reader="ana") as project:
        list(project.add(images_in(scan)))
    return tmp_path / "project"


@pytest.mark.parametrize("end", ["kill", "close"])
def test_nothing_accepted_is_lost(folder, end) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    command = [sys.executable, "-c", _PROGRAM, str(folder), end]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        said = program.stdout.readline().strip()
        if end == "kill":
            program.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        program.communicate(timeout=60)
    assert said == ("accepted" if end == "kill" else "closed")
    with Project.open(folder, "ana") as project:
        assert not project.read_only
        if end == "close":
            assert (project.case_folder("c0001") / "summary.json").exists()
        with project.open_case("c0001") as case:
            assert case.at == _AT and case.session.state(_AT).of(ObjectKey(1)).accepted is not None
            assert case.session.labels[4].any()
