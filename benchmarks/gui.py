"""How long a reader waits in a real napari window: answers, stalls, scrolling, a large volume.

    scripts/with-display python benchmarks/gui.py DATA [PART...]

DATA holds volumes/lgg. PARTS (default: all): ``opening``, ``answers`` (256 x 256 a slice), ``scrolling`` and ``work``
(the sample brain, 189 slices of 233 x 197), ``large`` (512 x 512 x 300), ``project`` (the same size, in a project). A
time ends when a whole frame has been drawn after the answer. A stall is the longest gap between two ticks of a 2 ms
timer on the GUI thread. The images are of a patient whose images are for training: no accuracy is measured here.
Every part gets a process of its own.
Writes benchmarks/results/window.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gui_project import project
from napari_medclipsam.annotation.worker_events import Done

RESULTS = Path(__file__).parent / "results"
TEXT = "brain tumor"
PARTS = ("opening", "answers", "scrolling", "work", "large", "project")
LARGE_ZYX = (300, 512, 512)
_TICK_MS = 2

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))


class Watch:
    """Ticks on the GUI thread, frames of the canvas, and slices that were encoded.

    Parameters
    ----------
    window : Window
        The napari window.
    """

    def __init__(self, window: Any) -> None:
        from qtpy.QtCore import Qt, QTimer

        from napari_medclipsam.annotation.requests import EmbedRequest

        self.frames, self.drawn_at, self.longest_ms = 0, 0.0, 0.0
        self.encoded: set[int] = set()
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(_TICK_MS)
        scene = window.viewer.window._qt_viewer.canvas._scene_canvas
        scene.events.draw.connect(self._drawn, position="last")
        run = EmbedRequest.run

        def recorded(request: EmbedRequest, *args: Any) -> None:
            run(request, *args)
            self.encoded.add(request.at.index)

        EmbedRequest.run = recorded  # type: ignore[method-assign]

    def _tick(self) -> None:
        now = time.perf_counter()
        self.longest_ms = max(self.longest_ms, 1000 * (now - self._last) - _TICK_MS)
        self._last = now

    def _drawn(self, event: Any) -> None:
        self.frames += 1
        self.drawn_at = time.perf_counter()

    def until(self, done: Callable[[], bool], timeout_s: float = 30) -> float:
        """Run Qt's event loop, as napari does, until something is so; returns the seconds."""
        from qtpy.QtCore import QEventLoop

        started, loop = time.perf_counter(), QEventLoop()

        def check() -> None:
            if done() or time.perf_counter() - started > timeout_s:
                loop.quit()

        self._timer.timeout.connect(check)
        loop.exec()
        self._timer.timeout.disconnect(check)
        if not done():
            raise TimeoutError
        return time.perf_counter() - started

    def rest(self, seconds: float) -> None:
        """Let Qt work for a while."""
        end = time.perf_counter() + seconds
        self.until(lambda: time.perf_counter() >= end)

    def stall_ms(self, do: Callable[[], None]) -> float:
        """Return the longest stall while something is done."""
        self.rest(0.2)
        self.longest_ms = 0.0
        do()
        return self.longest_ms


def milliseconds(seconds: list[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    median, p95 = np.percentile(seconds, (50, 95))
    return {"n": len(seconds), "median ms": 1000 * float(median), "p95 ms": 1000 * float(p95)}


class Desk:
    """A window with a patient in it, the dock open, and a watch on it."""

    def __init__(self, window: Any, watch: Watch, truth_zyx: np.ndarray) -> None:
        self.window, self.watch, self.truth_zyx = window, watch, truth_zyx
        self.dock, self.viewer = window.dock, window.viewer

    @property
    def workspace(self) -> Any:
        """The dock's workspace."""
        return self.dock.workspace

    def go(self, index: int, *, encoded: bool = True) -> None:
        """Show a slice, and wait until it is encoded."""
        self.viewer.dims.set_current_step(0, index)
        if encoded:
            self.watch.until(lambda: index in self.watch.encoded)
            # Its neighbours too, so that nothing else runs.
            self.watch.rest(0.2)

    def seconds_until_drawn(self, do: Callable[[], None]) -> float:
        """Do something that asks the models; seconds until a whole frame was drawn after their last answer."""
        work, watch = self.workspace.work, self.watch
        # The layers take an answer in before Qt draws again: the next frame shows it.
        answered_at = watch.frames

        def answer(event: Any) -> None:
            nonlocal answered_at
            if isinstance(event, Done):
                answered_at = watch.frames
                # An answer that changes nothing draws nothing by itself.
                self.window.canvas.update()

        work.happened.connect(answer)
        started = time.perf_counter()
        do()
        if not work._pending:
            # A box that was answered while it was drawn changes nothing more: a frame to end with.
            self.window.canvas.update()
        watch.until(lambda: not work._pending and not work.worker.is_busy and watch.frames > answered_at)
        work.happened.disconnect(answer)
        return watch.drawn_at - started


def opening(window: Any, watch: Watch) -> dict[str, float]:
    """How long until the dock and the image beside it are drawn, and until the models are ready."""
    started, frames = time.perf_counter(), watch.frames
    _, window.dock = window.viewer.window.add_plugin_dock_widget("napari-medclipsam", "MedCLIP-SAM")
    from qtpy.QtWidgets import QApplication

    QApplication.processEvents()
    window.canvas.update()
    watch.until(lambda: watch.frames > frames)
    shown = watch.drawn_at - started
    watch.longest_ms = 0.0
    watch.until(lambda: "ready" in window.dock.status.model.text(), 120)
    return {
        "dock open s": shown,
        "models ready s": time.perf_counter() - started,
        "stall while the models load ms": watch.longest_ms,
    }


def answers(desk: Desk) -> dict[str, Any]:
    """Clicks, boxes and texts on slices that are encoded, and texts on slices that are not."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    window, rng = desk.window, np.random.default_rng(0)
    inside = np.flatnonzero(desk.truth_zyx.sum(axis=(1, 2)) > 200)
    clicks, boxes, texts, cold = [], [], [], []
    button, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    for index in inside[:: max(1, len(inside) // 8)][:8]:
        desk.go(int(index))
        for _ in range(3):
            desk.dock.verbs.clear()
            texts.append(_ask(desk))
        desk.dock.verbs.clear()
        desk.dock.verbs.use_tool("point")
        ys, xs = np.nonzero(desk.truth_zyx[index])
        for turn in range(6):
            where = int(rng.integers(len(ys)))
            outside = turn % 3 == 2
            place = window.position(float(xs[where]) + 30 * outside, float(ys[where]))
            held = Qt.KeyboardModifier.ControlModifier if outside else none
            QTest.mouseMove(window.canvas, place)
            desk.watch.rest(0.1)
            clicks.append(
                desk.seconds_until_drawn(lambda p=place, h=held: QTest.mouseClick(window.canvas, button, h, p))
            )
        desk.dock.verbs.clear()
        desk.dock.verbs.use_tool("box")
        for _ in range(3):
            boxes.append(_box(desk, xs, ys))
            desk.dock.verbs.clear()
    low, high = desk.workspace.image.contrast_limits
    for step in range(1, 11):
        # With another contrast a slice is another picture, which was never encoded.
        desk.workspace.image.contrast_limits = (low, high * (1 + 0.01 * step))
        cold.append(_ask(desk, typing_s=0.0))
        desk.dock.verbs.clear()
    return {
        "click": milliseconds(clicks),
        "box": milliseconds(boxes),
        "text": milliseconds(texts),
        "text, slice not encoded": milliseconds(cold),
    }


def _ask(desk: Desk, typing_s: float = 1.0) -> float:
    """Type the text; seconds from Enter to the mask."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    field = desk.dock.find_row.field
    field.setFocus()
    field.setText(TEXT)
    desk.watch.rest(typing_s)
    return desk.seconds_until_drawn(lambda: QTest.keyClick(field, Qt.Key.Key_Return))


def _box(desk: Desk, xs: np.ndarray, ys: np.ndarray) -> float:
    """Draw a box around the truth; seconds from letting go to the mask."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    window, left, none = desk.window, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    start = np.array((xs.min() - 2.0, ys.min() - 2.0))
    end = np.array((xs.max() + 2.0, ys.max() + 2.0))
    path = [window.position(*(start + (end - start) * step / 8)) for step in range(9)]
    QTest.mouseMove(window.canvas, path[0])
    QTest.mousePress(window.canvas, left, none, path[0])
    for place in path[1:]:
        QTest.mouseMove(window.canvas, place)
        desk.watch.rest(0.05)
    return desk.seconds_until_drawn(lambda: QTest.mouseRelease(window.canvas, left, none, path[-1]))


def scrolling(desk: Desk) -> dict[str, Any]:
    """Scroll at 10 slices a second with stops of 1 s; click just before the slice changes."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    session, n = desk.workspace.session, len(desk.truth_zyx)
    ready, wrong, index, asked = [], 0, 3, set()
    desk.dock.verbs.use_tool("point")

    def scroll() -> None:
        nonlocal index, wrong
        while index < n - 8:
            for _ in range(6):
                index += 1
                desk.go(index, encoded=False)
                desk.watch.rest(0.1)
            desk.watch.rest(1.0)
            ready.append(index in desk.watch.encoded)
            rows, columns = desk.truth_zyx.shape[1:]
            place = desk.window.position(columns / 2, rows / 2)
            QTest.mouseClick(desk.window.canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
            asked.add(index)
            desk.watch.rest(0.02)
            index += 1
            desk.go(index, encoded=False)
            desk.watch.rest(0.1)
            wrong += bool(set(np.flatnonzero(session.proposed.any(axis=(1, 2))).tolist()) - asked)

    stall = desk.watch.stall_ms(scroll)
    desk.watch.until(lambda: not desk.workspace.work.worker.is_busy)
    drawn = set(np.flatnonzero(session.proposed.any(axis=(1, 2))).tolist())
    return {
        "stops of 1 s": len(ready),
        "encoded at the end of the stop": float(np.mean(ready)),
        "slices clicked": len(asked),
        "masks on a slice that was not clicked": wrong + len(drawn - asked),
        "stall ms": stall,
    }


def napari_alone(window: Any, watch: Watch) -> dict[str, float]:
    """Scroll as `scrolling` does before there is a dock: what napari itself takes on this machine."""

    def scroll() -> None:
        for index in range(40, 80):
            window.viewer.dims.set_current_step(0, index)
            watch.rest(0.1)

    scroll()
    return {"stall without the dock ms": watch.stall_ms(scroll)}


def work(desk: Desk) -> dict[str, float]:
    """Stalls of the GUI thread during encoding ahead, propagation and the whole volume."""
    worker = desk.workspace.work.worker
    centre = int(desk.truth_zyx.sum(axis=(1, 2)).argmax())
    found = {}

    def finish() -> None:
        desk.watch.rest(0.3)
        desk.watch.until(lambda: not worker.is_busy, 300)
        desk.watch.rest(0.3)

    desk.viewer.dims.set_current_step(0, 0)
    found["encoding ahead"] = desk.watch.stall_ms(lambda: (desk.go(2, encoded=False), desk.watch.rest(4.0)))
    desk.go(centre)
    desk.dock.find_row.field.setText(TEXT)
    desk.dock.ask(TEXT)
    finish()
    desk.dock.verbs.accept()
    found["propagation"] = desk.watch.stall_ms(lambda: (desk.dock.verbs.propagate(), finish()))
    found["accept all"] = desk.watch.stall_ms(lambda: (desk.dock.verbs.accept_all(), desk.watch.rest(0.5)))
    found["whole volume"] = desk.watch.stall_ms(lambda: (desk.dock.verbs.whole_volume(), finish()))
    return {f"longest stall, {name}, ms": value for name, value in found.items()}


def large(window: Any, watch: Watch) -> dict[str, float]:
    """A volume of 512 x 512 x 300: opening it after it was read, painting and accepting a slice, memory."""
    from qtpy.QtWidgets import QApplication

    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 2000, LARGE_ZYX, np.int16)
    before = _resident_mb()
    started = time.perf_counter()
    layer = window.viewer.add_image(voxels, name="large", scale=(1.5, 0.7, 0.7))
    window.dock.workspace.label(layer)
    QApplication.processEvents()
    opened = time.perf_counter() - started
    workspace = window.dock.workspace
    window.viewer.dims.set_current_step(0, 150)
    workspace.ensure_layers()
    watch.rest(1.0)
    session = workspace.session
    masks, painted, accepted = workspace.masks.masks, [], []
    label = session.classes.add(TEXT).label
    for k in range(10):
        masks.selected_label, masks.brush_size = label, 20
        started = time.perf_counter()
        masks.paint((150, 100 + 10 * k, 200), label)
        painted.append(time.perf_counter() - started)
        watch.rest(0.1)
    for index in range(160, 170):
        window.viewer.dims.set_current_step(0, index)
        session.add_point(workspace.at, 250.0, 250.0, True)
        workspace.ask_masks()
        watch.rest(0.2)
        watch.until(lambda: not workspace.work.worker.is_busy)
        watch.rest(0.2)
        started = time.perf_counter()
        window.dock.verbs.accept()
        accepted.append(time.perf_counter() - started)
    return {
        "open s": opened,
        "paint p95 ms": milliseconds(painted)["p95 ms"],
        "accept p95 ms": milliseconds(accepted)["p95 ms"],
        "image MB": voxels.nbytes / 1e6,
        "memory added, images": (_resident_mb() - before + voxels.nbytes / 1e6) / (voxels.nbytes / 1e6),
    }


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    args = parser.parse_args()
    if len(args.parts) != 1:
        for part in args.parts or PARTS:
            subprocess.run([sys.executable, __file__, str(args.data), part], check=True)
        return
    part = args.parts[0]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDCLIPSAM_CACHE"] = os.environ["MEDCLIPSAM_SETTINGS"] = folder
        found = measure(args.data, part)
    print(json.dumps({part: found}, indent=2))
    path = RESULTS / "window.json"
    kept = json.loads(path.read_text("utf-8"))["window"] if path.exists() else {}
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"window": kept | {part: found}}, indent=2) + "\n", "utf-8")


def open_patient(window: Any, data: Path) -> np.ndarray:
    """Open the FLAIR volume of a patient, 256 x 256 a slice; returns the mask of the tumour."""
    from napari_medclipsam.images.io import read_image, read_mask
    from napari_medclipsam.napari_io import METADATA_KEY

    flair = sorted((data / "volumes" / "lgg").glob("*_flair.nii.gz"))[0]
    window.viewer.open(flair, plugin="napari-medclipsam")
    stored = read_mask(flair.with_name(flair.name.replace("_flair", "_tumor")), read_image(flair)) > 0
    return np.asarray(window.viewer.layers[0].metadata[METADATA_KEY].views[0].to_turned(stored))


def open_sample(window: Any) -> np.ndarray:
    """Open the sample brain, 189 slices of 233 x 197; returns the mask of its lesion."""
    from napari_medclipsam.widgets._demo import add_sample

    add_sample(window.viewer)
    return np.asarray(window.viewer.layers["simulated lesion"].data) > 0


def measure(data: Path, part: str) -> dict[str, Any]:
    """Open the window and measure a part."""
    from window import Window

    window = Window()
    truth_zyx = open_patient(window, data) if part in ("opening", "answers") else open_sample(window)
    watch = Watch(window)
    watch.rest(1.0)
    alone = napari_alone(window, watch) if part == "scrolling" else {}
    found = opening(window, watch)
    if part == "large":
        found = large(window, watch)
    elif part == "project":
        found = project(window, watch)
    elif part != "opening":
        found = {"answers": answers, "scrolling": scrolling, "work": work}[part](Desk(window, watch, truth_zyx))
    window.close()
    return found | alone


if __name__ == "__main__":
    main()
