"""What is left after a power cut: what was synced, and of the rest nothing, or anything."""

from __future__ import annotations

import os
import random
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from acts import MODEL
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.projects import compaction
from napari_medclipsam.projects.journal import read_journal
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import images_in

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds a file's name through /proc")

AT = [SliceAt.across(0, index) for index in range(4)]


class Disk:
    """Notes what of a folder a power cut would leave: files as last synced, folders with the names last synced."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._root = root
        self._files: dict[int, bytes] = {}
        self._names: dict[int, dict[str, tuple[int, bool]]] = {}
        self._real = os.fsync
        for path in [root, *root.rglob("*")]:
            self._note(path)
        monkeypatch.setattr(os, "fsync", self._fsync)

    def _fsync(self, handle: int) -> None:
        # Before: what is written meanwhile may be left out.
        self._note(Path(f"/proc/self/fd/{handle}").readlink())
        self._real(handle)

    def _note(self, path: Path) -> None:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            self._names[status.st_ino] = {e.name: (e.inode(), e.is_dir()) for e in os.scandir(path)}
        else:
            self._files[status.st_ino] = path.read_bytes()

    def cut(self, target: Path, rng: random.Random | None = None) -> Path:
        """Write what is left to another folder; with `rng`, parts of what was not synced are there too."""
        self._write(self._root.stat().st_ino, target, self._root, rng)
        return target

    def _write(self, inode: int, target: Path, now: Path, rng: random.Random | None) -> None:
        target.mkdir()
        for name, (inner, is_folder) in self._names.get(inode, {}).items():
            if is_folder:
                self._write(inner, target / name, now / name, rng)
                continue
            left = self._files.get(inner, b"")
            if rng is not None and (now / name).exists() and (now / name).stat().st_ino == inner:
                left += self._torn((now / name).read_bytes()[len(left) :], rng)
            (target / name).write_bytes(left)

    @staticmethod
    def _torn(unsynced: bytes, rng: random.Random) -> bytes:
        some = bytearray(unsynced[: rng.randint(0, len(unsynced))])
        if some and rng.random() < 0.5:
            start = rng.randrange(len(some))
            some[start : start + 64] = bytes(len(some[start : start + 64]))
        return bytes(some)


def test_the_simulation_drops_what_was_not_synced(tmp_path, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    disk = Disk(root, monkeypatch)
    with open(root / "a", "wb") as file:
        file.write(b"kept")
        file.flush()
        os.fsync(file.fileno())
        file.write(b"lost")
    assert list(disk.cut(tmp_path / "without name").iterdir()) == []
    handle = os.open(root, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
    assert (disk.cut(tmp_path / "with name") / "a").read_bytes() == b"kept"


@pytest.mark.parametrize("leaves_parts", [False, True])
def test_nothing_accepted_is_lost(tmp_path, scan, monkeypatch, leaves_parts):
    monkeypatch.setattr(compaction, "MOST_RECORDS", 8)
    monkeypatch.setattr(compaction, "KEPT_RECORDS", 3)
    folder = tmp_path / "project"
    with Project.create(folder) as project:
        list(project.add(images_in(scan), copy=True))
    disk, rng, n_cuts = Disk(folder, monkeypatch), random.Random(0), 0
    for _ in range(4):
        project = Project.open(folder)
        case = project.open_case("c0001")
        for at in AT[:3]:
            case.session.apply(case.session.plan_text(at, rng.choice(["disk", "square"])).run(MODEL, MODEL))
            assert "disk is" not in case.session.accept(at).message
            expected = case.session.labels.copy()
            if rng.random() < 0.3:
                case.session.undo()
                expected = case.session.labels.copy()
            case.looked_at(AT[3])
            left = disk.cut(tmp_path / f"cut{n_cuts}", rng if leaves_parts else None)
            n_cuts += 1
            with Project.open(left) as again, again.open_case("c0001") as resumed:
                np.testing.assert_array_equal(resumed.session.labels, expected)
                assert {c.name for c in again.classes} >= {c.name for c in project.classes}
        project.close()
    assert read_journal(folder / "cases" / "c0001" / "journal.jsonl").records[0]["verb"] == "snapshot"


def test_a_project_that_was_just_made_is_there(tmp_path, scan, monkeypatch):
    disk = Disk(tmp_path, monkeypatch)
    with Project.create(tmp_path / "project", ["disk"]) as project:
        list(project.add(images_in(scan), copy=True))
    monkeypatch.undo()
    left = disk.cut(tmp_path.with_name(tmp_path.name + "-cut"))
    with Project.open(left / "project") as project:
        project.open_case("c0001").close()
