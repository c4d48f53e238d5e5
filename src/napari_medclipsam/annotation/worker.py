"""One thread for the models: it loads them and runs requests, so that a window never waits."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from napari_medclipsam.annotation.requests import Cancelled, EmbedRequest, Progress
from napari_medclipsam.errors import MedclipsamError
from napari_medclipsam.models.contracts import PromptableSegmenter, TextGrounder
from napari_medclipsam.saliency.pair import load_pair

Pair = tuple[TextGrounder, PromptableSegmenter]

_URGENT = ("mask", "text")
#: What concerns the image on screen.
OF_IMAGE = (*_URGENT, "propagation", "volume")
#: Showing what versions draw.
VERSIONS = "versions"
#: Searching a project, and making its index: of slices that a reader has just decided, and of everything.
FIND, INDEX_SLICES, INDEX = "find", "index slices", "index"
#: What concerns a whole project, and is shown with it.
OF_PROJECT = ("scan", FIND, INDEX_SLICES, INDEX)
_ORDER = (*OF_IMAGE, FIND, "scan", VERSIONS, INDEX_SLICES, INDEX)
# Encoding ahead waits for this long after the last answer: who has clicked is likely to click again.
_PAUSE_S = 0.3
_ON_CPU = "The graphics card is out of memory, so the work goes on on the processor, more slowly."


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
    """A request on many slices has done `done` of `total`."""

    request: Request
    done: int
    total: int


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


Event = Loading | Ready | NotReady | Started | Progressed | Done | Failed


@dataclass(eq=False)
class _Run:
    """A request that runs, and whether it is to stop before its next slice."""

    request: Request
    stop: bool = False
    replaced: bool = False


class ModelWorker:
    """One thread, one request at a time.

    Of each kind only the newest request waits; an older one that waits is forgotten. Masks come before texts, texts
    before work on many slices, that before scans of other images, and these before slices that are encoded ahead.
    While work on many slices runs, masks and texts are answered between two of its slices; while a scan runs, so are
    work on many slices and searches; and everything while a project is indexed.

    Parameters
    ----------
    post : callable
        Called in the worker's thread with each `Event`; a window's `post` hands it over to the GUI thread.
    load : callable, optional
        ``load(name, device)`` returns grounder and segmenter; `saliency.pair.load_pair` by default. It is given
        ``saliency_method`` and ``project`` by name for a choice that has them.
    """

    def __init__(self, post: Callable[[Event], None], load: Callable[..., Pair] = load_pair) -> None:
        self._post, self._load = post, load
        self._changed = threading.Condition()
        self._waiting: dict[str, Request] = {}
        self._ahead: deque[EmbedRequest] = deque()
        self._ahead_from = 0.0
        self._runs: list[_Run] = []
        self._wanted: ModelChoice | None = None
        self._choice = ModelChoice()
        self._models: Pair | None = None
        self._refusal = ""
        self._closing = False
        # A daemon, so that a program that forgets `close` can end in the middle of a long call into a library.
        self._thread = threading.Thread(target=self._work, name="medclipsam models", daemon=True)
        self._thread.start()

    def use(self, choice: ModelChoice) -> None:
        """Load these models in the background, in the place of those there are."""
        with self._changed:
            self._wanted = choice
            self._stop_runs()
            self._changed.notify()

    def submit(self, request: Request) -> None:
        """Run a request as soon as its turn comes. One of the same kind that runs on many slices gives way to it."""
        with self._changed:
            self._waiting[request.kind] = request
            for run in self._runs:
                if run.request.kind == request.kind and request.kind not in _URGENT:
                    run.stop = run.replaced = True
            self._changed.notify()

    def prefetch(self, requests: Sequence[EmbedRequest]) -> None:
        """Run these when there is nothing else to do, the first first; those of an earlier call are forgotten."""
        with self._changed:
            self._ahead = deque(requests)
            for run in self._runs:
                # What is half encoded is finished only if it is what is wanted first now.
                if isinstance(run.request, EmbedRequest) and requests and run.request.at != requests[0].at:
                    run.stop = True
            self._changed.notify()

    def cancel(self, kinds: Collection[str] = _ORDER) -> None:
        """Forget what waits and stop what runs before its next slice; its outcome until then still comes.

        With `kinds`, only requests of these; slices are not encoded ahead any more in any case.
        """
        with self._changed:
            self._waiting = {kind: request for kind, request in self._waiting.items() if kind not in kinds}
            self._ahead.clear()
            for run in self._runs:
                run.stop = run.stop or run.request.kind in kinds or run.request.kind not in _ORDER

    @property
    def is_busy(self) -> bool:
        """True while something other than encoding ahead runs or waits."""
        with self._changed:
            return bool(self._waiting or self._wanted or any(run.request.kind in _ORDER for run in self._runs))

    def close(self, timeout_s: float = 10.0) -> bool:
        """Stop, post nothing more, and let the models go; True if the thread has ended within the time."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            self._ahead.clear()
            self._stop_runs()
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _stop_runs(self) -> None:
        for run in self._runs:
            run.stop = True

    def _emit(self, event: Event) -> None:
        if not self._closing:
            self._post(event)

    def _work(self) -> None:
        """Run what comes until `close`; the thread's body."""
        while (job := self._next_job()) is not None:
            job()
            # Nothing of the last job is to be kept alive while the thread waits.
            del job
        self._models = None

    def _next_job(self) -> Callable[[], None] | None:
        """Wait for something to do; None when closing."""
        with self._changed:
            while not self._closing:
                if self._wanted is not None:
                    choice, self._wanted = self._wanted, None
                    return lambda: self._use(choice)
                request = self._take(_ORDER) if self._models is not None or self._refusal else None
                if request is not None:
                    return lambda: self._run(request)
                pause = self._ahead_from - time.monotonic()
                if self._ahead and self._models is not None and pause <= 0:
                    line, ahead = self._ahead, self._ahead.popleft()
                    return lambda: self._run_ahead(ahead, line)
                self._changed.wait(pause if self._ahead and self._models is not None else None)
        return None

    def _take(self, kinds: Sequence[str]) -> Request | None:
        """Take the first request that waits, in the order of `kinds`."""
        return next((self._waiting.pop(kind) for kind in kinds if kind in self._waiting), None)

    def _use(self, choice: ModelChoice, message: str = "") -> None:
        """Load models; on a graphics card without room for them, on the processor."""
        self._emit(Loading(choice))
        self._models, self._refusal = None, ""
        _free_memory()
        try:
            try:
                self._models = self._loaded(choice)
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
            if self._models is None:
                _free_memory()
                choice, message = replace(choice, device="cpu"), _ON_CPU
                self._models = self._loaded(choice)
        except Exception as error:
            self._refusal = _sentence(error)
            self._emit(NotReady(choice, self._refusal))
            return
        self._choice = choice
        self._emit(Ready(choice, message))

    def _loaded(self, choice: ModelChoice) -> Pair:
        more = {"saliency_method": choice.saliency_method, "project": choice.project}
        return self._load(choice.name, choice.device, **{key: value for key, value in more.items() if value})

    def _run(self, request: Request) -> None:
        """Run a request and post how it ended."""
        run = _Run(request)
        with self._changed:
            self._runs.append(run)
        self._emit(Started(request))
        try:
            outcome = self._outcome(run)
        except Exception as error:
            ended: Event = Failed(request, _sentence(error), error)
        else:
            ended = Done(request, None if run.replaced else outcome)
        with self._changed:
            self._runs.remove(run)
            self._ahead_from = time.monotonic() + _PAUSE_S
        self._emit(ended)

    def _run_ahead(self, request: EmbedRequest, line: deque[EmbedRequest]) -> None:
        """Encode a slice ahead; what gave way to something urgent goes back to the head of its line."""
        run = _Run(request)
        with self._changed:
            self._runs.append(run)
        try:
            is_done = self._outcome(run)
        except Exception:
            # A slice that can't be encoded ahead is reported when somebody asks for it.
            is_done = True
        with self._changed:
            self._runs.remove(run)
            if not is_done and line is self._ahead:
                line.appendleft(request)

    def _outcome(self, run: _Run) -> Any:
        """Run a request; once more on the processor when the graphics card is full."""
        for _ in range(2):
            if self._models is None:
                break
            device = self._choice.device
            try:
                return run.request.run(*self._models, self._progress_of(run), lambda: self._is_stopped(run))
            except Exception as error:
                if not _is_out_of_memory(error) or device == "cpu":
                    raise
            # Outside of the handler, whose traceback would keep the memory that is to be freed.
            # What was answered between two slices of this run may have gone over to the processor already.
            if self._choice.device != "cpu":
                self._use(replace(self._choice, device="cpu"), _ON_CPU)
        raise MedclipsamError(self._refusal or _ON_CPU)

    def _progress_of(self, run: _Run) -> Progress:
        return lambda done, total: self._emit(Progressed(run.request, done, total))

    def _is_stopped(self, run: _Run) -> bool:
        """Answer what can't wait, between two slices of other work; then tell whether that is to stop.

        A slice that is encoded ahead gives way to whatever waits.
        """
        if run.request.kind not in _ORDER:
            with self._changed:
                return run.stop or bool(self._waiting or self._wanted)
        kind = run.request.kind
        before = _URGENT if kind in OF_IMAGE else _ORDER[:-1] if kind == INDEX else (*OF_IMAGE, FIND)
        while run.request.kind not in _URGENT and not run.stop:
            with self._changed:
                urgent = self._take(before)
            if urgent is None:
                break
            self._run(urgent)
        return run.stop


def _is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a graphics card was full; each library says so in its own way."""
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and "out of memory" in str(error).lower()
    )


def _free_memory() -> None:
    """Give the memory of models that nobody holds any more back to the graphics card."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _sentence(error: Exception) -> str:
    """Return what to tell the user."""
    if isinstance(error, MedclipsamError):
        return str(error)
    if isinstance(error, MemoryError):
        return "This machine is out of memory. Close other programs or work on a smaller image; nothing was lost."
    return f"The model failed ({type(error).__name__}: {error}). Nothing was lost; try again or choose another model."
