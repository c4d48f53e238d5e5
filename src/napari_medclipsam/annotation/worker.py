"""One thread for the models: it loads them and runs requests, so that a window never waits."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from napari_medclipsam.annotation.requests import EmbedRequest, Progress
from napari_medclipsam.annotation.worker_events import (
    Done,
    Event,
    Failed,
    Loading,
    ModelChoice,
    NotReady,
    Progressed,
    Ready,
    Request,
    Started,
    Timed,
)
from napari_medclipsam.errors import MedclipsamError
from napari_medclipsam.models.contracts import PromptableSegmenter, TextGrounder
from napari_medclipsam.saliency.grounder import ClipGrounder
from napari_medclipsam.saliency.methods import DEFAULT_METHOD
from napari_medclipsam.saliency.pair import load_pair
from napari_medclipsam.saliency.work import SaliencyCancelled

Pair = tuple[TextGrounder, PromptableSegmenter]

_URGENT = ("mask", "text", "ask")
#: What concerns the image on screen.
OF_IMAGE = (*_URGENT, "phrasings", "propagation", "volume")
#: Showing what versions draw.
VERSIONS = "versions"
#: Searching a project, and making its index: of slices that a reader has just decided, and of everything.
FIND, INDEX_SLICES, INDEX = "find", "index slices", "index"
#: What concerns a whole project, and is shown with it.
OF_PROJECT = ("scan", FIND, INDEX_SLICES, INDEX)
_ORDER = (*OF_IMAGE, FIND, "scan", VERSIONS, INDEX_SLICES, INDEX)
# Encoding ahead waits for this long after the last answer: who has clicked is likely to click again.
_PAUSE_S = 0.3
# After this the pace of a request says something about how long it will take.
_PACE_S = 2.0
_ON_CPU = "The graphics card is out of memory, so the work goes on on the processor, more slowly."


@dataclass(eq=False)
class _Run:
    """A request that runs, whether it is to stop before its next slice, and for how long it gave way to others."""

    request: Request
    stop: bool = False
    replaced: bool = False
    began: float = field(default_factory=time.monotonic)
    waited_s: float = 0.0

    def left_s(self, done: float, total: int) -> float | None:
        """Return the seconds until the end at the pace so far; None before that means anything."""
        worked_s = time.monotonic() - self.began - self.waited_s
        return worked_s / done * (total - done) if done > 0 and worked_s > _PACE_S else None


class ModelWorker:
    """One thread, one request at a time.

    Of each kind only the newest request waits; an older one that waits is forgotten. Masks come before texts, texts
    before questions, these before work on many slices, that before scans of other images, and these before slices that
    are encoded ahead. While work on many slices runs, masks, texts and questions are answered between two of its
    slices; while a scan runs, so are work on many slices and searches; and everything while a project is indexed.

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
                elif run.request.kind == request.kind == "text":
                    # A slow one ends between its steps; the answer of a fast one still counts.
                    run.stop = True
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
        self._refusal = ""
        try:
            try:
                self._models = self._with_method(choice)
                if self._models is None:
                    _free_memory()
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
        self._time_methods()

    def _time_methods(self) -> None:
        """Tell what the methods of a CLIP model cost; where nothing is known of it yet, measure a forward pass."""
        if self._models is not None and isinstance(grounder := self._models[0], ClipGrounder):
            if not grounder.times.seconds():
                # What can't be timed says why when it is asked for a map.
                with suppress(Exception):
                    grounder.time_forward()
            self._emit(Timed(grounder.times.seconds()))

    def _with_method(self, choice: ModelChoice) -> Pair | None:
        """Return the loaded models with the method of a choice: the weights are read once for all methods.

        None for another model; then nothing is loaded any more.
        """
        models, self._models = self._models, None
        is_same = choice == replace(self._choice, saliency_method=choice.saliency_method)
        if models is None or not is_same or not isinstance(models[0], ClipGrounder):
            return None
        return models[0].with_method(choice.saliency_method or DEFAULT_METHOD), models[1]

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
        except SaliencyCancelled:
            ended: Event = Done(request, None)
        except Exception as error:
            ended = Failed(request, _sentence(error), error)
        else:
            ended = Done(request, None if run.replaced else outcome)
        with self._changed:
            self._runs.remove(run)
            self._ahead_from = time.monotonic() + _PAUSE_S
        self._emit(ended)
        if request.kind == "text":
            self._time_methods()

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
        return lambda done, total: self._emit(Progressed(run.request, done, total, run.left_s(done, total)))

    def _is_stopped(self, run: _Run) -> bool:
        """Answer what can't wait, between two slices of other work; then tell whether that is to stop.

        A slice that is encoded ahead gives way to whatever waits.
        """
        if run.request.kind not in _ORDER:
            with self._changed:
                return run.stop or bool(self._waiting or self._wanted)
        before = _before(run.request.kind)
        while not run.stop:
            with self._changed:
                urgent = self._take(before)
            if urgent is None:
                break
            began = time.monotonic()
            self._run(urgent)
            run.waited_s += time.monotonic() - began
        return run.stop


def _before(kind: str) -> Sequence[str]:
    """Return the kinds that do not wait until work of a kind is done."""
    if kind in _URGENT:
        return _URGENT[: _URGENT.index(kind)]
    if kind in OF_IMAGE or kind == FIND:
        return _URGENT if kind in OF_IMAGE else OF_IMAGE
    return _ORDER[:-1] if kind == INDEX else (*OF_IMAGE, FIND)


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
