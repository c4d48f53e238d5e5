"""How long a large project takes to open and to rank, how much memory, and how long an accept takes beyond the disk.

    python benchmarks/project_scale.py [add]

With ``add``: how long 300 studies take to be added, by reference and as copies, beside reading and hashing them.

Makes 1,000 studies of 100 slices with 200 records each (a text per slice, then an accept or another text) in a
temporary folder, and measures in fresh processes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.projects.journal import read_journal
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.records import encode
from napari_medclipsam.projects.studies import images_in
from synthetic import Both, picture

OPEN = """
import sys, time
from pathlib import Path
import psutil
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.queue import ReviewQueue
process = psutil.Process()
before = process.memory_info().rss
started = time.perf_counter()
project = Project.open(Path(sys.argv[1]), "bench")
summaries = project.summaries()
seconds = time.perf_counter() - started
accepted = sum(s.counts["accepted"] for s in summaries.values())
started = time.perf_counter()
queue = ReviewQueue.of(project, summaries)
first = queue.items(20)
ranking = time.perf_counter() - started
started = time.perf_counter()
cases = queue.cases()
by_case = time.perf_counter() - started
started = time.perf_counter()
queue.mark(first[0].case, first[0].at, "accepted")
queue.items(1)
following = time.perf_counter() - started
after = process.memory_info().rss
print(f"{len(summaries)} studies, {accepted} accepted slices: {seconds:.2f} s; {after / 1e6:.0f} MB, "
      f"of them {(after - before) / 1e6:.0f} MB for the project; queue of {queue.progress.n_slices:,} slices: "
      f"{ranking:.2f} s, by case {by_case:.2f} s more, the next after an accept {1000 * following:.0f} ms")
"""


def scan(path: Path, n_slices: int, size: int) -> Path:
    plane = np.kron(picture("disk", "square")[0], np.ones((size // 64, size // 64), np.uint8))
    nibabel.save(nibabel.Nifti1Image(np.stack([plane] * n_slices).T, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    return path


def fill(folder: Path, image: Path, n_studies: int, n_slices: int) -> int:
    """Make the project: one case labelled for true, its journal under all ids. Returns the number of records."""
    model = Both()
    with Project.create(folder, ["disk", "square"], "bench") as project:
        ((_, study),) = project.add(images_in(image))
        with project.open_case(study.case) as case:
            for index in range(n_slices):
                at = SliceAt.across(0, index)
                case.session.apply(case.session.plan_text(at, "disk; square").run(model, model))
                if index % 2:
                    case.session.accept(at)
                else:
                    case.session.apply(case.session.plan_text(at, "disk; square").run(model, model))
        records = read_journal(project.case_folder(study.case) / "journal.jsonl").records
        summary = project.summary(study.case)
        for number in range(2, n_studies + 1):
            twin = replace(study, case=f"c{number:04d}")
            project.studies[twin.case] = twin
            project.case_folder(twin.case).mkdir(parents=True)
            lines, prev = [], ""
            for record in records:
                fields = {key: value for key, value in record.items() if key not in ("prev", "check")}
                line, prev = encode(fields | {"case": twin.case}, prev)
                lines.append(line)
            (project.case_folder(twin.case) / "journal.jsonl").write_bytes(b"".join(lines))
            size_bytes = sum(map(len, lines))
            replace(summary, size_bytes=size_bytes).write(project.case_folder(twin.case) / "summary.json")
        project._save_studies()
    return len(records) * n_studies


def accept_times(folder: Path, image: Path, n: int) -> None:
    """Print how long accepts take with and without a record, and without the time that the disk takes for fsync."""
    model = Both()
    synced: list[float] = []
    real = os.fsync

    def timed(handle: int) -> None:
        started = time.perf_counter()
        real(handle)
        synced.append(time.perf_counter() - started)

    os.fsync = timed
    times: dict[str, list[float]] = {"without a record": [], "with its record": [], "of that beyond fsync": []}
    with Project.create(folder, ["disk"], "bench") as project:
        ((_, study),) = project.add(images_in(image))
        with project.open_case(study.case) as case:
            for index in range(n):
                at = SliceAt.across(0, index)
                case.session.apply(case.session.plan_text(at, "disk; square").run(model, model))
                while case.unsaved:
                    time.sleep(0.001)
                synced.clear()
                # Every other one without a record, so that both see the same machine.
                case.session.book.recorder = case if index % 2 else None
                started = time.perf_counter()
                case.session.accept(at)
                took = time.perf_counter() - started
                case.session.book.recorder = case
                if index % 2:
                    times["with its record"].append(took)
                    times["of that beyond fsync"].append(took - sum(synced))
                else:
                    times["without a record"].append(took)
    print(f"{n} accepts of two structures on 512×512, median and p95 in ms:")
    for name, seconds in times.items():
        print(f"  {name}: {1000 * np.percentile(seconds, 50):.1f}, {1000 * np.percentile(seconds, 95):.1f}")


def add_times(folder: Path, n: int) -> None:
    """Print how long adding takes, and reading and hashing alone; volumes of 256 × 256 × 30, packed."""
    from napari_medclipsam.files import sha256_of
    from napari_medclipsam.images.io import read_image

    rng = np.random.default_rng(0)
    (folder / "scans").mkdir(parents=True)
    for number in range(n):
        voxels = rng.integers(0, 200, (256, 256, 30)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / "scans" / f"scan {number:03d}.nii.gz")
    paths = sorted((folder / "scans").iterdir())
    n_bytes = sum(path.stat().st_size for path in paths)
    started = time.perf_counter()
    for path in paths:
        read_image(path)
        sha256_of(path)
    alone = time.perf_counter() - started
    print(f"{n} volumes, {n_bytes / 1e6:.0f} MB: reading and hashing alone {alone:.1f} s")
    for name, copy in (("by reference", False), ("as copies", True)):
        started = time.perf_counter()
        with Project.create(folder / name, [], "bench") as project:
            found = images_in(folder / "scans")
            looked = time.perf_counter() - started
            assert all(not isinstance(study, Exception) for _, study in project.add(found, copy=copy))
        print(f"  {name}: {time.perf_counter() - started:.1f} s, of them looking for images {looked:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", nargs="?", choices=("add",))
    parser.add_argument("--studies", type=int, default=1000)
    args = parser.parse_args()
    if args.part == "add":
        with tempfile.TemporaryDirectory() as name:
            add_times(Path(name), 300)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        n_records = fill(folder, scan(Path(name) / "scan.nii.gz", 100, 128), args.studies, 100)
        n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{n_records:,} records, {n_bytes / 1e6:.0f} MB on disk")

        def measure(what: str) -> None:
            done = subprocess.run([sys.executable, "-c", OPEN, str(folder)], capture_output=True, text=True, check=True)
            print(f"{what}: {done.stdout.strip()}")

        measure("open")
        measure("open again")
        for number in range(2, min(12, args.studies)):
            (folder / "cases" / f"c{number:04d}" / "summary.json").unlink()
        measure("open, ten summaries missing")
        accept_times(Path(name) / "accepts", scan(Path(name) / "large.nii.gz", 200, 512), 200)


if __name__ == "__main__":
    main()
