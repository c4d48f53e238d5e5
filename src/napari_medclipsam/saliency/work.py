"""How long work on one image reports how far it is, and stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from napari_medclipsam.errors import MedclipsamError


class SaliencyCancelled(MedclipsamError):
    """The work was cancelled before there was a map."""


@dataclass(frozen=True)
class Work:
    """What a saliency method tells and asks while it works.

    Parameters
    ----------
    progress : callable, optional
        Called with (steps done, steps in all).
    cancelled : callable, optional
        Asked before each step; True ends the work.
    """

    progress: Callable[[int, int], None] | None = None
    cancelled: Callable[[], bool] | None = None

    def step(self, done: int, total: int) -> None:
        """Say how far the work is, and end it if it is cancelled.

        Raises
        ------
        SaliencyCancelled
            If it is.
        """
        if self.cancelled is not None and self.cancelled():
            raise SaliencyCancelled("The saliency map was cancelled; ask again to have it made.")
        if self.progress is not None:
            self.progress(done, total)
