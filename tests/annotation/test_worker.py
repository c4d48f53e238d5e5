"""The thread of the models: newest first, nothing lost, nothing left."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.requests import EmbedRequest
from napari_medclipsam.annotation.worker import OF_IMAGE, ModelWorker
from napari_medclipsam.annotation.worker_events import (
    Done,
    Event,
    Failed,
    Loading,
    ModelChoice,
    NotReady,
    Progressed,
    Ready,
    Started,
)
from napari_medclipsam.errors import ModelError, PromptError
from napari_medclipsam.images.volume import Volume
from synthetic import Both

SOON_S = 20.0


@dataclass(eq=False)
class Job:
    """A request that says who asked, waits until it is let go, and asks `cancelled` between its steps."""

    name: str
    kind: str = "mask"
    steps: int = 1
    error: Exception | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    def run(self, grounder: Any, segmenter: Any, progress: Any = None, cancelled: Any = None) -> str:
        self.begun.set()
        for step in range(self.steps):
            if step and cancelled():
                return f"{self.name}, {step} steps"
            if not self.gate.wait(SOON_S):
                raise TimeoutError
            progress(step + 1, self.steps)
        if self.error is not None:
            raise self.error
        return self.name


def let_go(name: str, kind: str = "mask", **more: Any) -> Job:
    job = Job(name, kind, **more)
    job.gate.set()
    return job


class Desk:
    """A worker and what it posts."""

    def __init__(self, load: Any = None) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self.worker = ModelWorker(self.events.put, load or (lambda name, device: (Both(), Both())))

    def until(self, wanted: type, name: str | None = None) -> list[Event]:
        seen = []
        while True:
            seen.append(self.events.get(timeout=SOON_S))
            named = name is None or getattr(getattr(seen[-1], "request", None), "name", None) == name
            if isinstance(seen[-1], wanted) and named:
                return seen

    def order(self, events: list[Event]) -> list[str]:
        return [e.request.name for e in events if isinstance(e, Started)]


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    made.worker.use(ModelChoice())
    made.until(Ready)
    yield made
    assert made.worker.close(SOON_S)


def test_of_a_kind_the_newest_waits_and_masks_go_first(desk):
    first = Job("first")
    desk.worker.submit(first)
    assert first.begun.wait(SOON_S) and desk.worker.is_busy
    for job in (let_go("old mask"), let_go("volume", "volume"), let_go("text", "text"), let_go("new mask")):
        desk.worker.submit(job)
    first.gate.set()
    events = desk.until(Done, "volume")
    assert desk.order(events) == ["first", "new mask", "text", "volume"]
    assert [e.outcome for e in events if isinstance(e, Done)] == ["first", "new mask", "text", "volume"]


def test_a_click_is_answered_in_the_middle_of_a_long_work(desk):
    long = Job("long", "volume", steps=5)
    desk.worker.submit(long)
    assert long.begun.wait(SOON_S)
    desk.worker.submit(let_go("click"))
    long.gate.set()
    events = desk.until(Done, "long")
    assert desk.order(events) == ["long", "click"]
    assert [e.done for e in events if isinstance(e, Progressed) and e.request is long] == [1, 2, 3, 4, 5]


def test_cancel_keeps_what_is_done(desk):
    long = Job("long", "propagation", steps=9)
    desk.worker.submit(long)
    assert long.begun.wait(SOON_S)
    desk.worker.submit(let_go("forgotten", "volume"))
    desk.worker.cancel()
    long.gate.set()
    assert desk.until(Done)[-1].outcome == "long, 1 steps"
    desk.worker.submit(let_go("next"))
    assert desk.order(desk.until(Done)) == ["next"]


def test_a_newer_long_work_takes_the_place_of_one_that_runs(desk):
    old = Job("old", "propagation", steps=9)
    desk.worker.submit(old)
    assert old.begun.wait(SOON_S)
    desk.worker.submit(let_go("new", "propagation"))
    old.gate.set()
    events = [e for e in desk.until(Done, "new") if isinstance(e, Done)]
    assert [(e.request.name, e.outcome) for e in events] == [("old", None), ("new", "new")]


def test_slices_are_encoded_ahead_quietly_and_last(desk):
    ahead = [let_go("a", "embed"), let_go("b", "embed", error=ValueError("dark")), let_go("c", "embed")]
    blocker = Job("blocker")
    desk.worker.submit(blocker)
    assert blocker.begun.wait(SOON_S)
    desk.worker.prefetch([let_go("stale", "embed")])
    desk.worker.prefetch(ahead)
    blocker.gate.set()
    assert all(job.begun.wait(SOON_S) for job in ahead)
    desk.worker.submit(let_go("after"))
    assert desk.order(desk.until(Done, "after")) == ["blocker", "after"]


class Encoding:
    """A slice that is encoded ahead: goes on until it gives way, or is let go."""

    kind = "embed"

    def __init__(self) -> None:
        self.begun, self.gave_way, self.gate, self.runs = threading.Event(), threading.Event(), threading.Event(), 0

    def run(self, grounder, segmenter, progress, cancelled) -> bool:
        self.runs += 1
        self.begun.set()
        while not self.gate.wait(0.002):
            if cancelled():
                self.gave_way.set()
                return False
        return True


def test_encoding_ahead_gives_way_and_is_taken_up_again(desk):
    first, second = Encoding(), Encoding()
    second.gate.set()
    desk.worker.prefetch([first, second])
    assert first.begun.wait(SOON_S)
    desk.worker.submit(let_go("click"))
    desk.until(Done, "click")
    assert first.gave_way.is_set() and first.runs == 1 and not second.begun.is_set()
    first.gate.set()
    assert second.begun.wait(SOON_S)
    assert first.runs == 2


def test_a_slice_that_was_scrolled_past_is_not_encoded_to_its_end(desk):
    image = AnnotatedImage.from_volume(Volume(np.arange(4 * 8 * 8, dtype=np.float32).reshape(4, 8, 8)))
    made = [EmbedRequest(image, "auto", SliceAt.across(0, index)) for index in range(3)]
    stops = []

    class Slow(Both):
        def embed_ahead(self, image, cancelled):
            end = time.monotonic() + SOON_S
            while time.monotonic() < end and not cancelled():
                time.sleep(0.002)
            stops.append(cancelled())
            return not stops[-1]

    model = Slow()
    slow = Desk(lambda name, device: (model, model))
    slow.worker.use(ModelChoice())
    slow.until(Ready)
    slow.worker.prefetch(made[:1])
    time.sleep(0.05)
    slow.worker.prefetch(made[:2])
    time.sleep(0.05)
    assert not stops
    slow.worker.prefetch(made[1:])
    end = time.monotonic() + SOON_S
    while not stops and time.monotonic() < end:
        time.sleep(0.005)
    assert stops == [True]
    slow.worker.close()


def test_errors_come_back_as_sentences(desk):
    desk.worker.submit(let_go("bad", error=PromptError("Click somewhere.")))
    assert desk.until(Failed)[-1].message == "Click somewhere."
    desk.worker.submit(let_go("worse", error=ValueError("shape")))
    failed = desk.until(Failed)[-1]
    assert "ValueError" in failed.message and isinstance(failed.error, ValueError)
    desk.worker.submit(let_go("good"))
    desk.until(Done)


def test_without_models_requests_wait_and_then_fail_with_the_reason():
    def load(name: str, device: str | None) -> tuple[Both, Both]:
        if name == "gone":
            raise ModelError("The model is not installed.")
        return Both(), Both()

    desk = Desk(load)
    desk.worker.submit(let_go("early"))
    desk.worker.use(ModelChoice("gone"))
    events = desk.until(Failed)
    assert [type(e) for e in events] == [Loading, NotReady, Started, Failed]
    assert events[-1].message == "The model is not installed."
    desk.worker.use(ModelChoice("lite"))
    desk.worker.submit(let_go("late"))
    assert desk.until(Done)[-1].outcome == "late"
    assert desk.worker.close(SOON_S)


def test_a_saliency_method_reaches_the_loader_only_where_one_is_chosen():
    loads: list[Any] = []

    def load(*asked: Any, **more: Any) -> tuple[Both, Both]:
        loads.append((asked, more))
        return Both(), Both()

    desk = Desk(load)
    desk.worker.use(ModelChoice("biomedclip+lite", "cpu", "m2ib"))
    desk.worker.submit(let_go("one"))
    desk.until(Done)
    desk.worker.use(ModelChoice("lite", "cpu"))
    desk.worker.submit(let_go("two"))
    desk.until(Done)
    assert loads == [(("biomedclip+lite", "cpu"), {"saliency_method": "m2ib"}), (("lite", "cpu"), {})]
    assert desk.worker.close(SOON_S)


class FullCard(Both):
    """A model on a graphics card that is full."""

    def embed(self, image: Any) -> Any:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


@dataclass
class Embedding:
    kind: str = "mask"
    name: str = "embedding"

    def run(self, grounder: Any, segmenter: Any, progress: Any = None, cancelled: Any = None) -> str:
        segmenter.embed(None) if isinstance(segmenter, FullCard) else None
        return type(segmenter).__name__


def test_a_full_graphics_card_falls_back_to_the_processor_and_says_so():
    def load(name: str, device: str | None) -> tuple[Both, Both]:
        model = Both() if device == "cpu" else FullCard()
        return model, model

    desk = Desk(load)
    desk.worker.use(ModelChoice("lite", "cuda"))
    desk.worker.submit(Embedding())
    events = desk.until(Done)
    assert events[-1].outcome == "Both"
    fallback = [e for e in events if isinstance(e, Ready)][-1]
    assert fallback.choice.device == "cpu" and "out of memory" in fallback.message
    assert desk.worker.close(SOON_S)


def test_an_answer_between_two_slices_that_falls_back_takes_the_long_work_along():
    """The slices after it may find the card full as well, and are then done on the processor too."""

    def load(name: str, device: str | None) -> tuple[Both, Both]:
        model = Both() if device == "cpu" else FullCard()
        return model, model

    class LongWork(Job):
        def run(self, grounder: Any, segmenter: Any, progress: Any = None, cancelled: Any = None) -> str:
            super().run(grounder, segmenter, progress, cancelled)
            return Embedding().run(grounder, segmenter)

    desk = Desk(load)
    desk.worker.use(ModelChoice("lite", "cuda"))
    work = LongWork("long", "volume", steps=2)
    desk.worker.submit(work)
    assert work.begun.wait(SOON_S)
    desk.worker.submit(Embedding())
    work.gate.set()
    first, second = desk.until(Done)[-1], desk.until(Done)[-1]
    assert isinstance(first.request, Embedding) and first.outcome == "Both"
    assert second.request is work and second.outcome == "Both"
    assert desk.worker.close(SOON_S)


def test_closing_in_the_middle_posts_nothing_more_and_leaves_no_thread():
    desk = Desk()
    desk.worker.use(ModelChoice())
    long = Job("long", "volume", steps=1000)
    desk.worker.submit(long)
    assert long.begun.wait(SOON_S)
    desk.until(Started)
    threading.Timer(0.05, long.gate.set).start()
    assert desk.worker.close(SOON_S)
    assert desk.events.empty()
    assert not any(t.name == "medclipsam models" for t in threading.enumerate())


def test_closing_in_a_long_call_gives_up_waiting():
    desk = Desk()
    desk.worker.use(ModelChoice())
    stuck = Job("stuck")
    desk.worker.submit(stuck)
    assert stuck.begun.wait(SOON_S)
    assert not desk.worker.close(0.05)
    stuck.gate.set()
    assert desk.worker.close(SOON_S)


def test_a_scan_gives_way_to_the_image_on_screen_and_outlives_it(desk) -> None:
    scan = Job("scan", "scan", steps=3)
    desk.worker.submit(scan)
    assert scan.begun.wait(SOON_S)
    for name, kind in (("volume", "volume"), ("mask", "mask")):
        desk.worker.submit(let_go(name, kind))
    scan.gate.set()
    events = desk.until(Done, "scan")
    assert desk.order(events) == ["scan", "mask", "volume"] and events[-1].outcome == "scan"
    again = Job("again", "scan", steps=2)
    desk.worker.submit(again)
    assert again.begun.wait(SOON_S)
    desk.worker.submit(let_go("late", "volume"))
    desk.worker.cancel(OF_IMAGE)
    again.gate.set()
    events = desk.until(Done, "again")
    assert events[-1].outcome == "again" and desk.order(events) == ["again"]
