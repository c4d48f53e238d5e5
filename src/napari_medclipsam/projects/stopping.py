"""When is it enough: how good proposals are against how many slices were corrected, and where that levels off.

A saturating curve q(n) = plateau − gap · exp(−n / pace) is fitted by least squares: for each pace of a grid the other
two follow in closed form, so that nothing can fail to converge. Its interval comes from 400 resamplings of the slices,
five in a row at a time: neighbours are alike, and to take them as independent would promise too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_medclipsam.wording import counted

FEWEST_SLICES = 20
#: Gains are told for as many slices more.
AHEAD = 20
# Less than that in Dice is not felt in the work.
_WORTH_DICE = 0.01
_RESAMPLINGS = 400
_IN_A_ROW = 5
# More points than that are averaged in groups of neighbours.
_MOST_POINTS = 2000
_PACES = 24
_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class StopCurve:
    """The answer to "when can I stop?".

    Parameters
    ----------
    quality : tuple of float
        Dice of the proposals of each slice with what was accepted, in the order in which slices were.
    fitted : tuple of float
        The curve after 0, 1, 2, … slices; empty below `FEWEST_SLICES`.
    plateau : float, optional
        Where it levels off; None below `FEWEST_SLICES`.
    interval : tuple of float, optional
        95 % of the plateau.
    gain : float, optional
        Dice that the next 20 slices are expected to bring.
    gain_interval : tuple of float, optional
        95 % of it.
    message : str
        In words.
    """

    quality: tuple[float, ...]
    fitted: tuple[float, ...]
    plateau: float | None
    interval: tuple[float, float] | None
    gain: float | None
    gain_interval: tuple[float, float] | None
    message: str


def stop_curve(quality: Sequence[float]) -> StopCurve:
    """Return the curve of some slices.

    Parameters
    ----------
    quality : sequence of float
        Dice of the proposals of each accepted slice, in the order in which slices were accepted.
    """
    n_slices = len(quality)
    if n_slices < FEWEST_SLICES:
        told = (
            f"Not enough slices yet: {counted(n_slices, 'accepted slice')} had a proposal, {FEWEST_SLICES} are needed."
        )
        return StopCurve(tuple(quality), (), None, None, None, None, told)
    groups = np.array_split(np.arange(n_slices), min(n_slices, _MOST_POINTS))
    count = np.array([group.mean() for group in groups])
    values = np.array([np.asarray(quality, float)[group].mean() for group in groups])
    paces = np.geomspace(max(2.0, n_slices / 50), 2 * n_slices, _PACES)
    plateau, gap, pace = _fit(count, values, _weights(len(count)), paces)
    gains = gap * (np.exp(-n_slices / pace) - np.exp(-(n_slices + AHEAD) / pace))
    interval, gain_interval = _interval(plateau[1:]), _interval(gains[1:])
    fitted = plateau[0] - gap[0] * np.exp(-np.arange(n_slices) / pace[0])
    return StopCurve(
        tuple(quality),
        tuple(float(v) for v in fitted),
        float(plateau[0]),
        interval,
        float(gains[0]),
        gain_interval,
        _message(float(plateau[0]), interval, float(fitted[-1]), float(gains[0]), gain_interval),
    )


def _weights(n: int) -> np.ndarray:
    """Return how often each point counts: once for the fit itself, and drawn in runs for each resampling."""
    runs = np.arange(n) // _IN_A_ROW
    n_runs = int(runs[-1]) + 1
    drawn = np.random.default_rng(0).multinomial(n_runs, np.full(n_runs, 1 / n_runs), _RESAMPLINGS)
    return np.vstack([np.ones(n), drawn[:, runs]])


def _fit(
    count: np.ndarray, values: np.ndarray, weights: np.ndarray, paces: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return plateau, gap and pace of weighted least squares, one of each per row of `weights` (fits, points).

    A curve may only rise (gap ≥ 0) and end no higher than 1.
    """
    best = np.full(len(weights), np.inf)
    plateau, gap, chosen = (np.zeros(len(weights)) for _ in range(3))
    total = weights.sum(axis=1)
    v, vv = weights @ values / total, weights @ values**2 / total
    for pace in paces:
        fall = np.exp(-count / pace)
        f, ff, fv = weights @ fall / total, weights @ fall**2 / total, weights @ (fall * values) / total
        b = np.maximum(0, (f * v - fv) / np.maximum(ff - f**2, 1e-12))
        a = v + b * f
        # Where that ends above 1: at 1, and least squares in the gap alone.
        over = a > 1
        a, b = np.where(over, 1, a), np.where(over, np.maximum(0, (f - fv) / np.maximum(ff, 1e-12)), b)
        error = vv + a**2 + b**2 * ff - 2 * a * v + 2 * b * fv - 2 * a * b * f
        better = error < best - 1e-12
        best, plateau, gap, chosen = (
            np.where(better, new, old) for new, old in ((error, best), (a, plateau), (b, gap), (pace, chosen))
        )
    return plateau, gap, chosen


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, _INTERVAL)
    return float(low), float(high)


def _message(
    plateau: float, interval: tuple[float, float], now: float, gain: float, gain_interval: tuple[float, float]
) -> str:
    level = f"Dice {plateau:.2f} (95 %: {interval[0]:.2f} to {interval[1]:.2f})"
    next_ones = f"the next {AHEAD} slices are expected to bring {gain:+.3f} (at most {gain_interval[1]:+.3f})"
    if gain_interval[1] < _WORTH_DICE:
        return f"Proposals have levelled off at {level}; {next_ones}. More slices will hardly make them better."
    if gain < _WORTH_DICE:
        return (
            f"Proposals seem to level off at {level}, now {now:.2f}; {next_ones}. Some more slices will make it sure."
        )
    return f"Proposals are still getting better: now {now:.2f}, heading for {level}; {next_ones}. Go on."
