"""A real viewer with mouse and keyboard, the shipped model and a real MRI. Needs a display (scripts/with-display)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from napari_medclipsam.cli.demo import _window_drawn
from napari_medclipsam.napari_io import METADATA_KEY

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from window import Window

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.environ.get("QT_QPA_PLATFORM") == "offscreen"
        or (sys.platform.startswith("linux") and not os.environ.get("DISPLAY")),
        reason="a real viewer needs a display",
    ),
]


@pytest.fixture
def window(make_napari_viewer):
    opened = Window(make_napari_viewer(show=True))
    yield opened
    if opened.dock is not None:
        opened.dock.shut()
        QApplication.processEvents()
    # pytest keeps what it gave to the test; the viewer must be free to go.
    opened.viewer = opened.main = opened.dock = None


@pytest.fixture
def patient(data_dir: Path) -> tuple[Path, Path]:
    """FLAIR and tumour mask of a patient whose images are for training."""
    flair = sorted((data_dir / "volumes" / "lgg").glob("*_flair.nii.gz"))[0]
    return flair, flair.with_name(flair.name.replace("_flair", "_tumor"))


def test_a_session_with_mouse_and_keyboard(window, patient, tmp_path, dice) -> None:
    flair, tumour = patient
    window.viewer.open(flair, plugin="napari-medclipsam")
    image = window.viewer.layers[0]
    truth = image.metadata[METADATA_KEY].views[0].to_turned(np.asarray(nibabel.load(tumour).dataobj).T) > 0
    index = int(truth.sum(axis=(1, 2)).argmax())
    window.viewer.dims.set_current_step(0, index)
    window.open_dock()
    dock = window.dock
    letters = window.viewer.canvas.overlays
    window.wait(lambda: "medclipsam right" in letters)
    assert {letters["medclipsam left"].text, letters["medclipsam right"].text} == {"L", "R"}

    window.type_text("brain tumor")
    assert "brain tumor" in dock.answers.text()

    ys, xs = np.nonzero(truth[index])
    dock.tools.buttons["box"].click()
    window.drag((xs.min() - 2.0, ys.min() - 2.0), (xs.max() + 2.0, ys.max() + 2.0))
    session, at = dock.workspace.session, dock.workspace.at
    assert at.index == index
    box = session.state(at).of(session.current).prompts.boxes_xyxy[-1]
    # To within a pixel of the screen.
    assert np.allclose(box, (xs.min() - 1.5, ys.min() - 1.5, xs.max() + 1.5, ys.max() + 1.5), atol=1.5)
    assert dice(session.proposed[index], truth[index]) > 0.7

    dock.tools.buttons["point"].click()
    window.click(float(xs.mean()), float(ys.mean()))
    window.click(float(xs.max() + 12), float(ys.mean()), "Control")
    points = session.state(at).of(session.current).prompts.points
    assert [p.positive for p in points[-2:]] == [True, False]
    assert dice(session.proposed[index], truth[index]) > 0.7

    window.press("U")
    assert len(session.state(at).of(session.current).prompts.points) == len(points) - 1
    window.press("Shift-U")
    assert session.state(at).of(session.current).prompts.points == points

    window.press("G")
    assert dice(session.labels[index], truth[index]) > 0.7
    window.press("Right")
    assert dock.workspace.at.index == index + 1 and not len(window.viewer.layers["points"].data)
    window.press("Left")
    dock.range_row.first.setValue(index - 2)
    dock.range_row.last.setValue(index + 2)
    window.press("8")
    proposed = [z for z in range(len(truth)) if session.proposed[z].any()]
    assert proposed and set(proposed) <= {index - 2, index - 1, index + 1, index + 2}
    window.press("Shift-G")
    assert not session.proposed.any()
    near = slice(min(proposed), max(proposed) + 1)
    assert dice(session.labels[near], truth[near]) > 0.6

    (path,) = window.viewer.layers["masks"].save(str(tmp_path / "mask.nii.gz"), plugin="napari-medclipsam")
    written = nibabel.load(path)
    assert np.array_equal(written.affine, nibabel.load(flair).affine)
    assert written.shape == nibabel.load(tumour).shape
    assert dice(np.asarray(written.dataobj), np.asarray(nibabel.load(tumour).dataobj)) > 0.2


def test_painting_with_the_mouse_is_undone_by_our_key(window, patient) -> None:
    window.viewer.open(patient[0], plugin="napari-medclipsam")
    window.open_dock()
    window.dock.tools.buttons["paint"].click()
    window.drag((100, 100), (130, 120))
    session = window.dock.workspace.session
    assert session.undo_name == "paint" and session.labels.any()
    window.press("Control-Z")
    assert not session.labels.any()
    window.press("Shift-U")
    assert session.labels.any()


def test_the_layer_menu_opens_the_dock_on_the_selected_image(window, quick_models) -> None:
    layers = [window.viewer.add_image(np.random.default_rng(n).random((4, 32, 32)), name=f"scan {n}") for n in (1, 2)]
    docks = []
    for layer in layers:
        window.viewer.layers.selection.active = layer
        (segment,) = [a.menu() for a in window.viewer.window.layers_menu.actions() if a.text() == "Segment"]
        (entry,) = [a for a in segment.actions() if "MedCLIP-SAM" in a.text()]
        entry.trigger()
        docks.append(window.viewer.window._wrapped_dock_widgets["MedCLIP-SAM (napari-medclipsam)"].inner_widget())
        window.dock = docks[-1]
        window.idle()
        assert window.dock.workspace.image is layer and window.dock.image_row.images.currentText() == layer.name
    assert docks[0] is docks[1]


def test_the_demo_draws_its_window(tmp_path) -> None:
    assert _window_drawn(tmp_path, "cpu")
    assert (tmp_path / "window.png").stat().st_size > 50_000
