"""How long work on one image reports how far it is, and stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from napari_medclipsam.errors import MedclipsamError
from napari_medclipsam.models.contracts import GroundsInSteps, TextGrounder


class SaliencyCancelled(MedclipsamError):
    """The work was cancelled before there was a map."""


@dataclass
class Work:
    """What a saliency method tells and asks while it works.

    Parameters
    ----------
    progress : callable, optional
        Called with (steps done, steps in all).
    cancelled : callable, optional
        Asked before each step; True ends the work.

    Attributes
    ----------
    asking_s : float
        Seconds that `cancelled` has taken: whoever is asked may do something else first.
    """

    progress: Callable[[int, int], None] | None = None
    cancelled: Callable[[], bool] | None = None
    asking_s: float = field(default=0.0, init=False)

    def step(self, done: int, total: int) -> None:
        """Say how far the work is, and end it if it is cancelled.

        Raises
        ------
        SaliencyCancelled
            If it is.
        """
        if self._is_cancelled():
            raise SaliencyCancelled("The saliency map was cancelled; ask again to have it made.")
        if self.progress is not None:
            self.progress(done, total)

    def _is_cancelled(self) -> bool:
        if self.cancelled is None:
            return False
        began = time.perf_counter()
        is_cancelled = self.cancelled()
        self.asking_s += time.perf_counter() - began
        return is_cancelled


def watched(
    grounder: TextGrounder, progress: Callable[[int, int], None] | None, cancelled: Callable[[], bool] | None
) -> TextGrounder:
    """Return a grounder that tells how far each map is and can be stopped; one that is fast is returned as it is."""
    return grounder.watched(progress, cancelled) if isinstance(grounder, GroundsInSteps) else grounder
