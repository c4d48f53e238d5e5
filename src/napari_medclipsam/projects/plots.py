"""The figures of a report as pictures for files; those of a window are in `panels`. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.errors import OutputError
from napari_medclipsam.files import atomic_path
from napari_medclipsam.projects.report import Figures, Report
from napari_medclipsam.projects.stopping import StopCurve

# Okabe and Ito's blue and vermilion, as the classes have.
POINTS, LINE = "#56B4E9", "#D55E00"

_NO_SLICE = "No reader has accepted a slice yet."
_NO_PROPOSAL = "No proposal of a model is accepted or refused yet."


def write_plots(report: Report, folder: Path) -> list[Path]:
    """Write ``quality.png``, ``days.png`` and ``models.png`` into a folder; one without anything to draw says so.

    Raises
    ------
    OutputError
        If matplotlib is not installed, or a file can't be written.
    """
    new_figure = require_matplotlib()

    def drawn(name: str, draw: Callable[[Any], None]) -> Path:
        figure = new_figure(figsize=(8, 4.5), layout="constrained")
        draw(figure)
        with atomic_path(folder / name) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
        return folder / name

    curve = report.stop_curve()
    return [
        drawn("quality.png", lambda figure: _draw_curve_with_words(figure, curve)),
        drawn("days.png", lambda figure: _draw_groups(figure, report.by_day(), "day (UTC)", _NO_SLICE)),
        drawn("models.png", lambda figure: _draw_groups(figure, report.by_model(), "model", _NO_PROPOSAL)),
    ]


def require_matplotlib() -> Any:
    """Return the class of figures of matplotlib; raises `OutputError` where it is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise OutputError(
            'Pictures need matplotlib: pip install "napari-medclipsam[all]". The tables need nothing more.'
        ) from error
    return Figure


def _draw_curve_with_words(figure: Any, curve: StopCurve) -> None:
    if not curve.quality:
        _draw_words(figure, curve.message)
        return
    draw_curve(figure, curve)
    figure.axes[0].set_title(curve.message, fontsize=9, wrap=True)


def _draw_words(figure: Any, words: str) -> None:
    figure.text(0.5, 0.5, words, ha="center", va="center", wrap=True)


def draw_curve(figure: Any, curve: StopCurve) -> None:
    """Draw proposal quality against corrected slices, with the plateau and its interval."""
    axes = figure.subplots()
    n, quality = np.arange(1, len(curve.quality) + 1), np.array(curve.quality)
    axes.plot(n, quality, "o", color=POINTS, markersize=4, label="proposals of a slice")
    if curve.interval is not None:
        axes.axhspan(*curve.interval, color=LINE, alpha=0.15, lw=0, label="plateau, 95 %")
        axes.plot(n, curve.fitted, color=LINE, lw=2, label="fitted curve")
    axes.set(xlabel="accepted slices", ylabel="Dice of proposal and accepted mask", ylim=(-0.02, 1.02))
    if len(n):
        axes.legend(loc="lower right", frameon=False)


def _draw_groups(figure: Any, groups: list[Figures], name: str, nothing: str) -> None:
    """Draw seconds per slice and proposal quality side by side, one bar per group; `nothing` where there is none."""
    if not groups:
        _draw_words(figure, nothing)
        return
    left, right = figure.subplots(1, 2)
    names = [one.name for one in groups]
    left.bar(names, [one.active_s / max(1, one.n_slices) for one in groups], color=POINTS)
    left.set(xlabel=name, ylabel="seconds of work per accepted slice")
    places = np.arange(len(groups))
    right.bar(places - 0.2, [one.dice or 0 for one in groups], 0.4, color=POINTS, label="Dice of proposals")
    right.bar(places + 0.2, [one.unchanged or 0 for one in groups], 0.4, color=LINE, label="accepted unchanged")
    right.set(xlabel=name, ylim=(0, 1), xticks=places, xticklabels=names)
    if any(one.dice is not None for one in groups):
        right.legend(frameon=False)
    else:
        right.text(0.5, 0.5, _NO_PROPOSAL, transform=right.transAxes, ha="center", va="center", wrap=True)
    for axes in (left, right):
        axes.tick_params(axis="x", labelrotation=30)
