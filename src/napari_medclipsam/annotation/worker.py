"""One thread for the models: it loads them and runs requests, so that a window never waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    """Which models to use, by their catalogue names, and on which device (None: the best there is)."""

    grounder: str = "lite"
    segmenter: str = "lite"
    device: str | None = None


@dataclass(frozen=True, eq=False)
class Loading:
    """The models are being loaded."""

    choice: ModelChoice


@dataclass(frozen=True, eq=False)
class Ready:
    """The models are loaded; `message` says where it is not what was asked for (a GPU that was full)."""

    choice: ModelChoice
    message: str = ""


@dataclass(frozen=True, eq=False)
class NotReady:
    """The models can't be loaded; `message` says why and what to do. Requests fail until another choice works."""

    choice: ModelChoice
    message: str


@dataclass(frozen=True, eq=False)
class Started:
    """A request has begun."""

    request: Any


@dataclass(frozen=True, eq=False)
class Progressed:
    """A request on many slices has done `done` of `total`."""

    request: Any
    done: int
    total: int


@dataclass(frozen=True, eq=False)
class Done:
    """A request has ended; give `outcome` to `Session.apply`."""

    request: Any
    outcome: Any


@dataclass(frozen=True, eq=False)
class Failed:
    """A request has failed; `message` is fit to show, `error` has the traceback."""

    request: Any
    message: str
    error: BaseException


Event = Loading | Ready | NotReady | Started | Progressed | Done | Failed


class ModelWorker:
    """One thread, one request at a time.

    Of each kind only the newest request waits; an older one that waits is forgotten. Masks come before texts, texts
    before work on many slices, and that before slices that are encoded ahead. While work on many slices runs, masks and
    texts are answered between two of its slices.

    Parameters
    ----------
    post : callable
        Called in the worker's thread with each `Event`; a window's `post` hands it over to the GUI thread.
    load : callable, optional
        ``load(name, device)`` returns a model; `models.registry.load` by default.
    """

    def __init__(self, post: Callable[[Event], None], load: Callable[[str, str | None], Any] | None = None) -> None:
        raise NotImplementedError

    def use(self, choice: ModelChoice) -> None:
        """Load these models in the background, in the place of those there are."""
        raise NotImplementedError

    def submit(self, request: Request) -> None:
        """Run a request as soon as its turn comes. One of the same kind that runs on many slices is cancelled."""
        raise NotImplementedError

    def prefetch(self, requests: Sequence[Request]) -> None:
        """Run these when there is nothing else to do, the first first; those of an earlier call are forgotten."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Forget what waits and stop what runs before its next slice; its outcome until then still comes."""
        raise NotImplementedError

    @property
    def is_busy(self) -> bool:
        """True while something other than encoding ahead runs or waits."""
        raise NotImplementedError

    def close(self, timeout_s: float = 10.0) -> bool:
        """Stop, post nothing more, and let the models go; True if the thread has ended within the time."""
        raise NotImplementedError
