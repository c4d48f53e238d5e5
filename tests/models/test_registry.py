"""The catalogue, and finding models by name."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest

from napari_medclipsam.errors import ModelError
from napari_medclipsam.models import registry, store
from napari_medclipsam.models.entry import ModelEntry, ModelFile, entry_from_json, readable_size

NAMES = ["lite", "biomedclip", "medsam-vit-b", "sam-vit-b", "sam-vit-h", "sam-vit-l"]


def test_catalogue_has_the_known_models_with_the_default_first():
    entries = registry.list_models()
    assert [entry.name for entry in entries][: len(NAMES)] == NAMES
    assert [entry.bundled for entry in entries if entry.name in NAMES] == [True] + [False] * 5


@pytest.mark.parametrize("entry", registry.list_models(), ids=lambda entry: entry.name)
def test_every_entry_says_source_licence_and_https_urls(entry):
    assert entry.source.startswith("https://") and entry.licence and entry.revision and entry.title
    for file in entry.files:
        assert bool(file.url) == (file.location == "store")
        assert file.url.startswith("https://") or not file.url


def test_hashes_and_sizes_of_the_large_models_are_known():
    for name in ("sam-vit-b", "sam-vit-l", "sam-vit-h", "medsam-vit-b"):
        (file,) = registry.find_entry(name).files
        assert file.size_bytes and file.sha256


def test_unknown_model_lists_the_known_ones():
    with pytest.raises(ModelError, match=r"no model 'sam-vit-x'.*lite.*sam-vit-b.*local-dir:"):
        registry.load("sam-vit-x")


@pytest.mark.parametrize("name", ["sam-vit-b", "medsam-vit-b", "biomedclip"])
def test_a_model_that_is_not_installed_says_size_licence_and_command(name, no_network):
    with pytest.raises(store.ModelNotInstalledError, match=rf"MB, licence .*Run: medclipsam models fetch {name}$"):
        registry.load(name)


def test_listing_imports_neither_torch_nor_qt():
    code = (
        "import sys; from napari_medclipsam.models import registry, store;"
        "import napari_medclipsam.models.download, napari_medclipsam.models.bundle, napari_medclipsam.models.clip;"
        "import napari_medclipsam.models.sam, napari_medclipsam.saliency.gradcam;"
        "[store.state_of(e) for e in registry.list_models()];"
        "print([m for m in ('torch', 'open_clip', 'qtpy', 'napari') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Point:
    def __init__(self, name, loaded):
        self.name, self.value, self._loaded = name, f"{name}:x", loaded

    def load(self):
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


def test_plugins_add_models_and_a_broken_one_is_left_out(monkeypatch, helpers):
    mine, other = helpers.make_entry("mine"), helpers.make_entry("other")
    points = [Point("a", mine), Point("b", lambda: [other]), Point("c", RuntimeError("boom")), Point("d", 7)]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points if group == registry.ENTRY_POINT_GROUP else [])
    with pytest.warns(UserWarning, match="left out") as caught:
        names = [entry.name for entry in registry.list_models()]
    assert {"mine", "other", *NAMES} == set(names)
    assert len([w for w in caught if "left out" in str(w.message)]) == 2


def test_a_plugin_does_not_replace_a_model_of_this_package(add_entries, helpers):
    add_entries(helpers.make_entry("sam-vit-b"))
    with pytest.warns(UserWarning, match="second model"):
        assert registry.find_entry("sam-vit-b").kind == "sam"


def test_a_plugin_loader_that_is_missing_is_said(add_entries, helpers):
    add_entries(helpers.make_entry("mine", loader="no_such_module_here:load"))
    with pytest.raises(ModelError, match="no_such_module_here"):
        registry.load("mine")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../b", "a\\b", "C:x", "", ".hidden", "a//b", "a/./b"])
def test_file_names_stay_inside_their_folder(name):
    with pytest.raises(ModelError, match="refused"):
        ModelFile(name)


@pytest.mark.parametrize("change", [{"name": "../x"}, {"loader": "os.system"}, {"name": "A B"}])
def test_unusable_entries_are_refused(helpers, change):
    with pytest.raises(ModelError):
        helpers.make_entry(**change)


def test_a_broken_catalogue_file_is_named():
    for text in ("{", "[]", json.dumps({"name": "x"}), json.dumps({"files": [], "roles": [], "colour": 1})):
        with pytest.raises(ModelError, match=r"broken\.json"):
            entry_from_json(text, "broken.json")


def test_a_bundled_model_has_nothing_to_download(helpers):
    with pytest.raises(ModelError, match="bundled"):
        helpers.make_entry(contents={"w.pth": b"1"}, bundled=True)
    assert isinstance(helpers.make_entry(bundled=True), ModelEntry)


def test_readable_size():
    assert [readable_size(n) for n in (12, 4_200, 375_042_383, 2_564_550_879)] == [
        "12 bytes",
        "4.2 kB",
        "375 MB",
        "2.6 GB",
    ]


def test_the_files_of_the_embedded_model_are_here_and_whole():
    assert store.verified_paths(registry.find_entry("lite"))
