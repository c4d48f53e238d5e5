"""The pictures of a dashboard, in the size, letters and colours of a window; needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_medclipsam.projects.dashboard import FATES, Dashboard
from napari_medclipsam.projects.plots import LINE, POINTS, draw_curve, require_matplotlib
from napari_medclipsam.projects.report import Figures
from napari_medclipsam.projects.stopping import StopCurve
from napari_medclipsam.wording import counted

# Okabe and Ito's: bluish green, blue, orange, vermilion.
_FATE_COLORS = ("#009E73", "#56B4E9", "#E69F00", "#D55E00")
_LONGEST_NAME = 26
# More bars than that are no picture: the last ones are shown.
_MOST_DAYS = 30
_MOST_ROWS = 8
_FEWEST_LINES, _FEWEST_LETTERS = 12, 18


@dataclass(frozen=True)
class Look:
    """How a window looks.

    Parameters
    ----------
    ink, paper : str
        "#RRGGBB" of letters and background.
    font_px : float
        Height of letters, in pixels of the picture.
    """

    ink: str
    paper: str
    font_px: float


@dataclass(frozen=True)
class Panel:
    """One picture of a dashboard with its title and what it says; `draw` is None where there is nothing to draw."""

    title: str
    words: str
    draw: Callable[[Any], None] | None


def panels_of(board: Dashboard) -> list[Panel]:
    """Return the panels in the order in which they are looked at."""
    curve = board.curve
    return [
        Panel("When can I stop?", curve.message, (lambda f: _curve(f, curve)) if curve.quality else None),
        Panel("Slices and minutes per day", board.days_words, (lambda f: _days(f, board.days)) if board.days else None),
        Panel(
            "Clicks and corrections per slice",
            board.steps_words,
            (lambda f: _steps(f, board)) if len(board.steps) else None,
        ),
        Panel(
            "What became of the proposals",
            board.fates_words,
            (lambda f: _fates(f, board.fates)) if board.fates else None,
        ),
        Panel("Model versions", board.models_words, (lambda f: _models(f, board.models)) if board.models else None),
        Panel(
            "Agreement of two readers",
            board.agreement_words,
            (lambda f: _agreement(f, board)) if board.agreement else None,
        ),
    ]


def picture(panel: Panel, width_px: int, height_px: int, look: Look) -> np.ndarray:
    """Return a panel as a picture, uint8 (height, width, RGBA); safe in any thread.

    Raises
    ------
    OutputError
        If matplotlib is not installed.
    """
    new_figure = require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    dpi = 100.0
    figure = new_figure(figsize=(width_px / dpi, height_px / dpi), dpi=dpi, layout="constrained", facecolor=look.paper)
    canvas = FigureCanvasAgg(figure)
    if panel.draw is not None:
        panel.draw(figure)
        # In a small picture large letters would leave no room for what they name.
        font_px = min(look.font_px, height_px / _FEWEST_LINES, width_px / _FEWEST_LETTERS)
        _dress(figure, look, font_px * 72 / dpi)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def _dress(figure: Any, look: Look, font_pt: float) -> None:
    """Give letters and lines the colours and size of the window."""
    for axes in figure.axes:
        axes.set_facecolor("none")
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(look.ink)
            spine.set_alpha(0.4)
        axes.tick_params(colors=look.ink, labelsize=font_pt * 0.9, length=3)
        axes.grid(axis="y" if axes.get_label() != "rows" else "x", color=look.ink, alpha=0.12, lw=0.8)
        axes.set_axisbelow(True)
        for text in (axes.xaxis.label, axes.yaxis.label, *axes.texts):
            text.set(color=look.ink, fontsize=font_pt)
        if (legend := axes.get_legend()) is not None:
            for text in legend.get_texts():
                text.set(color=look.ink, fontsize=font_pt * 0.9)


def _curve(figure: Any, curve: StopCurve) -> None:
    draw_curve(figure, curve)
    # The title says the rest, and a panel is small: what it shows must not lie under its legend.
    axes = figure.axes[0]
    axes.set_ylabel("Dice")
    names = ("slices", "plateau, 95 %", "fit")[:: 1 if curve.fitted else 3]
    lines, _ = axes.get_legend_handles_labels()
    axes.legend(lines, names, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, handlelength=1)


def _days(figure: Any, days: list[Figures]) -> None:
    from matplotlib.ticker import MaxNLocator

    shown = days[-_MOST_DAYS:]
    places = np.arange(len(shown))
    top, bottom = figure.subplots(2, 1, sharex=True)
    for axes, values, color, name in (
        (top, [day.n_slices for day in shown], POINTS, "slices"),
        (bottom, [day.active_s / 60 for day in shown], LINE, "minutes"),
    ):
        axes.bar(places, values, 0.7, color=color)
        axes.set(ylabel=name, xlim=(-0.6, max(len(shown), 4) - 0.4))
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    told = places[:: max(1, -(-len(shown) // 5))]
    # The year says nothing that the reader does not know.
    bottom.set(xticks=told, xticklabels=[shown[place].name[5:] for place in told])


def _steps(figure: Any, board: Dashboard) -> None:
    axes = figure.subplots()
    n = np.arange(1, len(board.steps) + 1)
    axes.fill_between(n, board.steps, color=POINTS, alpha=0.25, lw=0)
    axes.plot(n, board.steps, color=POINTS, lw=2, label="clicks and strokes")
    axes.plot(n, board.corrections, color=LINE, lw=2, label="corrections")
    highest = max(1.0, float(board.steps.max(initial=0)))
    axes.set(xlabel="accepted slices", ylabel="per slice", ylim=(0, 1.35 * highest))
    axes.legend(loc="upper right", frameon=False)


def _fates(figure: Any, fates: dict[str, list[int]]) -> None:
    axes, names = _row_axes(figure, list(fates))
    shares = np.array([np.array(fates[name]) / max(1, sum(fates[name])) for name in names])
    left = np.zeros(len(names))
    for share, name, color in zip(shares.T, FATES, _FATE_COLORS, strict=True):
        axes.barh(range(len(names)), share, 0.6, left=left, color=color, label=name)
        left += share
    axes.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, handlelength=1)


def _models(figure: Any, models: list[Figures]) -> None:
    rated = {model.name: model for model in models if model.dice is not None and model.nsd is not None}
    axes, names = _row_axes(figure, list(rated))
    for number, name in enumerate(names):
        model = rated[name]
        axes.plot(
            [model.dice],
            [number - 0.12],
            "o",
            color=POINTS,
            markersize=8,
            clip_on=False,
            label="" if number else "Dice",
        )
        axes.plot(
            [model.nsd], [number + 0.12], "D", color=LINE, markersize=6, clip_on=False, label="" if number else "NSD"
        )
        axes.text(1.06, number, counted(model.n_slices, "slice"), va="center")
    axes.set_xlim(0, 1.02)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, handlelength=1)


def _agreement(figure: Any, board: Dashboard) -> None:
    agreed = {one.name: one for one in board.agreement}
    axes, names = _row_axes(figure, list(agreed))
    for number, name in enumerate(names):
        one = agreed[name]
        axes.plot(
            [one.dice], [number - 0.12], "o", color=POINTS, markersize=8, clip_on=False, label="" if number else "Dice"
        )
        if one.kappa is not None:
            label = "" if number else "kappa of presence"
            axes.plot([one.kappa], [number + 0.12], "D", color=LINE, markersize=6, clip_on=False, label=label)
        axes.text(1.06, number, counted(one.n_slices, "slice"), va="center")
    axes.set_xlim(0, 1.02)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, handlelength=1)


def _row_axes(figure: Any, names: list[str]) -> tuple[Any, list[str]]:
    """Return axes with a row per name, the first at the top, and the names that have one."""
    axes = figure.subplots()
    axes.set_label("rows")
    shown = names[-_MOST_ROWS:]
    axes.set_yticks(range(len(shown)), [_short(name) for name in shown])
    axes.set_ylim(max(1, len(shown)) - 0.4, -0.6)
    return axes, shown


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
