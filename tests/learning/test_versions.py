"""The register of versions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_learner import Blind, Levels

from napari_medclipsam.errors import LearningError, OutputError, ProjectError
from napari_medclipsam.learning.loading import load_active
from napari_medclipsam.learning.versions import (
    active_version,
    delete,
    find_version,
    list_versions,
    promote,
    register,
    roll_back,
)
from napari_medclipsam.learning.wording import doubt_words


@pytest.fixture
def project(tmp_path):
    (tmp_path / "models").mkdir()
    return tmp_path


def lineage(run: str, better: bool | None = True) -> dict:
    return {
        "run": run,
        "learner": "tiny",
        "base": {"name": "blind", "version": ""},
        "gate": {"better": better},
        "data": {"patients": ["a"]},
    }


def add(project, run="1", better=True):
    written = project / f"written{run}"
    written.mkdir()
    save_file({"levels": np.array([100.0])}, written / "levels.safetensors")
    (written / "names.json").write_text('["disk"]')
    (written / "checkpoint.safetensors").write_bytes(b"on the way")
    return register(project, {"model": written}, lineage(run, better))


def test_a_version_holds_what_was_learnt_and_its_hashes(project):
    version = add(project)
    assert version.name == "v0001" and version.state == "candidate" and version.size_bytes > 0
    assert set(version.lineage["files"]) == {"model/levels.safetensors", "model/names.json"}
    version.check()


def test_a_run_is_registered_once(project):
    assert add(project).name == register(project, {"model": project / "written1"}, lineage("1")).name
    assert [v.name for v in list_versions(project)] == ["v0001"]


def test_what_is_said_of_a_version_that_is_not_better(project):
    assert doubt_words(add(project)) == ""
    assert "not measured" in doubt_words(add(project, "2", None))
    written = project / "written1"
    worse = {"before": 0.8, "after": 0.75, "gain": -0.05, "n_slices": 1, "n_patients": 1}
    gate = {"better": None, "total": worse, "lower": None, "structures": {"disk": worse}, "ways": {}}
    version = register(project, {"model": written}, {**lineage("3"), "gate": gate, "compared_with": "v0001"})
    assert doubt_words(version) == (
        "v0003 measured worse than v0001: Dice 0.800 → 0.750, gain -0.050 on 1 slice of 1 patient; disk loses 0.050."
    )


def test_promoting_and_going_back(project):
    for run, better in (("1", True), ("2", True), ("3", False)):
        add(project, run, better)
    assert active_version(project) is None
    promote(project, "v0001", "gate")
    promote(project, "v0002", "ana")
    assert [v.state for v in list_versions(project)] == ["replaced", "promoted", "not better"]
    assert roll_back(project, "ana").name == "v0001"
    assert [v.state for v in list_versions(project)] == ["promoted", "rolled back", "not better"]
    assert roll_back(project, "ana") is None and active_version(project) is None
    with pytest.raises(LearningError, match="No version is in use"):
        roll_back(project, "ana")


def test_a_version_that_was_deleted_is_passed_over_and_its_name_not_given_again(project):
    for run in "123":
        promote(project, add(project, run).name, "gate")
    with pytest.raises(LearningError, match="is in use"):
        delete(project, "v0003")
    assert delete(project, "v0002") > 0
    assert roll_back(project, "ana").name == "v0001"
    delete(project, "v0003")
    assert add(project, "4").name == "v0004"


def test_a_version_that_another_was_learnt_from_is_not_deleted(project):
    add(project, "1")
    child = register(project, {"model": project / "written1"}, lineage("2") | {"parent": "v0001"})
    with pytest.raises(LearningError, match="v0002 was learnt from v0001"):
        delete(project, "v0001")
    delete(project, child.name)
    assert delete(project, "v0001") > 0


def test_a_damaged_file_is_found_before_it_is_loaded(project):
    promote(project, add(project).name, "gate")
    assert isinstance(load_active(project, Blind()), Levels)
    (project / "models/v0001/model/levels.safetensors").write_bytes(b"something else")
    with pytest.raises(LearningError, match=r"v0001 is damaged: model/levels\.safetensors is not what"):
        load_active(project, Blind())
    (project / "models/v0001/model/levels.safetensors").unlink()
    with pytest.raises(LearningError, match="can't be read"):
        load_active(project, Blind())


def test_damage_of_one_version_leaves_the_others(project):
    add(project, "1")
    add(project, "2")
    (project / "models/v0001/lineage.json").write_text("{")
    damaged, whole = list_versions(project)
    assert damaged.state == "damaged" and "v0001 is damaged" in damaged.trouble and whole.state == "candidate"
    with pytest.raises(LearningError, match="v0001 is damaged"):
        promote(project, "v0001", "ana")


def test_a_version_in_use_that_is_gone_is_said_to_be(project):
    promote(project, add(project).name, "gate")
    (project / "models/v0001").rename(project / "elsewhere")
    with pytest.raises(LearningError, match="v0001, which is in use in this project, is gone"):
        load_active(project, Blind())
    assert roll_back(project, "ana") is None


def test_a_version_is_used_on_its_own_base_only(project):
    promote(project, add(project).name, "gate")
    other = Blind()
    other.version = "2"
    with pytest.raises(LearningError, match="was learnt on blind, and this is blind 2"):
        load_active(project, other)


def test_records_can_tell_which_version_answered(project):
    promote(project, add(project).name, "gate")
    assert load_active(project, Blind()).version == "v0001"


def test_nothing_but_safetensors_and_json_is_taken(project):
    written = project / "pickled"
    written.mkdir()
    (written / "model.pt").write_bytes(b"pickle")
    with pytest.raises(LearningError, match=r"model\.pt"):
        register(project, {"model": written}, lineage("1"))
    assert list_versions(project) == [] and not list((project / "models").glob(".partial-*"))


def test_a_full_disk_leaves_nothing_half_registered(project, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    add(project, "1")
    with monkeypatch.context() as patched:
        patched.setattr("napari_medclipsam.learning.versions.shutil.copyfile", full)
        with pytest.raises(OutputError, match="No space left"):
            add(project, "2")
    assert [v.name for v in list_versions(project)] == ["v0001"] and not list((project / "models").glob(".partial-*"))


def test_what_a_killed_process_left_is_cleared_away(project):
    left = project / "models" / ".partial-left"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    assert list_versions(project) == []
    add(project)
    assert not left.exists()


def test_a_damaged_or_newer_list_of_what_is_in_use_is_refused(project):
    promote(project, add(project).name, "gate")
    use = project / "models/use.json"
    use.write_text(json.dumps({**json.loads(use.read_text()), "version": 99}))
    with pytest.raises(ProjectError, match="update the program"):
        list_versions(project)


def test_there_is_no_such_version(project):
    with pytest.raises(LearningError, match="none yet"):
        find_version(project, "v0001")
    with pytest.raises(LearningError, match="no version"):
        find_version(project, "../models")


def test_a_version_knows_ct_only_if_it_learnt_from_it(project):
    promote(project, add(project).name, "gate")
    assert load_active(project, Blind()).knows_ct is False
    data = {"patients": ["a"], "ct": True}
    version = register(project, {"model": project / "written1"}, lineage("2") | {"data": data})
    promote(project, version.name, "gate")
    assert load_active(project, Blind()).knows_ct is True
