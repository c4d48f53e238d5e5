"""Public samples: said, asked, downloaded, checked; from a server on this machine, with patients that are made up."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from importlib import resources

import nibabel
import numpy as np
import pytest
from napari.components import ViewerModel
from npe2 import PluginManifest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QMessageBox, QPushButton

from file_server import Server, serving
from napari_medclipsam.errors import ModelError
from napari_medclipsam.models.entry import ModelFile
from napari_medclipsam.public_samples import GLIOMA_FLAIR, PUBLIC_SAMPLES, PublicSample, fetch_sample, is_here
from napari_medclipsam.widgets import _samples
from napari_medclipsam.widgets._samples import open_public_sample

SHAPE_IJK = (40, 50, 60)
AFFINE = np.diag([-1.0, -1, 2, 1])


@pytest.fixture
def server():
    with serving(Server()) as server:
        yield server


@pytest.fixture
def sample(server, tmp_path) -> PublicSample:
    """A sample like those of the menu, on the server of this test."""
    rng = np.random.default_rng(0)
    files = []
    for name, values in (("image", rng.integers(0, 900, SHAPE_IJK)), ("mask", rng.integers(0, 2, SHAPE_IJK) * 4)):
        path = tmp_path / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), AFFINE), path)
        content = path.read_bytes()
        server.files[path.name] = content
        files.append(ModelFile(path.name, sha256=hashlib.sha256(content).hexdigest(), url=server.url(path.name)))
    return replace(GLIOMA_FLAIR, image=files[0], mask=files[1])


@pytest.fixture
def answer(monkeypatch):
    """Return a function that answers the question from now on, and gives the list of questions."""

    def give(button) -> list[str]:
        asked: list[str] = []
        monkeypatch.setattr(QMessageBox, "question", lambda _, title, text, *more: asked.append(text) or button)
        return asked

    return give


def test_the_menu_says_size_and_licence() -> None:
    manifest = PluginManifest.from_file(str(resources.files("napari_medclipsam") / "napari.yaml"))
    shown = {sample.key: sample.display_name for sample in manifest.contributions.sample_data}
    for sample in PUBLIC_SAMPLES:
        assert shown[sample.name] == sample.display_name
        assert sample.size in sample.display_name and sample.licence in sample.display_name
        assert all(file.sha256 and file.url.startswith("https://") for file in sample.files)


def test_agreed_it_is_downloaded_once_and_opens(qtbot, answer, sample, server) -> None:
    asked = answer(QMessageBox.StandardButton.Yes)
    viewer = ViewerModel()
    for data in open_public_sample(sample):
        viewer._add_layer_from_data(*data)
    image, mask = viewer.layers
    assert (image.name, mask.name) == (sample.title, "given mask") and not mask.visible
    assert image.data.shape == mask.data.shape == SHAPE_IJK[::-1] and np.array_equal(image.scale, mask.scale)
    assert mask.data.dtype == np.uint8 and set(np.unique(mask.data)) == {0, 4}
    assert len(asked) == 1 and all(part in asked[0] for part in (sample.size, sample.licence, sample.source))
    open_public_sample(sample)
    assert len(asked) == 1 and len(server.requested) == 2


def test_not_agreed_nothing_is_downloaded(qtbot, answer, sample, server) -> None:
    answer(QMessageBox.StandardButton.No)
    with pytest.raises(ModelError, match="was not downloaded"):
        open_public_sample(sample)
    assert not server.requested


def test_an_interrupted_download_goes_on(qtbot, answer, sample, server) -> None:
    answer(QMessageBox.StandardButton.Yes)
    server.stop_after = 1000
    with pytest.raises(ModelError, match=r"interrupted.*open the sample again"):
        open_public_sample(sample)
    server.stop_after = None
    assert len(open_public_sample(sample)) == 2
    assert server.requested == ["", "bytes=1000-", ""]


def test_cancel_stops_it(qtbot, monkeypatch, answer, sample) -> None:
    answer(QMessageBox.StandardButton.Yes)
    pressed, stopped = threading.Event(), threading.Event()

    def slow(sample, progress, cancel):
        progress("image", 5_000, None)
        assert pressed.wait(20)
        assert cancel()
        stopped.set()
        raise ModelError("stopped")

    def press_cancel():
        (button,) = QApplication.activeModalWidget().findChildren(QPushButton)
        button.click()
        pressed.set()

    monkeypatch.setattr(_samples, "fetch_sample", slow)
    QTimer.singleShot(300, press_cancel)
    with pytest.raises(ModelError, match=r"stopped|was not downloaded"):
        open_public_sample(sample)
    assert stopped.wait(20)


def test_another_file_than_expected_is_thrown_away(sample, server) -> None:
    server.files["image.nii.gz"] = b"something else"
    with pytest.raises(ModelError, match="not the expected file"):
        fetch_sample(sample)
    assert not is_here(sample) and not list(sample.path(sample.image).parent.iterdir())


def test_a_damaged_file_is_fetched_again(sample, server) -> None:
    fetch_sample(sample)
    sample.path(sample.mask).write_bytes(b"damaged")
    assert not is_here(sample)
    fetch_sample(sample)
    assert is_here(sample) and len(server.requested) == 3


def test_without_a_window_nothing_is_asked_or_downloaded(monkeypatch, sample, server) -> None:
    monkeypatch.setattr(_samples.QApplication, "instance", lambda: None)
    with pytest.raises(ModelError, match="was not downloaded"):
        open_public_sample(sample)
    assert not server.requested
