"""``medclipsam demo``: the sample brain with the first prompt answered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_medclipsam.cli.preview import draw_mask, draw_prompts, draw_saliency, render_preview, write_png
from napari_medclipsam.cli.progress import progress_bar
from napari_medclipsam.errors import ImageError, OutputError
from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.pipeline import PipelineOptions, segment_volume
from napari_medclipsam.reading_view import ReadingView, reading_view
from napari_medclipsam.results import SliceResult
from napari_medclipsam.saliency.pair import load_pair
from napari_medclipsam.samples import SAMPLE_TEXT, sample_brain, write_volume
from napari_medclipsam.wording import slice_place

# Slices shown to the model beyond the lesion on either side, so that the end of the mask is its own doing.
_BEYOND = 6


@dataclass(frozen=True, eq=False)
class _Answer:
    """The sample and what the model found in the slices about its lesion; arrays are as in ``view.turned``."""

    view: ReadingView
    truth_zyx: np.ndarray
    label_zyx: np.ndarray
    saliency_zyx: np.ndarray
    best_index: int
    best: SliceResult


def run(args: Namespace) -> int:
    """Open napari with the question asked, or write pictures of the answer."""
    if args.headless is None:
        _open_napari(args.device)
        return 0
    answer = _answer(args.device)
    overlap = dice(answer.label_zyx > 0, answer.truth_zyx)
    # Flushed, for a window takes its time and the next line may be long in coming through a pipe.
    print(f'"{SAMPLE_TEXT}" on the sample brain: Dice {overlap:.2f} with the simulated lesion.', flush=True)
    written = _write_pictures(answer, args.headless)
    if _window_drawn(args.headless, args.device):
        written.append(args.headless / "window.png")
    else:
        print("No window can be drawn here: window.png is left out.")
    print("Written:")
    for path in written:
        print(f"  {path}")
    return 0


def _has_display() -> bool:
    """Tell whether a window can be opened; only Linux can be without a display server."""
    return not sys.platform.startswith("linux") or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))


def _answer(device: str | None) -> _Answer:
    """Ask for the lesion in every slice that it touches and a few beyond."""
    volume, mask_zyx = sample_brain()
    grounder, segmenter = load_pair("lite", device)
    view = reading_view(volume)
    truth = view.to_turned(mask_zyx)
    touched = np.flatnonzero(truth.any(axis=(1, 2)))
    indices = range(max(0, touched[0] - _BEYOND), min(len(truth), touched[-1] + _BEYOND + 1))
    label, saliency = np.zeros(truth.shape, np.uint8), np.zeros(truth.shape, np.float32)
    # Three points show what point prompts would be; the box and the saliency decide the mask.
    options = PipelineOptions(n_positive=3)
    best: tuple[int, SliceResult] | None = None
    with progress_bar(len(indices), "slices") as bar:
        for index, result in segment_volume(view.turned, SAMPLE_TEXT, grounder, segmenter, options, indices=indices):
            label[index], saliency[index] = result.label_yx, result.saliency_yx
            if best is None or np.count_nonzero(result.label_yx) > np.count_nonzero(best[1].label_yx):
                best = (index, result)
            bar.update()
    if best is None:
        raise ImageError("The sample brain has no lesion; reinstall the package.")
    return _Answer(view, truth, label, saliency, *best)


def _write_pictures(answer: _Answer, folder: Path) -> list[Path]:
    """Write what was found and the sample itself; returns the files."""
    image = answer.view.turned.slice_pixels(answer.best_index)
    result = answer.best
    place = slice_place(answer.view.stored_index(answer.best_index), answer.view.turned.n_slices())
    caption = f"Sample brain, {place}"
    pictures = {
        folder / "overview.png": render_preview(image, result, caption, answer.view.sides),
        folder / "saliency.png": draw_saliency(image, result.saliency_yx),
        folder / "prompts.png": draw_prompts(image, result),
        folder / "mask.png": draw_mask(image, result),
    }
    for path, pixels in pictures.items():
        write_png(pixels, path)
    # A volume to try `medclipsam segment` on.
    volume = folder / "brain.nii.gz"
    write_volume(answer.view.stored, volume)
    return [*pictures, volume]


def _open_napari(device: str | None) -> None:
    """Open the sample with the dock and the first question, and wait until the window is closed."""
    if not _has_display():
        raise OutputError(
            "There is no display to open napari on; to write pictures instead: medclipsam demo --headless OUT"
        )
    try:
        import napari

        from napari_medclipsam.widgets._demo import open_demo
    except ImportError as error:
        raise OutputError("napari is not installed here; run: pip install 'napari-medclipsam[all]'") from error
    open_demo(device)
    napari.run()


def _window_drawn(folder: Path, device: str | None) -> bool:
    """Write a picture of the real window, on a virtual screen where there is no other; False where that can't be."""
    screen: list[str] = []
    if not _has_display():
        virtual = shutil.which("xvfb-run")
        if virtual is None:
            return False
        screen = [virtual, "--auto-servernum", "--server-args=-screen 0 1600x1000x24 +extension GLX"]
    # A process of its own: where OpenGL is broken it ends without a Python error.
    command = [
        *screen,
        sys.executable,
        "-m",
        "napari_medclipsam.widgets._demo",
        str(folder),
        *([device] if device else []),
    ]
    return subprocess.run(command, capture_output=True).returncode == 0
