"""The manifest is valid, found in the installed package, and every command it names works."""

from __future__ import annotations

import re
from importlib import metadata, resources
from pathlib import Path

import pytest

npe2 = pytest.importorskip("npe2")


def manifest():
    return npe2.PluginManifest.from_file(str(resources.files("napari_medclipsam") / "napari.yaml"))


def test_manifest_is_found_by_its_entry_point() -> None:
    points = {p.name: p.value for p in metadata.entry_points(group="napari.manifest")}
    assert points["napari-medclipsam"] == "napari_medclipsam:napari.yaml"
    assert manifest().name == "napari-medclipsam"


def test_the_docs_name_the_menu_as_napari_shows_it() -> None:
    found = manifest()
    plugin = found.display_name
    # napari adds the plugin's name in brackets, as the plugin has entries in other menus too.
    shown = {f"Plugins > {plugin} > {widget.display_name} ({plugin})" for widget in found.contributions.widgets}
    root = Path(__file__).parents[1]
    pages = [root / "README.md", *(root / "docs").glob("*.md")]
    named = {path for page in pages for path in re.findall(r"Plugins > [^*]+", page.read_text(encoding="utf-8"))}
    assert named == shown


def test_every_command_can_be_imported() -> None:
    found = manifest()
    found.validate_imports()
    assert found.contributions.commands
