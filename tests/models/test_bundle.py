"""Carrying models to a machine without a network."""

from __future__ import annotations

import json
import shutil

import pytest

from napari_medclipsam.errors import ModelError, OutputError
from napari_medclipsam.models import bundle as bundle_module
from napari_medclipsam.models import store
from napari_medclipsam.models.bundle import MANIFEST, bundle, import_bundle
from napari_medclipsam.models.entry import ModelFile

CONTENTS = {"w.pth": b"weights", "sub/config.json": b"{}"}


@pytest.fixture
def carried(installed, tmp_path, monkeypatch):
    """A bundle of a toy model; the store is then that of another, empty machine."""
    entry = installed("toy", CONTENTS)
    bundle(["toy", "toy"], tmp_path / "usb")
    monkeypatch.setenv("MEDCLIPSAM_MODELS", str(tmp_path / "other"))
    return entry, tmp_path / "usb"


def edit(folder, change):
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_round_trip(carried):
    entry, folder = carried
    assert store.state_of(entry) == "not installed"
    assert import_bundle(folder) == ["toy"]
    assert store.verified_paths(entry)["sub/config.json"].read_bytes() == b"{}"
    assert import_bundle(folder) == ["toy"]
    assert sorted(p.name for p in store.models_folder().iterdir() if p.is_dir()) == ["toy"]


def test_bundled_models_have_nothing_to_carry(tmp_path, add_entries, helpers):
    add_entries(helpers.make_entry("packed", bundled=True))
    with pytest.raises(ModelError, match="Nothing to bundle"):
        bundle(["packed"], tmp_path / "usb")


def test_a_model_that_is_not_installed_cant_be_bundled(tmp_path, add_entries, helpers):
    add_entries(helpers.make_entry("toy", CONTENTS))
    with pytest.raises(ModelError, match="models fetch toy"):
        bundle(["toy"], tmp_path / "usb")
    assert not (tmp_path / "usb").exists()


def test_a_changed_file_is_refused_and_nothing_is_installed(carried):
    entry, folder = carried
    (folder / "toy/w.pth").write_bytes(b"weightz")
    with pytest.raises(ModelError, match="changed or damaged"):
        import_bundle(folder)
    assert store.state_of(entry) == "not installed"
    assert not list(store.models_folder().iterdir())


def test_a_manifest_that_agrees_with_a_changed_file_does_not_help(carried, helpers):
    _, folder = carried
    (folder / "toy/w.pth").write_bytes(b"weightz")
    edit(folder, lambda m: m["models"]["toy"]["files"]["w.pth"].update(sha256=helpers.sha256(b"weightz")))
    with pytest.raises(ModelError, match="expected"):
        import_bundle(folder)


def test_a_failed_import_leaves_the_old_model(carried):
    entry, folder = carried
    import_bundle(folder)
    (folder / "toy/sub/config.json").unlink()
    with pytest.raises(ModelError, match="has no file"):
        import_bundle(folder)
    assert store.verified_paths(entry)


@pytest.mark.parametrize("name", ["../../evil.pth", "/tmp/evil.pth", "..\\evil.pth"])
def test_file_names_that_leave_the_folder_are_refused(carried, tmp_path, name):
    _, folder = carried
    edit(folder, lambda m: m["models"]["toy"]["files"].update({name: {"sha256": "0" * 64}}))
    with pytest.raises(ModelError, match="refused"):
        import_bundle(folder)


@pytest.mark.parametrize("name", ["../toy", "/toy", "a/b"])
def test_model_names_that_leave_the_folder_are_refused(carried, name):
    _, folder = carried
    edit(folder, lambda m: m["models"].update({name: m["models"].pop("toy")}))
    with pytest.raises(ModelError, match="model's name"):
        import_bundle(folder)


def test_a_link_out_of_the_bundle_is_refused(carried, tmp_path):
    _, folder = carried
    (tmp_path / "secret").write_bytes(b"weights")
    (folder / "toy/w.pth").unlink()
    (folder / "toy/w.pth").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="has no file"):
        import_bundle(folder)


def test_files_the_catalogue_does_not_know_are_refused(carried):
    _, folder = carried
    edit(folder, lambda m: m["models"]["toy"]["files"].update({"run.sh": {"sha256": "0" * 64}}))
    with pytest.raises(ModelError, match="same version"):
        import_bundle(folder)


def test_an_unknown_model_is_named(carried):
    _, folder = carried
    edit(folder, lambda m: m["models"].update(strange=m["models"].pop("toy")))
    with pytest.raises(ModelError, match="no model 'strange'"):
        import_bundle(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1}', '{"format": 2, "models": {}}', '{"format": 1, "models": 3}']
)
def test_damaged_manifests(carried, text):
    _, folder = carried
    (folder / MANIFEST).write_text(text)
    with pytest.raises(ModelError):
        import_bundle(folder)


def test_a_folder_without_a_manifest(tmp_path):
    with pytest.raises(ModelError, match="not a bundle"):
        import_bundle(tmp_path)


def test_a_hash_only_the_user_stated_travels_along(installed, tmp_path, monkeypatch, helpers):
    entry = installed("toy", {"w.pth": b"weights"}, files=(ModelFile("w.pth"),))
    store.state_sha256(entry, {"w.pth": helpers.sha256(b"weights")})
    bundle(["toy"], tmp_path / "usb")
    monkeypatch.setenv("MEDCLIPSAM_MODELS", str(tmp_path / "other"))
    import_bundle(tmp_path / "usb")
    assert store.verified_paths(entry)


def test_a_full_disk_is_said(carried, monkeypatch):
    _, folder = carried

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle_module.shutil, "copyfile", full)
    with pytest.raises(OutputError, match="No space left"):
        import_bundle(folder)
    assert not [p for p in store.models_folder().iterdir() if p.is_dir()]
    monkeypatch.undo()
    shutil.rmtree(folder)
