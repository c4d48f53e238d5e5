"""What is installed, and whether it is what the catalogue means."""

from __future__ import annotations

import os

import pytest

from napari_medclipsam.errors import ModelError
from napari_medclipsam.models import store
from napari_medclipsam.models.entry import ModelFile

CONTENTS = {"w.pth": b"weights", "sub/config.json": b"{}"}


def test_folder_follows_the_environment(tmp_path, monkeypatch):
    assert store.models_folder() == tmp_path / "models"
    monkeypatch.delenv("MEDCLIPSAM_MODELS")
    assert store.models_folder().name == "models"


def test_states(installed, helpers):
    assert store.state_of(installed("toy", CONTENTS)) == "installed"
    assert store.state_of(helpers.make_entry("other", CONTENTS)) == "not installed"
    packaged = helpers.make_entry(
        "packed", files=(ModelFile("catalogue/lite.json", location="packaged"),), bundled=True
    )
    assert store.state_of(packaged) == "bundled"
    missing = helpers.make_entry("packed", files=(ModelFile("x", location="package:no_such_pkg"),), bundled=True)
    assert store.state_of(missing) == "not installed"
    with pytest.raises(store.ModelNotInstalledError, match="pip install no-such-pkg"):
        store.verified_paths(missing)


def test_a_file_of_the_wrong_size_is_not_installed(installed, tmp_path):
    entry = installed("toy", CONTENTS)
    (tmp_path / "models/toy/w.pth").write_bytes(b"weig")
    assert store.state_of(entry) == "not installed"


def test_verified_paths(installed, tmp_path):
    assert store.verified_paths(installed("toy", CONTENTS))["w.pth"] == tmp_path / "models/toy/w.pth"


def test_wrong_hash_is_refused_with_the_remedy(installed, tmp_path):
    entry = installed("toy", CONTENTS)
    (tmp_path / "models/toy/w.pth").write_bytes(b"weightz")
    with pytest.raises(ModelError, match=r"SHA-256 is \w{64}, expected \w{64}. Run: medclipsam models fetch toy"):
        store.verified_paths(entry)


def test_an_unchanged_file_is_hashed_once_and_a_changed_one_again(installed, tmp_path, monkeypatch):
    entry = installed("toy", CONTENTS)
    calls = []
    real = store.sha256_of
    monkeypatch.setattr(store, "sha256_of", lambda path: calls.append(path.name) or real(path))
    store.verified_paths(entry)
    store.verified_paths(entry)
    assert sorted(calls) == ["config.json", "w.pth"]
    path = tmp_path / "models/toy/w.pth"
    before = path.stat()
    path.write_bytes(b"weightz")
    # Even with the old size and modification time.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ModelError, match="expected"):
        store.verified_paths(entry)


def test_a_damaged_stamp_file_only_costs_time(installed, tmp_path):
    entry = installed("toy", CONTENTS)
    (tmp_path / "models/.verified.json").write_text("[1, 2")
    assert store.verified_paths(entry)


def test_without_a_known_hash_the_user_must_state_it(installed, tmp_path, helpers):
    entry = installed("toy", {"w.pth": b"weights"}, files=(ModelFile("w.pth"),))
    with pytest.raises(ModelError, match=r"--sha256 w\.pth=HASH"):
        store.verified_paths(entry)
    store.state_sha256(entry, {"w.pth": helpers.sha256(b"weights").upper()})
    assert store.verified_paths(entry)
    store.state_sha256(entry, {"w.pth": helpers.sha256(b"others")})
    with pytest.raises(ModelError, match="expected"):
        store.verified_paths(entry)


@pytest.mark.parametrize("hashes", [{"x": "0" * 64}, {"w.pth": "12"}, {"w.pth": "0" * 64}])
def test_a_stated_hash_must_be_one_and_not_contradict_the_catalogue(installed, hashes):
    with pytest.raises(ModelError):
        store.state_sha256(installed("toy", CONTENTS), hashes)


def test_model_hash_depends_on_every_file(installed):
    one = store.model_hash(installed("toy", CONTENTS))
    assert one == store.model_hash(installed("toy2", dict(CONTENTS)))
    assert one != store.model_hash(installed("toy3", CONTENTS | {"w.pth": b"other"}))
