"""The manifest is valid, found in the installed package, and every command it names works."""

from __future__ import annotations

from importlib import metadata, resources

import numpy as np
import pytest

npe2 = pytest.importorskip("npe2")


def manifest():
    return npe2.PluginManifest.from_file(str(resources.files("napari_medclipsam") / "napari.yaml"))


def test_manifest_is_found_by_its_entry_point() -> None:
    points = {p.name: p.value for p in metadata.entry_points(group="napari.manifest")}
    assert points["napari-medclipsam"] == "napari_medclipsam:napari.yaml"
    assert manifest().name == "napari-medclipsam"


def test_every_command_can_be_imported() -> None:
    found = manifest()
    found.validate_imports()
    assert found.contributions.commands


def test_sample_data_opens_in_a_viewer() -> None:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_medclipsam.samples import sample_layers

    viewer = ViewerModel()
    for data in sample_layers():
        viewer.add_layer(Layer.create(*data))
    image, lesion = viewer.layers
    assert image.data.shape == lesion.data.shape and np.array_equal(image.scale, lesion.scale)
    assert 0 < np.count_nonzero(lesion.data) < image.data.size / 50
