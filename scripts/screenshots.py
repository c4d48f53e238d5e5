"""Make the pictures of README and docs from a real session: ``scripts/with-display python scripts/screenshots.py OUT``.

Needs a display, real or virtual. OUT gets ``text.png``, ``correct.png``, ``propagate.png``, ``project.png`` and
``session.gif``. The name of the reader is kept with the settings: set MEDCLIPSAM_SETTINGS.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from qtpy.QtWidgets import QTabWidget
from window import Window

from napari_medclipsam.projects.reader import remember_reader
from napari_medclipsam.samples import sample_brain, write_volume
from napari_medclipsam.widgets._demo import add_sample

_GIF_WIDTH = 960
_FRAME_MS = 900


class Film:
    """Collects pictures of a window."""

    def __init__(self, window: Window, folder: Path) -> None:
        self._window, self._folder = window, folder
        self._frames: list[Image.Image] = []

    def take(self, name: str = "") -> None:
        """Add a frame; keep it as a picture of its own if it has a name."""
        picture = Image.fromarray(self._window.picture()[..., :3])
        if name:
            picture.save(self._folder / f"{name}.png", optimize=True)
        height = round(picture.height * _GIF_WIDTH / picture.width)
        self._frames.append(picture.resize((_GIF_WIDTH, height)).quantize(96, dither=Image.Dither.NONE))

    def write(self) -> None:
        """Write the frames as an animation."""
        first, *others = self._frames
        path = self._folder / "session.gif"
        first.save(path, save_all=True, append_images=others, duration=_FRAME_MS, loop=0, optimize=True)


def main(folder: Path) -> None:
    """Play the session and write its pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    window = Window()
    add_sample(window.viewer)
    lesion_zyx = window.viewer.layers["simulated lesion"].data > 0
    window.open_dock()
    film = Film(window, folder)
    film.take()
    window.type_text("brain tumor")
    film.take("text")
    index = window.dock.workspace.at.index
    ys, xs = np.nonzero(lesion_zyx[index])
    window.dock.verbs.use_tool("point")
    window.click(float(xs.mean()) + 6, float(ys.mean()))
    film.take()
    window.click(float(xs.max()) + 8, float(ys.mean()), "Control")
    film.take("correct")
    window.press("H")
    film.take()
    window.press("G")
    film.take()
    window.dock.range_row.first.setValue(index - 8)
    window.dock.range_row.last.setValue(index + 8)
    window.press("8")
    for step in (-6, -3, 3, 6):
        window.viewer.dims.set_current_step(0, index + step)
        window.idle()
        film.take("propagate" if step == 3 else "")
    window.press("Shift-G")
    film.take()
    film.write()
    window.viewer.layers.clear()
    project(window, film)
    window.close()


def project(window: Window, film: Film) -> None:
    """Label two of three studies of a new project."""
    remember_reader("Dr. Ana")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, 4):
            # An image that is there already would not be added again: each has its lesion elsewhere.
            volume, _ = sample_brain(center_mm=(-34.0 + 3 * number, 36.0 - 6 * number, 16.0))
            write_volume(volume, Path(folder) / f"brain {number}.nii")
        desk = window.dock.project
        desk.create(Path(folder) / "lesions")
        desk.add(sorted(Path(folder).glob("*.nii")), copy=False)
        for case in ("c0001", "c0002"):
            desk.open_case(case)
            window.idle()
            window.viewer.dims.set_current_step(0, 90)
            window.type_text("brain tumor")
            window.press("G")
            if case == "c0001":
                window.press("Shift-F")
        window.dock.findChild(QTabWidget).setCurrentIndex(1)
        window.rest(1)
        film.take("project")
        desk.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
