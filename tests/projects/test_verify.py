"""Everything that can be wrong with a project is found, and said with its remedy."""

from __future__ import annotations

import gzip
import json
import shutil

import nibabel
import numpy as np
import pytest

from acts import MODEL
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.projects import compaction
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.verify import verify

from .conftest import write_scan

AT = [SliceAt.across(0, index) for index in range(4)]


@pytest.fixture
def worked_on(folder, monkeypatch):
    """A project with one case that has a history, an accepted mask and everything up to date."""
    monkeypatch.setattr(compaction, "MOST_RECORDS", 6)
    monkeypatch.setattr(compaction, "KEPT_RECORDS", 3)
    for _ in range(3):
        with Project.open(folder, "ana") as project, project.open_case("c0001") as case:
            for at in AT[:3]:
                case.session.apply(case.session.plan_text(at, "disk").run(MODEL, MODEL))
                case.session.accept(at)
    return folder


def problems(folder) -> list[str]:
    with Project.open(folder) as project:
        return [f"{p.case}: {p.message}" for _, found in verify(project) for p in found]


def test_nothing_is_wrong(worked_on):
    assert problems(worked_on) == []
    assert len(list((worked_on / "cases/c0001/history").iterdir())) == 2


def test_a_journal_with_a_flipped_byte(worked_on):
    path = worked_on / "cases/c0001/journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"ana", b"eve")
    path.write_bytes(b"".join(lines))
    (told,) = [p for p in problems(worked_on) if "checksum" in p]
    assert "cases/c0001/journal.jsonl, line 3" in told and "backup" in told


@pytest.mark.parametrize("change", ["gone", "flipped", "truncated"])
def test_a_history_that_is_damaged(worked_on, change):
    path = worked_on / "cases/c0001/history/0001.jsonl.gz"
    if change == "gone":
        path.unlink()
    elif change == "truncated":
        path.write_bytes(path.read_bytes()[:-30])
    else:
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"ana", b"eve")))
    assert any("history/0001.jsonl.gz" in p for p in problems(worked_on))


def test_a_truncated_or_changed_mask_is_written_again(worked_on):
    path = worked_on / "cases/c0001/mask.nii.gz"
    good = path.read_bytes()
    path.write_bytes(good[:-40])
    assert any("its file can't be used" in p for p in problems(worked_on))
    path.write_bytes(good)
    image = nibabel.load(path)
    voxels = np.asarray(image.dataobj).copy()
    voxels[0, 0, 0] = 1
    nibabel.save(nibabel.Nifti1Image(voxels, image.affine), path)
    assert any("differs from the journal in 1 voxels" in p for p in problems(worked_on))
    path.unlink()
    with Project.open(worked_on) as project:
        project.open_case("c0001").close()
    assert problems(worked_on) == []


def test_sources_that_are_gone_or_changed(worked_on, scan):
    kept = scan.read_bytes()
    scan.unlink()
    assert any("can't be found" in p and "relocate" in p for p in problems(worked_on))
    write_scan(scan, spacing=2.0)
    told = " ".join(problems(worked_on))
    assert "has changed" in told and "geometry" in told
    scan.write_bytes(kept)
    assert problems(worked_on) == []


def test_references(worked_on):
    shutil.copytree(worked_on / "cases/c0001", worked_on / "cases/c0007")
    assert any("cases/c0007 belongs to no study" in p for p in problems(worked_on))
    studies = worked_on / "studies.json"
    document = json.loads(studies.read_text())
    document["studies"].append(document["studies"][0] | {"case": "c0007"})
    studies.write_text(json.dumps(document))
    assert any(p.startswith("c0007: The journal has records of c0001") for p in problems(worked_on))
    project = worked_on / "project.json"
    project.write_text(json.dumps(json.loads(project.read_text()) | {"classes": []}))
    assert any("Labels [1] of the mask have no class" in p for p in problems(worked_on))
