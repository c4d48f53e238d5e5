"""When a project learns by itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from napari_medclipsam.learning.gate import MARGIN_DICE

_KEY = "learning"


@dataclass(frozen=True)
class LearningSettings:
    """How a project learns; kept under "learning" of its settings.

    Parameters
    ----------
    learner : str
        Which one starts by itself.
    every : int
        After so many newly accepted slices; 0: never.
    only_when_idle : bool
        Only while nobody works in the window.
    goes_on : bool
        Also when the viewer is closed.
    minutes : float
        Budget of a run.
    margin : float
        Dice that no class may lose, see `gate.judge`.
    """

    learner: str = "instant"
    every: int = 0
    only_when_idle: bool = True
    goes_on: bool = False
    minutes: float = 10.0
    margin: float = MARGIN_DICE

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> LearningSettings:
        """Return those in ``project.json``; what can't be used is left at its default."""
        given = document.get("settings", {}).get(_KEY, {})
        chosen: dict[str, Any] = {}
        for name, default in asdict(cls()).items():
            with suppress(KeyError, TypeError, ValueError):
                chosen[name] = type(default)(given[name])
        return cls(**chosen)

    def into(self, settings: dict[str, Any]) -> None:
        """Put them into `Project.settings`."""
        settings[_KEY] = dict(self.__dict__)

    def is_due(self, n_accepted: int, n_before: int) -> bool:
        """Tell whether it is time.

        Parameters
        ----------
        n_accepted : int
            Accepted slices of the project.
        n_before : int
            As many as there were when it learnt last: `Status.n_slices`.
        """
        return self.every > 0 and n_accepted - n_before >= self.every
