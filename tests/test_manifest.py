"""The manifest is valid, found in the installed package, and every command it names works."""

from __future__ import annotations

from importlib import metadata, resources

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
