"""How long a click takes to decode while the worker trains, beside the same click while it is held.

    python benchmarks/clicks_while_training.py [--pairs 80]

As in the window, but without one: this process has medclipsam-lite loaded and supervises the worker, which practises
clicks (the learner `decoder`) on a project of simulated slices. A click first tells the worker that the user acts and
then decodes, at once; so it meets a worker in the middle of a step, which is the worst there is: of clicks in a row
only the first does. A second click comes while the worker is held because of the first. First clicks on a slice and
corrections take turns. Pairs, so that what else the machine does falls on both alike. Writes
benchmarks/results/clicks_while_training.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

# First, for it makes the helpers of the tests importable.
import worker as kills  # isort: skip

from projects_to_learn import project_of

from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.contracts import Budget, Settings
from napari_medclipsam.learning.run import Request
from napari_medclipsam.learning.worker import IDLE_S, Worker
from napari_medclipsam.models.contracts import PromptSet
from napari_medclipsam.models.registry import load
from synthetic import picture

RESULTS = Path(__file__).parent / "results"
N_SLICES = 4
# What the worker's ear for commands may take of 0.2 s while the work is held: two ticks of the system's clock.
EAR_S = 0.02


def clicks(model: Any, rng: np.random.Generator) -> list[tuple[Any, PromptSet]]:
    """Return embeddings with a first click, and with a correction of what that gave."""
    pixels, masks = picture("disk", "square")
    inside = np.argwhere(masks["disk"]).mean(0)[::-1].astype(np.float32)
    found = []
    for _ in range(N_SLICES):
        noisy = np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
        embedding = model.embed(Slice(noisy))
        first = PromptSet(inside[None], np.ones(1))
        logits = model.masks(embedding, first).logits_yx
        second = PromptSet(np.stack([inside, inside + 2]), np.array([1, 0]), mask_logits_yx=logits)
        found += [(embedding, first), (embedding, second)]
    return found


def timed(worker: Worker, model: Any, click: tuple[Any, PromptSet]) -> float:
    """Return how long a click takes, in ms."""
    start = time.perf_counter()
    worker.user_acts()
    model.masks(*click)
    return 1e3 * (time.perf_counter() - start)


def measured(folder: Path, n_pairs: int) -> dict[str, list[float]]:
    """Return the times of clicks, beside the training and while it is held."""
    rng = random.Random(0)
    model = load("lite", "cpu")
    asked = clicks(model, np.random.default_rng(0))
    worker = Worker(project_of(folder, 4))
    worker.start(Request("decoder", Settings("cpu", budget=Budget(3600.0))))
    times: dict[str, list[float]] = {"training": [], "held": []}
    try:
        kills.wait_for(worker._project, ("fitting",))
        child = worker._process.find() if worker._process else None
        for number in range(n_pairs):
            time.sleep(IDLE_S + rng.uniform(0.2, 1.0))
            wait_until_at_work(child)
            times["training"].append(timed(worker, model, asked[number % len(asked)]))
            time.sleep(rng.uniform(0.6, 1.4))
            before = _used(child)
            time.sleep(0.2)
            if _used(child) > before + EAR_S:
                raise RuntimeError("the worker goes on while the user acts")
            times["held"].append(timed(worker, model, asked[number % len(asked)]))
    finally:
        worker.cancel()
    return times


def wait_until_at_work(process: psutil.Process | None) -> None:
    """Return when the worker uses the processor; beside much other work its low priority may keep it waiting."""
    before, deadline = _used(process), time.monotonic() + kills.PATIENCE_S
    while _used(process) == before:
        if time.monotonic() > deadline:
            raise RuntimeError("the worker does not go on when nobody acts")
        time.sleep(0.01)


def _used(process: psutil.Process | None) -> float:
    """Return the processor time of the worker in s."""
    if process is None:
        raise RuntimeError("the worker has ended")
    return float(sum(process.cpu_times()[:2]))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=80)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        times = measured(Path(name) / "project", args.pairs)
    found: dict[str, Any] = {"n": args.pairs, "load of the machine": round(os.getloadavg()[1], 1)}
    for when, values in times.items():
        found[when] = {"median ms": float(np.median(values)), "p95 ms": float(np.quantile(values, 0.95))}
    found["p95, training / held"] = found["training"]["p95 ms"] / found["held"]["p95 ms"]
    print(json.dumps(found))
    path = RESULTS / "clicks_while_training.json"
    path.write_text(json.dumps({"clicks_while_training": found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
