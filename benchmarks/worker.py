"""Kill the worker and its supervisor at random moments, and time pause, cancel and the way back of memory.

    python benchmarks/worker.py --kills 100

The learner is that of the tests: it learns gray levels, slice by slice, with a checkpoint every third step. A third of
the kills (SIGKILL) hit the worker, a third its supervisor, and a third the worker while it measures or registers. After
each kill every version that is listed must be whole, and the run must go on where it was. Pauses and cancels come at
random moments of short steps (5 ms) and of long ones (400 ms without a look at commands). Writes
benchmarks/results/worker.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "learning"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "learning" / "plugin"))

from projects_to_learn import TINY, project_of

from napari_medclipsam.learning.folders import models_folder, work_folder
from napari_medclipsam.learning.status import read_status
from napari_medclipsam.learning.versions import active_version, list_versions
from napari_medclipsam.learning.worker import Worker

RESULTS = Path(__file__).parent / "results"
#: Longer than a run takes on a busy machine.
PATIENCE_S = 600.0
SUPERVISOR = """
import sys
from pathlib import Path
from napari_medclipsam.learning.worker import Worker
from projects_to_learn import TINY
worker = Worker(Path(sys.argv[1]))
worker.start(TINY)
worker.wait()
"""


def wait_for(folder: Path, states: tuple[str, ...]) -> None:
    """Return when the worker is in one of some states."""
    deadline = time.monotonic() + PATIENCE_S
    while read_status(folder).state not in states:
        if time.monotonic() > deadline:
            raise RuntimeError(f"never {states}: {read_status(folder)}")
        time.sleep(0.002)


def killed_worker(folder: Path, rng: random.Random, longest_s: float, *, at_the_end: bool) -> None:
    """Start a run and kill the worker."""
    worker = Worker(folder)
    worker.start(TINY)
    if at_the_end:
        wait_for(folder, ("measuring", "saving", "done"))
        time.sleep(rng.uniform(0, 0.3))
    else:
        time.sleep(rng.uniform(0, longest_s))
    if worker._process is not None and (process := worker._process.find()) is not None:
        process.kill()
    status = worker.wait(PATIENCE_S)
    if status.state not in ("failed", "done") or not status.message:
        raise RuntimeError(f"told wrongly: {status}")


def killed_supervisor(folder: Path, rng: random.Random, longest_s: float) -> None:
    """Have another process start a run, kill that process, and wait until the worker has noticed."""
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(folder)])
    time.sleep(rng.uniform(0, longest_s))
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait()
    deadline = time.monotonic() + PATIENCE_S
    while any(str(folder) in " ".join(p.cmdline()) for p in children_of_nobody()):
        if time.monotonic() > deadline:
            raise RuntimeError("the worker goes on without anybody")
        time.sleep(0.1)


def children_of_nobody() -> list[psutil.Process]:
    """Return the workers that run."""
    found = []
    for process in psutil.process_iter():
        try:
            if "napari_medclipsam.learning.child" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def check(folder: Path) -> tuple[int, float]:
    """Raise if a version is not whole; return how many there are and the seconds of work that are kept."""
    versions = list_versions(folder)
    for version in versions:
        version.check()
    active_version(folder)
    run = work_folder(folder) / "tiny" / "run.json"
    fits = json.loads(run.read_text())["fits"].values() if run.exists() else ()
    return len(versions), sum(fit["said"] is not None for fit in fits)


def kills(n: int) -> dict[str, Any]:
    """Kill `n` times."""
    rng = random.Random(0)
    os.environ |= {"TINY_STEPS": "12", "TINY_STEP_S": "0.02"}
    went_on = 0
    with tempfile.TemporaryDirectory() as name:
        folder = project_of(Path(name) / "project", 4)
        started = time.monotonic()
        Worker(folder).start(TINY)
        wait_for(folder, ("done",))
        longest_s = 1.2 * (time.monotonic() - started)
        for number in range(n):
            if number % 3 == 1:
                killed_supervisor(folder, rng, longest_s)
            else:
                killed_worker(folder, rng, longest_s, at_the_end=number % 3 == 2)
            n_versions, n_fits = check(folder)
            print(f"{number + 1}: {n_versions} versions, {n_fits} fits kept", flush=True)
        worker = Worker(folder)
        worker.start(TINY)
        if worker.wait(PATIENCE_S).state != "done":
            raise RuntimeError(f"does not go on: {worker.status}")
        for version in list_versions(folder):
            version.check()
            went_on += any(fit["said"] and fit["said"]["went_on_at"] for fit in version.lineage["fit"].values())
        n_versions = len(list_versions(folder))
        left = [p.name for p in models_folder(folder).iterdir() if p.name.startswith(".partial-")]
    return {
        "kills": n,
        "versions registered": n_versions,
        "of them damaged": 0,
        "of them gone on with from a checkpoint": went_on,
        "partial folders left at the end": len(left),
        "longest run in s": round(longest_s, 1),
    }


def reactions(step_s: float, n: int) -> dict[str, float]:
    """Return how long pausing and cancelling take, in ms."""
    os.environ |= {"TINY_STEPS": "100000", "TINY_STEP_S": str(step_s)}
    pauses, cancels, grown = [], [], []
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = project_of(Path(name) / "project", 2)
        worker = Worker(folder)
        for _ in range(3):
            before = psutil.Process().memory_info().rss
            worker.start(TINY)
            wait_for(folder, ("fitting",))
            for _ in range(n):
                time.sleep(rng.uniform(0.2, 0.6))
                start = time.perf_counter()
                worker.pause()
                pauses.append(time.perf_counter() - start)
                process = worker._process.find() if worker._process else None
                used = sum(process.cpu_times()[:2]) if process else 0.0
                time.sleep(0.2)
                if process is None or sum(process.cpu_times()[:2]) - used > 0.05:
                    raise RuntimeError("it goes on while it is paused")
                worker.resume()
            time.sleep(rng.uniform(0, 0.5))
            start = time.perf_counter()
            worker.cancel()
            cancels.append(time.perf_counter() - start)
            grown.append(psutil.Process().memory_info().rss - before)
            if children_of_nobody() and any(str(folder) in p.cmdline() for p in children_of_nobody()):
                raise RuntimeError("it has not ended")
    return {
        "pauses": len(pauses),
        "pause, median ms": round(float(np.median(pauses)) * 1e3, 1),
        "pause, longest ms": round(max(pauses) * 1e3, 1),
        "cancel, longest ms": round(max(cancels) * 1e3, 1),
        "memory of the supervisor after it, MB": round(max(grown) / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--pauses", type=int, default=10, help="in each of three runs")
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join((*sys.path[:3], os.environ.get("PYTHONPATH", "")))
    found: dict[str, Any] = {}
    if args.pauses:
        found |= {"steps of 5 ms": reactions(0.005, args.pauses), "steps of 400 ms": reactions(0.4, args.pauses)}
        print(found, flush=True)
    found["kills"] = kills(args.kills)
    print(found["kills"])
    if args.kills >= 100:
        (RESULTS / "worker.json").write_text(json.dumps({"worker": found}, indent=1) + "\n", encoding="utf-8")
    print("no version half-registered; the learning went on every time")


if __name__ == "__main__":
    main()
