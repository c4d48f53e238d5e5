"""How much the exemplars of a class have to say beside its kernel, chosen on slices that neither had seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from napari_medclipsam.learning.exemplars import SIDE_PX, Exemplar, votes
from napari_medclipsam.learning.kernel import Verdict, calibrated

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""What the exemplars' votes may weigh; the kernel has the rest."""

#: A slice is judged by the mean of the map where it is highest: over this share of the area that the structure has in
#: the exemplars, and at least so many pixels of the working grid.
_BEST_SHARE, _FEWEST_BEST = 0.25, 4
# Each slice that is asked costs some registrations.
_MOST_SHOWN, _MOST_EMPTY = 6, 2
_MOST_OF_SEVERAL = 12
#: Half and half does best on other volumes, which a few slices of one patient do not tell. They must be so much better
#: drawn with another weight, the more so the worse the kernel draws by itself.
_USUAL, _PULL = 0.5, 1.0


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A slice that teaches, and what a kernel that has not learnt from it says of it.

    Parameters
    ----------
    exemplar : Exemplar
        The slice.
    kernel_yx : numpy.ndarray
        float32 in [0, 1], on the grid of the exemplar.
    patient : str
        Whose it is, see `contracts.Example`.
    """

    exemplar: Exemplar
    kernel_yx: np.ndarray
    patient: str = ""


@dataclass(frozen=True, eq=False)
class Mix:
    """Exemplars, and how much they weigh.

    Parameters
    ----------
    weight : float
        Of `WEIGHTS`, above 0.
    verdict : Verdict
        On scores of maps, see `presence`.
    exemplars : tuple of Exemplar
        Of slices with and without the structure.
    """

    weight: float
    verdict: Verdict
    exemplars: tuple[Exemplar, ...]

    def draws(self, shape_yx: tuple[int, int]) -> bool:
        """Tell whether the map is the outline itself, in a picture of this shape.

        It is where the exemplars weigh more than the kernel, for their masks were drawn; at half and half where the
        grid is as fine as the picture.
        """
        return self.weight > _USUAL or (self.weight == _USUAL and max(shape_yx) <= SIDE_PX)

    def mixed(self, kernel_yx: np.ndarray, votes_yx: np.ndarray) -> np.ndarray:
        """Return both in one, in [0, 1]."""
        return _mixed(self.weight, kernel_yx, votes_yx)

    def presence(self, map_yx: np.ndarray) -> float:
        """Return how probable it is that the structure is in the slice of a map that `mixed` has made, in [0, 1]."""
        return self.verdict.presence(_score(map_yx, self.exemplars))


def choose_mix(slices: Sequence[HeldOut], step: Callable[[float], None]) -> Mix | None:
    """Return the mix that draws slices best which neither kernel nor exemplars had seen; None for the kernel alone.

    Where there are several patients, only the others vote for a slice, for neighbours know it nearly as well as
    itself, and what the mean Dice coefficient of a slice gains over the kernel's decides, less its standard error.
    Slices of a single patient say little about others; there it is Dice over all their pixels together, with a pull
    towards half and half. A single slice with the structure is left to the kernel: there is nothing to compare on.

    Parameters
    ----------
    slices : sequence of HeldOut
        Some without the structure, where there are any.
    step : callable
        Told the fraction that is done.
    """
    shown = [one for one in slices if one.exemplar.shares.any()]
    empty = [one for one in slices if not one.exemplar.shares.any()]
    if len(shown) < 2:
        return None
    are_several = len({one.patient for one in shown}) > 1
    asked = _spread(shown, _MOST_OF_SEVERAL if are_several else _MOST_SHOWN) + _spread(empty, _MOST_EMPTY)
    voted = []
    for number, one in enumerate(asked):
        step(number / len(asked))
        others = [o.exemplar for o in slices if (o.patient != one.patient if are_several else o is not one)]
        voted.append(votes(one.exemplar.gray, others))
    if are_several:
        worth = _gains(asked, voted)
    else:
        worth = np.array([_pooled_dice(asked, voted, weight) for weight in WEIGHTS])
        worth -= _PULL * (1 - worth[0]) * (np.array(WEIGHTS) - _USUAL) ** 2
    weight = WEIGHTS[int(np.argmax(worth))]
    if not weight:
        return None
    exemplars = tuple(one.exemplar for one in slices)
    scores = [_score(_mixed(weight, one.kernel_yx, vote), exemplars) for one, vote in zip(asked, voted, strict=True)]
    return Mix(weight, calibrated(scores, [not one.exemplar.shares.any() for one in asked]), exemplars)


def _score(map_yx: np.ndarray, exemplars: Sequence[Exemplar]) -> float:
    """Return the mean of a map where it is highest, as a logit."""
    shown = [one.shares > 127 for one in exemplars if one.shares.any()]
    share = max(_BEST_SHARE * float(np.median([s.mean() for s in shown])), _FEWEST_BEST / shown[0].size)
    best = max(1, round(share * map_yx.size))
    mean = float(np.partition(map_yx, map_yx.size - best, axis=None)[-best:].mean())
    return float(logit(np.clip(mean, 0.001, 0.999)))


def _spread(slices: Sequence[HeldOut], most: int) -> list[HeldOut]:
    """Return some slices, evenly over all of them: neighbours are of one patient."""
    return [slices[i] for i in np.linspace(0, len(slices) - 1, min(most, len(slices))).round().astype(int)]


def _mixed(weight: float, kernel_yx: np.ndarray, votes_yx: np.ndarray) -> np.ndarray:
    return np.asarray((1 - weight) * kernel_yx + weight * votes_yx, np.float32)


def _gains(asked: Sequence[HeldOut], voted: Sequence[np.ndarray]) -> np.ndarray:
    """Return what slices gain by each weight for sure: the mean, less its standard error."""
    shown = [pair for pair in zip(asked, voted, strict=True) if pair[0].exemplar.shares.any()]
    dices = np.array([[_pooled_dice([one], [vote], weight) for weight in WEIGHTS] for one, vote in shown])
    gains = dices - dices[:, :1]
    return np.asarray(gains.mean(0) - gains.std(0) / np.sqrt(len(gains)))


def _pooled_dice(asked: Sequence[HeldOut], voted: Sequence[np.ndarray], weight: float) -> float:
    both = size = 0
    for one, vote in zip(asked, voted, strict=True):
        drawn, truth = _mixed(weight, one.kernel_yx, vote) > 0.5, one.exemplar.shares > 127
        both += int((drawn & truth).sum())
        size += int(drawn.sum() + truth.sum())
    return 2 * both / max(1, size)
