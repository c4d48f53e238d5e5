"""Indexing gives way to searches, stops when asked, and leaves out what is open."""

from __future__ import annotations

import queue
import threading

import pytest

from napari_medclipsam.annotation.worker import Done, Failed, ModelChoice, ModelWorker
from napari_medclipsam.search.finding import Found
from napari_medclipsam.search.wanted import WantedSlice
from napari_medclipsam.search.work import FindRequest, IndexRequest, Shelf, SliceIndexRequest
from search.conftest import N, accept, at
from synthetic import Both, IntensityGrounder, PooledGrays, RegionGrower


class Gated(PooledGrays, IntensityGrounder):
    """Waits at its first slice until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def embed_image(self, image):
        self.begun.set()
        assert self.go_on.wait(30)
        return super().embed_image(image)


@pytest.fixture
def model():
    return Gated()


@pytest.fixture
def worker(model):
    """The thread of the models, and how its requests end, in their order."""
    ended: queue.Queue = queue.Queue()
    thread = ModelWorker(lambda e: isinstance(e, (Done, Failed)) and ended.put(e), lambda *_: (model, RegionGrower()))
    thread.use(ModelChoice())
    yield thread, ended
    model.go_on.set()
    assert thread.close()


def test_a_search_is_answered_while_the_project_is_indexed(project, worker, model):
    thread, ended = worker
    shelf = Shelf(project)
    building = IndexRequest(shelf)
    thread.submit(building)
    assert model.begun.wait(30)
    thread.submit(FindRequest(shelf, "disk"))
    model.go_on.set()
    first, second = ended.get(timeout=30), ended.get(timeout=30)
    assert isinstance(first.outcome, Found) and first.outcome.coverage.n_indexed < 3 * N
    assert second.request is building and second.outcome.coverage.n_indexed == 3 * N


def test_indexing_stops_before_the_next_slice_and_says_so(project, worker, model):
    thread, ended = worker
    building = IndexRequest(Shelf(project))
    thread.submit(building)
    assert model.begun.wait(30)
    building.stop()
    model.go_on.set()
    outcome = ended.get(timeout=30).outcome
    assert outcome.message == "Stopped; what is indexed is kept." and outcome.coverage.n_indexed == 1


def test_the_case_in_the_window_is_indexed_as_it_is_there(project, model):
    model.go_on.set()
    shelf = Shelf(project)
    outcome = IndexRequest(shelf, leave_out=lambda case: case == "c0001").run(model, RegionGrower())
    assert outcome.coverage.n_indexed == 2 * N and shelf.store.read("c0001") is None
    with project.open_case("c0001") as case:
        accept(case, 0, "disk")
        session = case.session
        slices = tuple(WantedSlice.of(session.book, at(index)) for index in (0, 1))
        request = SliceIndexRequest(shelf, case.study, session.image, "auto", slices)
        assert request.run(model, RegionGrower()).coverage.n_indexed == 2 * N + 2
        n_before = model.n_embedded
        request.run(model, RegionGrower())
        assert model.n_embedded == n_before
    found = FindRequest(shelf, "disk").run(model, RegionGrower())
    assert ("c0001", 0) in {(answer.case, answer.at.index) for answer in found.answers}
    # Closed, the case is compared with its journal: two slices are there already.
    assert IndexRequest(shelf).run(model, RegionGrower()).coverage.n_indexed == 3 * N


def test_a_version_of_what_was_learnt_is_searched_with_its_base(project, store):
    class Learnt(Both):
        base = PooledGrays()
        version = "grays-1+v0003"

    shelf = Shelf(project)
    assert IndexRequest(shelf).run(Learnt(), RegionGrower()).coverage.n_indexed == 3 * N
    assert store.read("c0001").version == "grays-1"
