"""Small images in a viewer's model, with and without a window."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_medclipsam.widgets import MedClipSamDock, _work
from synthetic import IntensityGrounder, RegionGrower, picture


@pytest.fixture(autouse=True)
def own_folders(own_cache, tmp_path, monkeypatch):
    """Models and caches go to a folder of this test; nobody's settings count."""
    monkeypatch.setenv("MEDCLIPSAM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("MEDCLIPSAM_SETTINGS", str(tmp_path / "settings"))
    monkeypatch.setenv("MEDCLIPSAM_DEVICE", "cpu")


class Desk:
    """A dock on the model of a viewer, and what a person does with it."""

    def __init__(self, qtbot, viewer) -> None:
        self.qtbot, self.viewer = qtbot, viewer
        self.dock = MedClipSamDock(viewer)
        qtbot.addWidget(self.dock)

    @property
    def session(self):
        return self.dock.workspace.session

    @property
    def at(self):
        return self.dock.workspace.at

    @property
    def message(self) -> str:
        return self.dock.status.message.text()

    def layer(self, name: str):
        return self.viewer.layers[name]

    def go(self, index: int, axis: int = 0) -> None:
        self.viewer.dims.set_current_step(axis, index)

    def idle(self) -> None:
        """Wait until the models have nothing to do and all is drawn."""
        worker = self.dock.workspace.work.worker
        self.qtbot.waitUntil(lambda: "loading" not in self.dock.status.model.text(), timeout=30_000)
        for _ in range(3):
            self.qtbot.waitUntil(lambda: not worker.is_busy, timeout=30_000)
            self.qtbot.wait(60)

    def ask(self, text: str) -> None:
        self.dock.ask(text)
        self.idle()

    def do(self, verb: str) -> None:
        getattr(self.dock.verbs, verb)()
        self.idle()


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("medclipsam")]


@pytest.fixture
def threads():
    """Return a function that names the threads of the models that run."""
    return _threads


@pytest.fixture
def quick_models(monkeypatch):
    """Docks get models that find shapes by their intensity, at once."""
    monkeypatch.setattr(_work, "load_beside_opengl", lambda name, device: (IntensityGrounder(), RegionGrower()))


@pytest.fixture
def open_desk(qtbot, quick_models):
    """Return a function that opens the dock on a viewer; afterwards no thread is left."""
    desks: list[Desk] = []

    def open_on(viewer: ViewerModel) -> Desk:
        desks.append(Desk(qtbot, viewer))
        return desks[-1]

    yield open_on
    for desk in desks:
        desk.dock.shut()
    assert not _threads()


def stack(n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A disk in slices 2 to 5 of a stack, and its mask; nothing at all in the others."""
    with_disk, masks = picture("disk")
    inside = [2 <= z <= 5 for z in range(n)]
    array = np.stack([with_disk if there else np.full_like(with_disk, 30) for there in inside])
    return array, np.stack([masks["disk"] & there for there in inside])


@pytest.fixture
def disk_stack() -> tuple[np.ndarray, np.ndarray]:
    return stack()


@pytest.fixture
def desk(open_desk, disk_stack) -> Desk:
    """The dock on the stack with the disk, slice 3 on screen."""
    viewer = ViewerModel()
    viewer.add_image(disk_stack[0], name="stack", scale=(4, 1, 1), units=("mm",) * 3)
    viewer.dims.set_current_step(0, 3)
    opened = open_desk(viewer)
    opened.idle()
    return opened


@pytest.fixture
def dice():
    def of(a: np.ndarray, b: np.ndarray) -> float:
        a, b = a > 0, b > 0
        return float(2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b)))

    return of
