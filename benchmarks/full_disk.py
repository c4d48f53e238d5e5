"""Label in a real window until the disk of the project is full, free some space, go on: nothing may be lost.

    sudo scripts/with-display python benchmarks/full_disk.py [--pictures OUT]

Needs Linux and the right to mount: the project lies on a tmpfs of 1 MB, and once more on one that is made
read-only. Says what the reader was told; fails where something accepted is lost.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from window import Window

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.reader import remember_reader
from napari_medclipsam.projects.verify import verify
from napari_medclipsam.widgets import _questions as questions
from napari_medclipsam.widgets import _work
from synthetic import IntensityGrounder, RegionGrower, picture

N_SLICES = 40


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a tmpfs of 1 MB on a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def label(window: Window, indices: Iterator[int]) -> list[int]:
    """Draw and accept slices until the disk makes trouble; returns which."""
    desk, rng, done = window.dock.project, np.random.default_rng(0), []
    for index in indices:
        at = SliceAt.across(0, index)
        # Noise does not pack: a few hundred slices of a reader in one.
        labels = rng.integers(0, 2, window.dock.workspace.session.labels.shape[1:], np.uint8)
        window.dock.workspace.draw(desk.case.session.accept_drawn(at, labels))
        window.rest(0.1)
        done.append(index)
        if desk.case.trouble:
            break
    return done


def open_in(window: Window, disk: Path, scan: Path) -> Any:
    """Make a project on a disk, and open its one case."""
    desk = window.dock.project
    desk.create(disk / "project")
    desk.add([scan], copy=False)
    desk.project.classes.add("disk")
    desk.open_case("c0001")
    window.rest(0.5)
    return desk


def check(disk: Path, accepted: list[int], masks: np.ndarray) -> None:
    """Fail unless all that was accepted is in the project as it was."""
    with Project.open(disk / "project", "check") as project, project.open_case("c0001") as case:
        for index in accepted:
            assert case.session.state(SliceAt.across(0, index)).status == "accepted", index
            assert np.array_equal(case.session.labels[index], masks[index]), index
    with Project.open(disk / "project", "check") as project:
        assert not [problem for _, problems in verify(project) for problem in problems]
    print(f"  {len(accepted)} accepted slices, none lost")


def full(window: Window, folder: Path, scan: Path, pictures: Path | None) -> None:
    """Fill the disk, go on, be asked at the end, free space, and go on."""
    with small_disk(folder / "full") as disk:
        desk = open_in(window, disk, scan)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(600_000))
        accepted = label(window, iter(range(N_SLICES)))
        window.rest(1.5)
        print(f"full after {len(accepted)} slices. Told: {window.dock.status.message.text()}")
        print(f"  sign: {window.dock.case_row.state.text()}; page: {window.dock.project_page.warning.text()}")
        _picture(window, pictures, "full")
        accepted += label(window, iter([len(accepted)]))
        asked = []

        def stay(parent: Any, reason: str, n_steps: int, *, may_lose: bool) -> None:
            asked.append(f"{n_steps} steps: {reason}")

        questions.not_saved, kept = stay, questions.not_saved
        assert not desk.leave_case() and desk.case is not None
        questions.not_saved = kept
        print(f"  asked when leaving: {asked}")
        ballast.unlink()
        window.wait(lambda: not desk.case.unsaved, 20)
        window.rest(0.6)
        print(f"  space was freed. Sign: {window.dock.case_row.state.text()}")
        accepted += label(window, iter([len(accepted)]))
        masks = desk.case.session.labels.copy()
        _picture(window, pictures, "freed")
        assert desk.close()
        check(disk, accepted, masks)


def read_only(window: Window, folder: Path, scan: Path, pictures: Path | None) -> None:
    """Make the disk read-only while a case is open, then writable again."""
    with small_disk(folder / "read-only") as disk:
        desk = open_in(window, disk, scan)
        accepted = label(window, iter(range(2)))
        window.rest(0.5)
        # Not while it is open: the system does not let a disk with open files be made read-only.
        desk.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        desk.open(disk / "project")
        desk.open_case("c0001")
        window.rest(0.5)
        masks = desk.case.session.labels.copy()
        print(f"opened on a read-only disk. Page: {window.dock.project_page.warning.text()}")
        label(window, iter([5]))
        window.rest(0.5)
        print(f"  told after an accept: {window.dock.status.message.text()}; sign: {window.dock.case_row.state.text()}")
        _picture(window, pictures, "read-only")
        assert desk.close()
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        check(disk, accepted, masks)


def _picture(window: Window, folder: Path | None, name: str) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        window.picture(folder / f"{name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=Path, metavar="OUT", help="keep pictures of the window here")
    args = parser.parse_args()
    _work.load_beside_opengl = lambda name, device: (IntensityGrounder(), RegionGrower())
    remember_reader("bench")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planes = np.kron(picture("disk")[0], np.ones((4, 4), np.uint8))
        scan = folder / "scan.nii"
        nibabel.save(nibabel.Nifti1Image(np.stack([planes] * N_SLICES).T, np.eye(4)), scan)
        window = Window()
        window.open_dock()
        full(window, folder, scan, args.pictures)
        read_only(window, folder, scan, args.pictures)
        window.close()


if __name__ == "__main__":
    main()
