"""Indexing and searching as work for the thread of the models, beside a window in which the project is worked on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.requests import Cancelled, Progress
from napari_medclipsam.annotation.worker import FIND, INDEX, INDEX_SLICES
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import PromptableSegmenter, RegionEncoder, TextGrounder
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import Study
from napari_medclipsam.search.building import (
    WAS_OTHER,
    build,
    index_version,
    is_current,
    n_to_look_at,
    out_of_date,
    require_encoder,
    rows_of,
)
from napari_medclipsam.search.finding import Found, find_like, find_text
from napari_medclipsam.search.index import EVERYWHERE, Coverage, Index, Scope
from napari_medclipsam.search.rows import Row
from napari_medclipsam.search.store import Store
from napari_medclipsam.search.wanted import WantedSlice
from napari_medclipsam.wording import counted


class Shelf:
    """The index of a project, kept in memory between requests. For the thread of the models alone.

    Parameters
    ----------
    project : Project
        Which.
    """

    def __init__(self, project: Project) -> None:
        self.project, self.store = project, Store(project.folder)
        self._index: Index | None = None
        self._version = ""

    def index(self, encoder: RegionEncoder) -> Index:
        """Return the index as it is on the disk now."""
        version = index_version(encoder)
        if self._index is None or self._version != version:
            self._index, self._version = Index(self.project, self.store, version), version
        self._index.refresh()
        return self._index


@dataclass(frozen=True)
class IndexOutcome:
    """How indexing has ended.

    Parameters
    ----------
    coverage : Coverage
        How much is indexed now.
    message : str
        For the reader; "" where there is nothing to say.
    """

    coverage: Coverage
    message: str = ""


class IndexRequest:
    """Brings cases of a project up to date; see `building.build`.

    Parameters
    ----------
    shelf : Shelf
        The project.
    cases : sequence of str, optional
        Which; by default all that are out of date.
    leave_out : callable, optional
        Asked with a case before it is begun: True for one that is open in the window, see `SliceIndexRequest`.
    """

    kind: ClassVar[str] = INDEX

    def __init__(
        self, shelf: Shelf, cases: Sequence[str] | None = None, leave_out: Callable[[str], bool] = lambda case: False
    ) -> None:
        self._shelf, self._cases, self._leave_out = shelf, cases, leave_out
        self._stopped = False

    def stop(self) -> None:
        """Stop before the next slice; what is done is kept."""
        self._stopped = True

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> IndexOutcome:
        """Build; raises as `building.build` and `ModelError` where the model makes no vectors."""
        encoder, shelf = require_encoder(grounder), self._shelf
        project, version, n_done = shelf.project, index_version(encoder), 0
        todo = [case for case in out_of_date(project, shelf.store, version, self._cases) if not self._leave_out(case)]
        total = n_to_look_at(project, shelf.store, version, todo)

        def told(n: int) -> None:
            nonlocal n_done
            n_done += n
            if progress is not None:
                progress(min(n_done, total), total)

        def stops() -> bool:
            return self._stopped or (cancelled is not None and cancelled())

        results = list(build(project, shelf.store, encoder, todo, progress=told, cancelled=stops))
        coverage = shelf.index(encoder).coverage
        trouble = [one for one in results if one.trouble]
        said = []
        if self._stopped:
            said.append("Stopped; what is indexed is kept.")
        if any(one.was_other for one in results):
            said.append(f"{WAS_OTHER} It was made anew.")
        if trouble:
            said.append(
                f"{counted(len(trouble), 'case')} can't be indexed, first {trouble[0].case}: {trouble[0].trouble}"
            )
        return IndexOutcome(coverage, " ".join(said))


@dataclass(frozen=True, eq=False)
class SliceIndexRequest:
    """Brings some slices of the case that is open up to date, as they are in the window.

    Parameters
    ----------
    shelf : Shelf
        The project.
    study : Study
        The case.
    image : AnnotatedImage
        Its image.
    window : str
        See `wanted.indexed_window`.
    slices : tuple of WantedSlice
        What is decided there.
    """

    shelf: Shelf
    study: Study
    image: AnnotatedImage
    window: str
    slices: tuple[WantedSlice, ...]
    kind: ClassVar[str] = INDEX_SLICES

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> IndexOutcome:
        """Embed what is not there yet; raises `OutputError` where it can't be kept."""
        encoder, store, study = require_encoder(grounder), self.shelf.store, self.study
        version = index_version(encoder)
        before = store.read(study.case)
        is_same = before is not None and (before.version, before.image) == (version, study.sha256)
        known = before.by_slice() if before is not None and is_same else {}
        rows: list[Row] = []
        done = []
        for one in self.slices:
            mine = known.get(one.at, ())
            if is_current(one, mine, study.sha256, self.window):
                continue
            if cancelled is not None and cancelled():
                break
            rows += rows_of(one, self.image, study.sha256, self.window, encoder, mine)
            done.append(one.at)
        if done:
            store.put(study.case, version, study.sha256, done, rows, is_ct=self.image.looks_like == "CT")
        return IndexOutcome(self.shelf.index(encoder).coverage)


@dataclass(frozen=True, eq=False)
class FindRequest:
    """Looks for a text, or for what looks like a region.

    Parameters
    ----------
    shelf : Shelf
        The project.
    query : str or (Slice, numpy.ndarray)
        A text, or a slice and the bool mask of a region in it.
    scope : Scope
        Where to look.
    top : int
        How many slices at most.
    """

    shelf: Shelf
    query: str | tuple[Slice, np.ndarray]
    scope: Scope = EVERYWHERE
    top: int = 20
    kind: ClassVar[str] = FIND

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Found:
        """Search; raises as `finding.find_text` and `finding.find_like`."""
        encoder = require_encoder(grounder)
        index = self.shelf.index(encoder)
        if isinstance(self.query, str):
            return find_text(index, encoder, self.query, self.scope, self.top)
        return find_like(index, encoder, *self.query, self.scope, self.top)
