"""The part "project" of gui.py: what an open project adds to an accept, and how long until it is on the disk."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SHAPE_ZYX = (300, 512, 512)
N_TURNS = 12
# Whatever follows an accept on the GUI thread (the poll of the project among it) has come by then.
_AFTER_S = 0.6


def project(window: Any, watch: Any) -> dict[str, Any]:
    """Accept slices of a volume of 512 x 512 x 300 in a case of a project, every other one without its journal."""
    import nibabel

    from napari_medclipsam.projects.reader import remember_reader

    remember_reader("bench")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        voxels = np.random.default_rng(0).integers(0, 2000, SHAPE_ZYX, np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels.T, np.diag([0.7, 0.7, 1.5, 1.0])), folder / "large.nii")
        desk = window.dock.project
        desk.create(folder / "project")
        desk.add([folder / "large.nii"], copy=False)
        desk.open_case("c0001")
        try:
            return _accepts(window, watch)
        finally:
            desk.close()


def _accepts(window: Any, watch: Any) -> dict[str, Any]:
    desk, workspace = window.dock.project, window.dock.workspace
    session = workspace.session
    session.classes.add("brain tumor")
    workspace.ensure_layers()
    watch.rest(2.0)
    found: dict[bool, dict[str, list[float]]] = {
        kept: {"accept": [], "stall": [], "saved": []} for kept in (True, False)
    }
    for turn in range(2 * N_TURNS):
        kept = turn % 2 == 0
        _propose(window, watch, 100 + turn)
        session.book.recorder = desk.case if kept else None
        desk._poll.start() if kept else desk._poll.stop()
        watch.rest(0.3)
        watch.longest_ms = 0.0
        started = time.perf_counter()
        window.dock.verbs.accept()
        found[kept]["accept"].append(time.perf_counter() - started)
        if kept:
            watch.until(lambda: desk.saved_text[0] == "saved")
            found[kept]["saved"].append(time.perf_counter() - started)
        watch.rest(_AFTER_S)
        found[kept]["stall"].append(watch.longest_ms / 1000)
    session.book.recorder = desk.case
    percentiles = {
        "accept, with its journal": found[True]["accept"],
        "accept, without": found[False]["accept"],
        "longest stall around an accept, with its journal": found[True]["stall"],
        "longest stall around an accept, without": found[False]["stall"],
        "accept → saved": found[True]["saved"],
    }
    return {name: _milliseconds(seconds) for name, seconds in percentiles.items()}


def _propose(window: Any, watch: Any, index: int) -> None:
    """Go to a slice and let the model propose something there."""
    workspace = window.dock.workspace
    window.viewer.dims.set_current_step(0, index)
    watch.rest(0.3)
    workspace.session.add_point(workspace.at, 250.0, 250.0, True)
    workspace.ask_masks()
    watch.until(lambda: not workspace.work.worker.is_busy)
    watch.rest(0.2)


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    median, p95, most = np.percentile(seconds, (50, 95, 100))
    return {"n": len(seconds), "median ms": 1000 * median, "p95 ms": 1000 * p95, "max ms": 1000 * most}
