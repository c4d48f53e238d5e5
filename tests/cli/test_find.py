"""``medclipsam find``."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.projects.project import Project
from synthetic import Both, PooledGrays, picture


@pytest.fixture
def find(run, tmp_path, monkeypatch):
    """A project with the disk in slice 1 of the first case and slices 0 and 1 of the second; the first is accepted."""
    monkeypatch.setattr("napari_medclipsam.models.registry.load", lambda name, device=None: PooledGrays())
    (tmp_path / "in").mkdir()
    for number, shapes in enumerate(([(), ("disk",), ("bar",)], [("disk",), ("disk",), ()])):
        array = np.stack([picture(*shape)[0] for shape in shapes])
        array[0, 0, 2] = number
        nibabel.save(
            nibabel.Nifti1Image(array.T, np.diag([-1.0, -1.0, 5.0, 1.0])), tmp_path / "in" / f"MUELLER{number}.nii"
        )
    run("project", "init", tmp_path / "p", "--class", "disk")
    run("project", "add", tmp_path / "p", tmp_path / "in")
    with Project.open(tmp_path / "p") as project, project.open_case("c0001") as case:
        case.session.current = ObjectKey(1)
        mask = picture("disk")[1]["disk"]
        case.session.paint((slice(1, 2), slice(0, 64), slice(0, 64)), mask[None].astype(np.uint8))
        case.session.accept(SliceAt.across(0, 1))
    return lambda *args: run("find", tmp_path / "p", *args)


def test_built_then_found_by_text_and_by_region(find, tmp_path):
    code, _, err = find("--text", "disk")
    assert code == 2 and "Nothing of the project is indexed yet. Add --build." in err
    code, out, _ = find("--build")
    assert code == 0 and out == "Indexed 6 slices now.\nAll 6 slices are indexed.\n"
    code, out, _ = find("--build", "--text", "disk")
    assert code == 0 and out.startswith("Indexed 0 slices now.\n")
    code, out, _ = find("--text", "disk")
    assert code == 0 and out.endswith('3 slices look like "disk".\n')
    assert "c0001 slice 1: very likely; accepted disk at x 11–29, y 9–27" in out and "MUELLER" not in out
    code, out, _ = find("--like", "c0001:1:disk", "--other-cases", "--json")
    found = json.loads(out)
    assert code == 0 and [(a["case"], a["slice"]) for a in found["answers"]] == [("c0002", 0), ("c0002", 1)]
    assert found["indexed"] == found["slices"] == 6 and len(found["answers"][0]["box_xyxy"]) == 4
    code, out, _ = find("--text", "disk", "--accepted", "--top", "1", "--json")
    (answer,) = json.loads(out)["answers"]
    assert (answer["case"], answer["class"], answer["at"]) == ("c0001", "disk", [1, None, None])
    code, out, _ = find("--text", "gizmo", "--json")
    assert code == 0 and json.loads(out)["answers"] == [] and "Can't tell" in json.loads(out)["message"]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "Say what to look for"),
        (("--text", ""), "The text is empty"),
        (("--text", "disk", "--case", "c0009"), "no case c0009"),
        (("--text", "disk", "--other-cases"), "add --like"),
        (("--like", "c0001:1:gizmo"), "no class"),
        (("--like", "c0001:0:disk"), "Nothing of disk is accepted"),
        (("--like", "c0001:7:disk"), "slices 0 to 2"),
    ],
)
def test_what_can_not_be_is_refused_in_words(find, args, told):
    find("--build")
    code, _, err = find(*args)
    assert code == 2 and told in err


@pytest.mark.parametrize("like", ["c0001", "c0001:x:disk", "c0001:1:", ":1:disk"])
def test_a_region_is_written_in_three_parts(find, like, capsys):
    with pytest.raises(SystemExit):
        find("--like", like)
    assert "CASE:SLICE:CLASS" in capsys.readouterr().err


def test_a_model_without_vectors_and_no_project(find, run, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_medclipsam.models.registry.load", lambda name, device=None: Both())
    code, _, err = find("--build")
    assert code == 2 and "can't search" in err
    code, _, err = run("find", tmp_path / "nowhere", "--text", "disk")
    assert code == 2 and "is no project" in err
