"""Why slices need a reader, as figures in [0, 1] for many slices at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_medclipsam.projects.review import DICE, DISAGREEMENT, ENTROPY, MASK, NO_MASK, PRESENCE, PRESENT, PROPOSED

#: How much each reason alone can say that a slice needs a reader. See docs/projects.md for how they were chosen.
WEIGHTS = {"presence": 0.9, "neighbours": 0.3, "jump": 0.7, "disagreement": 0.5, "entropy": 0.5, "diversity": 0.3}
REASONS = tuple(WEIGHTS)

# Below this there is no "rest" that a jump could be compared with.
_FEWEST_DICES = 4
_ALONE = 0.6
# As many labelled slices stand for all: 100,000 slices then take 0.1 s.
_MOST_LABELLED = 256
_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class ClassSignals:
    """Signals of one class over the slices of many cases, one after the other.

    Parameters
    ----------
    table : numpy.ndarray
        int8 (6, n), see `review.CaseReview`.
    by_reason : dict
        Reason → float32 (n,).
    dice_after : numpy.ndarray
        int8 (n,): Dice with the slice after, hundredths; −1 where one has no mask.
    usual_dice : numpy.ndarray
        float32 (n,): the median over the case; nan where there are too few.
    """

    table: np.ndarray
    by_reason: dict[str, np.ndarray]
    dice_after: np.ndarray
    usual_dice: np.ndarray

    @classmethod
    def of(cls, tables: Sequence[np.ndarray]) -> ClassSignals:
        """Return the signals of one class; one table per case."""
        table = np.concatenate(tables, axis=1)
        first = np.concatenate([np.arange(t.shape[1]) == 0 for t in tables])
        last = np.roll(first, -1)
        dice = table[DICE]
        dice_after = np.where(last, -1, np.roll(dice, -1)).astype(np.int8)
        usual = np.concatenate([np.full(t.shape[1], _usual(t[DICE]), np.float32) for t in tables])
        by_reason = {
            "presence": _presence(table),
            "neighbours": _neighbours(table, first, last),
            "jump": _jump(dice, dice_after, usual),
            # Where a text is not found and nothing is drawn, map and mask agree, however faint the map glows.
            "disagreement": np.where(table[MASK] == PROPOSED, _share(table[DISAGREEMENT]), 0),
            "entropy": np.where((table[MASK] != NO_MASK) | (table[PRESENT] > 0), _share(table[ENTROPY]), 0),
        }
        return cls(table, {k: v.astype(np.float32) for k, v in by_reason.items()}, dice_after, usual)

    def score(self, diversity: np.ndarray) -> np.ndarray:
        """Return how much each slice needs a reader, float32 (n,): one strong reason suffices, more add up.

        1 − ∏ (1 − weight · signal) over all reasons.
        """
        rest = 1 - WEIGHTS["diversity"] * diversity
        for reason, signal in self.by_reason.items():
            rest = rest * (1 - WEIGHTS[reason] * signal)
        return np.asarray(1 - rest, np.float32)


def _share(hundredths: np.ndarray) -> np.ndarray:
    return np.maximum(hundredths, 0) / np.float32(100)


def _usual(dice: np.ndarray) -> float:
    known = dice[dice >= 0]
    return float(np.median(known)) if len(known) >= _FEWEST_DICES else float("nan")


def _presence(table: np.ndarray) -> np.ndarray:
    """Text found without a mask, or a mask where the text is not found; the stronger, the surer the text is."""
    known, present, masked = table[PRESENCE] >= 0, table[PRESENT] > 0, table[MASK] != NO_MASK
    presence = _share(table[PRESENCE])
    return np.select([known & present & ~masked, known & ~present & masked], [presence, 1 - presence], 0)


def _neighbours(table: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """No mask between two slices that have one, or a mask between two that have none."""
    masked, seen = table[MASK] != NO_MASK, (table[PRESENCE] >= 0) | (table[MASK] != NO_MASK)
    inside = ~first & ~last
    before, after = np.roll(masked, 1), np.roll(masked, -1)
    alone = masked & ~before & ~after & np.roll(seen, 1) & np.roll(seen, -1)
    return np.select([inside & ~masked & before & after, inside & alone], [1, _ALONE], 0)


def _jump(before: np.ndarray, after: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """How far the overlap with both neighbours lies below what is usual in the case, as a share of that."""
    both = np.stack([before, after]).astype(np.float32)
    known = (both >= 0) & np.isfinite(usual)
    fall = np.where(known, np.clip((usual - both) / np.maximum(usual, 1), 0, 1), 0)
    return np.asarray(fall.sum(axis=0) / np.maximum(1, known.sum(axis=0)))


def diversity(looks: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Return how far slices are from those that are labelled, float32 (n,) in [0, 1].

    Parameters
    ----------
    looks : numpy.ndarray
        uint8 (n, 16), see `images.look`; zeros where unknown, which counts as not far.
    labelled : numpy.ndarray
        bool (n,).
    """
    known = looks.any(axis=1)
    found = np.zeros(len(looks), np.float32)
    examples = np.flatnonzero(known & labelled)
    wanted = np.flatnonzero(known & ~labelled)
    if not len(examples) or not len(wanted):
        return found
    examples = examples[np.linspace(0, len(examples) - 1, min(len(examples), _MOST_LABELLED)).astype(int)]
    near = looks[examples].astype(np.float32)
    half_norm = (near**2).sum(axis=1) / 2
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        far = looks[part].astype(np.float32)
        # |a − b|² = |a|² − 2 (a·b − |b|²/2)
        nearest = (far @ near.T - half_norm).max(axis=1)
        found[part] = np.sqrt(np.maximum(0, (far**2).sum(axis=1) - 2 * nearest))
    return np.asarray(np.clip(found / max(1e-6, float(np.quantile(found[wanted], 0.95))), 0, 1), np.float32)
