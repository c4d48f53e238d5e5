"""A regularised linear kernel over the cells of slices, with a verdict on whether there is anything at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

_DECAY = 0.1
_ITERATIONS = 48
_AT_A_TIME = 3
# More cells make a fit slower, and hardly better: neighbours are alike.
_MOST_CELLS = 16_000
_REJECTED_WEIGHT = 3.0
_FOLDS = 3
_FOLD_ITERATIONS = 12
_BEST_SHARE = 0.25
_FEWEST_BEST = 4
#: With no slice known to be empty the verdict stays within this of even odds: "unsure".
_UNSURE = 0.14
_LEAST_SPREAD = 1.0


@dataclass(frozen=True, eq=False)
class SliceCells:
    """The cells of a slice that a kernel learns from.

    Parameters
    ----------
    features : numpy.ndarray
        float32 (cells, features).
    shares : numpy.ndarray
        float32 (cells,): how much of each the structure covers.
    weights : numpy.ndarray
        float32 (cells,): how much each counts; 0 where nothing is known.
    is_empty : bool or None
        Whether the structure is known not to be there; None where that is not known.
    """

    features: np.ndarray
    shares: np.ndarray
    weights: np.ndarray
    is_empty: bool | None


@dataclass(frozen=True)
class Verdict:
    """From the score of a slice to how probable it is that the structure is there.

    Parameters
    ----------
    centre, slope : float
        Presence is ``sigmoid(slope · (score - centre))``.
    is_sure : bool
        False where no slice was known to be empty: presence then stays near 0.5.
    """

    centre: float
    slope: float
    is_sure: bool

    def presence(self, score: float) -> float:
        """Return how probable it is that a slice with this score shows the structure, in [0, 1]."""
        chance = 1 / (1 + np.exp(-np.clip(self.slope * (score - self.centre), -30, 30)))
        return float(chance) if self.is_sure else near_even(float(chance))


def near_even(chance: float) -> float:
    """Return a presence as it is said where no slice was known to be empty: on its side of 0.5, and "unsure"."""
    return 0.5 + _UNSURE * (2 * chance - 1)


@dataclass(frozen=True, eq=False)
class Kernel:
    """What was learnt of one class.

    Parameters
    ----------
    weights : numpy.ndarray
        float32 (features,), on features as they are.
    bias : float
        Added to each cell's logit.
    best_cells : int
        The score of a slice is the mean logit of so many of its best cells.
    verdict : Verdict
        On scores.
    """

    weights: np.ndarray
    bias: float
    best_cells: int
    verdict: Verdict

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return the logit of each cell, float32 (cells,)."""
        return np.asarray(features @ self.weights + np.float32(self.bias), np.float32)

    def score(self, logits: np.ndarray) -> float:
        """Return how strongly a slice answers."""
        return _score(logits, self.best_cells)


def _score(logits: np.ndarray, best: int) -> float:
    """Return the mean of the `best` highest logits, (n,)."""
    best = min(best, len(logits))
    return float(np.partition(logits, len(logits) - best)[-best:].mean())


def fit_kernel(
    slices: list[SliceCells], patients: Sequence[str], rng: np.random.Generator, step: Callable[[float, float], None]
) -> tuple[Kernel, list[np.ndarray]]:
    """Fit a kernel: logistic regression with a ridge penalty, by L-BFGS.

    Parameters
    ----------
    slices : list of SliceCells
        At least one shows the structure.
    patients : sequence of str
        Whose each is, see `contracts.Example`.
    rng : numpy.random.Generator
        Chooses cells where there are very many.
    step : callable
        Told the fraction that is done and the loss, between any two steps.

    Returns
    -------
    Kernel
        Learnt from all slices.
    list of numpy.ndarray
        For each slice the logits of its cells under a kernel that has not learnt from it, nor, where several patients
        show the structure, from its patient; as far as there are others.
    """
    solver = _Solver(slices, rng)
    every = np.arange(len(slices))
    for done in range(0, _ITERATIONS, _AT_A_TIME):
        loss = solver.iterate(every, _AT_A_TIME)
        step(0.7 * (done + _AT_A_TIME) / _ITERATIONS, loss)
    weights, bias = solver.plain()
    covered = [float((s.shares > 0.5).sum()) for s in slices if (s.shares > 0.5).any()]
    best = max(_FEWEST_BEST, round(_BEST_SHARE * float(np.median(covered)))) if covered else _FEWEST_BEST
    held_out = _held_out(solver, slices, patients, lambda fraction: step(0.7 + 0.3 * fraction, loss))
    scores = [_score(logits, best) for logits in held_out]
    verdict = calibrated(scores, [s.is_empty for s in slices])
    return Kernel(weights, bias, best, verdict), held_out


def _held_out(
    solver: _Solver, slices: list[SliceCells], patients: Sequence[str], step: Callable[[float], None]
) -> list[np.ndarray]:
    """Return the logits of each slice under a kernel that has not learnt from it, as far as there are others."""
    # What shows the structure is dealt out first, so that every kernel has some.
    order = sorted(range(len(slices)), key=lambda i: slices[i].is_empty is not False)
    shown = [i for i in order if slices[i].is_empty is False]
    are_several = len({patients[i] for i in shown}) > 1
    groups: dict[object, list[int]] = {}
    for i in order:
        groups.setdefault(patients[i] if are_several else i, []).append(i)
    n_there = sum(any(slices[i].is_empty is False for i in group) for group in groups.values())
    folds = min(_FOLDS, n_there) if n_there > 1 else 1
    found = [np.zeros(0, np.float32)] * len(slices)
    start = solver.state()
    for fold in range(folds):
        held = [i for place, group in enumerate(groups.values()) if place % folds == fold for i in group]
        rest = np.array([i for i in range(len(slices)) if i not in held or folds == 1])
        solver.restore(start)
        for done in range(0, _FOLD_ITERATIONS if folds > 1 else 0, _AT_A_TIME):
            solver.iterate(rest, _AT_A_TIME)
            step((fold + done / _FOLD_ITERATIONS) / folds)
        weights, bias = solver.plain()
        for i in held:
            found[i] = slices[i].features @ weights + np.float32(bias)
    return found


def calibrated(scores: Sequence[float], is_empty: Sequence[bool | None]) -> Verdict:
    """Return the verdict that fits the scores of slices with and without the structure; None: not known which."""
    there = np.array([score for score, empty in zip(scores, is_empty, strict=True) if empty is False])
    without = np.array([score for score, empty in zip(scores, is_empty, strict=True) if empty])
    return Verdict(*_logistic(there, without), bool(len(without)))


def _logistic(there: np.ndarray, empty: np.ndarray) -> tuple[float, float]:
    """Return centre and slope of presence over the score (Platt 1999, with his smoothed targets)."""
    spread = max(_LEAST_SPREAD, float(there.std()))
    if not len(empty):
        return float(there.mean()) - 2.5 * spread, 1 / spread
    scores = np.concatenate([there, empty])
    wanted = np.r_[np.full(len(there), (len(there) + 1) / (len(there) + 2)), np.full(len(empty), 1 / (len(empty) + 2))]
    weight = np.r_[np.full(len(there), 0.5 / len(there)), np.full(len(empty), 0.5 / len(empty))]
    centre, slope = (float(there.mean()) + float(empty.mean())) / 2, 1 / spread
    # Newton's steps on two numbers; the small ridge keeps scores that never mix from an endless slope.
    for _ in range(30):
        chance = 1 / (1 + np.exp(-np.clip(slope * (scores - centre), -30, 30)))
        inner = np.stack([scores - centre, np.full(len(scores), -slope)], 1)
        gradient = inner.T @ (weight * (chance - wanted)) + 0.01 * np.array([slope - 1 / spread, 0.0])
        curve = (inner * (weight * chance * (1 - chance))[:, None]).T @ inner + 0.02 * np.eye(2)
        change = np.clip(np.linalg.solve(curve, gradient), -0.5, 0.5)
        slope, centre = max(0.05, slope - float(change[0])), centre - float(change[1])
    return centre, slope


class _Solver:
    """Logistic regression on standardised features, a few iterations at a time, on all slices or some."""

    def __init__(self, slices: list[SliceCells], rng: np.random.Generator) -> None:
        rows = [_chosen(s, max(500, _MOST_CELLS // len(slices)), rng) for s in slices]
        features = np.concatenate([s.features[r] for s, r in zip(slices, rows, strict=True)])
        self._middle, self._spread = features.mean(0), features.std(0) + 1e-3
        self._x = torch.from_numpy((features - self._middle) / self._spread)
        self._y = torch.from_numpy(np.concatenate([s.shares[r] for s, r in zip(slices, rows, strict=True)]))
        weight = np.concatenate([s.weights[r] for s, r in zip(slices, rows, strict=True)])
        self._weight = torch.from_numpy(weight)
        self._slice = torch.from_numpy(np.repeat(np.arange(len(slices)), [len(r) for r in rows]))
        self._w = torch.zeros(features.shape[1], requires_grad=True)
        self._b = torch.zeros(1, requires_grad=True)
        self._solving: tuple[bytes, torch.optim.LBFGS, torch.Tensor] | None = None

    def iterate(self, chosen: np.ndarray, iterations: int) -> float:
        """Go on with the cells of some slices; returns the loss."""
        if self._solving is None or self._solving[0] != chosen.tobytes():
            optimiser = torch.optim.LBFGS([self._w, self._b], max_iter=iterations, line_search_fn="strong_wolfe")
            self._solving = (chosen.tobytes(), optimiser, self._balanced(chosen))
        _, optimiser, weight = self._solving

        def loss() -> torch.Tensor:
            optimiser.zero_grad()
            wrong = F.binary_cross_entropy_with_logits(self._x @ self._w + self._b, self._y, reduction="none")
            value = (wrong * weight).sum() + _DECAY * (self._w**2).sum()
            value.backward()
            return value

        with torch.enable_grad():
            return float(optimiser.step(loss).detach())

    def _balanced(self, chosen: np.ndarray) -> torch.Tensor:
        """Weights that sum to 1; the rarer of inside and outside counts more, by the root of the odds."""
        weight = self._weight * torch.isin(self._slice, torch.from_numpy(chosen))
        inside = self._y > 0.5
        odds = weight[~inside].sum() / weight[inside].sum().clamp(min=1e-6)
        weight = torch.where(inside, weight * odds.clamp(1e-3, 1e3) ** 0.5, weight)
        return weight / weight.sum()

    def plain(self) -> tuple[np.ndarray, float]:
        """Return weights and bias on features as they are."""
        weights = self._w.detach().numpy() / self._spread
        return weights.astype(np.float32), float(self._b.detach()[0] - self._middle @ weights)

    def state(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `restore` takes."""
        return self._w.detach().clone(), self._b.detach().clone()

    def restore(self, state: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Go back to a `state`."""
        with torch.no_grad():
            self._w.copy_(state[0])
            self._b.copy_(state[1])
        self._solving = None


def _chosen(cells: SliceCells, most: int, rng: np.random.Generator) -> np.ndarray:
    """Rows to learn from: all of the structure and of what was refused, of the rest as many as there is room for."""
    usable = cells.weights > 0
    # Nothing but what was refused counts more than 1.
    matters = usable & ((cells.shares > 0) | (cells.weights > 1))
    rest = np.flatnonzero(usable & ~matters)
    room = max(0, most - int(matters.sum()))
    return np.sort(np.concatenate([np.flatnonzero(matters), rng.permutation(rest)[:room]]))


def slice_cells(
    features: np.ndarray, shares: np.ndarray, rejected: np.ndarray | None, trust: float, *, is_refusal: bool
) -> SliceCells:
    """Return the cells of a slice with their weights.

    Parameters
    ----------
    features : numpy.ndarray
        float32 (cells, features).
    shares : numpy.ndarray
        float32 (cells,).
    rejected : numpy.ndarray, optional
        float32 (cells,): how much of each a reader has refused; these are the hard negatives.
    trust : float
        Of the label.
    is_refusal : bool
        Nothing else is known of the slice.
    """
    weights = np.full(len(shares), 0.0 if is_refusal else trust, np.float32)
    if rejected is not None:
        weights[(rejected > 0.5) & (shares == 0)] = trust * _REJECTED_WEIGHT
    return SliceCells(features, shares, weights, None if is_refusal else not bool((shares > 0).any()))
