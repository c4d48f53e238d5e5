"""What the model worker is told, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from napari_medclipsam.annotation.requests import Cancelled, Progress
from napari_medclipsam.models.contracts import PromptableSegmenter, TextGrounder


class Request(Protocol):
    """What the worker runs: everything that `Session.plan_…` returns."""

    @property
    def kind(self) -> str:
        """A newer request of the same kind takes the place of one that waits."""
        ...

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Any:
        """Do the work and return the outcome."""
        ...


@dataclass(frozen=True)
class ModelChoice:
    """Which models to use.

    Parameters
    ----------
    name : str
        ``MODEL`` or ``GROUNDER+SEGMENTER``.
    device : str, optional
        Where; None: the best there is.
    saliency_method : str, optional
        For CLIP models alone; see `saliency.methods`.
    project : pathlib.Path, optional
        Folder of a project whose version in use answers, where it has one of this model.
    version : str
        The name of that version.
    """

    name: str = "lite"
    device: str | None = None
    saliency_method: str | None = None
    project: Path | None = None
    version: str = ""

    @property
    def title(self) -> str:
        """For the user: "lite", "lite v0003"."""
        return f"{self.name} {self.version}".strip()


@dataclass(frozen=True, eq=False)
class Loading:
    """The models are being loaded."""

    choice: ModelChoice


@dataclass(frozen=True, eq=False)
class Ready:
    """The models are loaded; `message` says where it is not what was asked for (a graphics card that was full)."""

    choice: ModelChoice
    message: str = ""


@dataclass(frozen=True, eq=False)
class NotReady:
    """The models can't be loaded; `message` says why and what to do. Requests fail until another choice works."""

    choice: ModelChoice
    message: str


@dataclass(frozen=True, eq=False)
class Started:
    """A request has begun; one `Done` or `Failed` will follow."""

    request: Request


@dataclass(frozen=True, eq=False)
class Progressed:
    """A request has done `done` of `total` slices, or steps of one; `left_s` more seconds, where that can be told."""

    request: Request
    done: float
    total: int
    left_s: float | None = None


@dataclass(frozen=True, eq=False)
class Timed:
    """What a slice costs on this machine: saliency method → seconds; of a CLIP model only."""

    seconds: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Done:
    """A request has ended; give `outcome` to `Session.apply`. It is None when a newer request took its place."""

    request: Request
    outcome: Any


@dataclass(frozen=True, eq=False)
class Failed:
    """A request has failed; `message` is fit to show, `error` has the traceback."""

    request: Request
    message: str
    error: Exception


Event = Loading | Ready | NotReady | Timed | Started | Progressed | Done | Failed
