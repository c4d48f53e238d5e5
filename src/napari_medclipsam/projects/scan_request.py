"""A scan as work for the thread of the models, beside a window in which the same project is worked on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from napari_medclipsam.annotation.requests import Cancelled, Progress
from napari_medclipsam.models.contracts import PromptableSegmenter, TextGrounder
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.scan import LEFT_TO_READER, Scanned, kept_words, scan
from napari_medclipsam.wording import counted

# A slice takes a second or two; beyond this the thread of the models is stuck.
_PATIENCE_S = 60.0


@dataclass(frozen=True, eq=False)
class ScanOutcome:
    """How a scan has ended.

    Parameters
    ----------
    text : str
        What was looked for.
    cases : tuple of Scanned
        Every case that was looked at, refused or left out.
    is_complete : bool
        False where it was cancelled.
    """

    text: str
    cases: tuple[Scanned, ...]
    is_complete: bool

    @property
    def message(self) -> str:
        """For the reader."""
        names = ("n_slices", "n_found", "n_kept")
        n_slices, n_found, n_kept = (sum(getattr(one, name) for one in self.cases) for name in names)
        begun = "Looked" if self.is_complete else "Cancelled: looked"
        told = f'{begun} for "{self.text}" in {counted(n_slices, "slice")}: proposals in {n_found}.'
        told = f"{told} {kept_words(n_kept)}".rstrip()
        doubtful = [one for one in self.cases if one.caution]
        if doubtful:
            told += f" Of {', '.join(one.case for one in doubtful)}: {doubtful[0].caution}"
        left = [one.case for one in self.cases if one.trouble == LEFT_TO_READER]
        if left:
            told += f" Left to you, for you had opened it: {', '.join(left)}."
        refused = [one for one in self.cases if one.trouble and one.case not in left]
        if refused:
            told += f" {counted(len(refused), 'case')} could not be read, first {refused[0].case}: {refused[0].trouble}"
        return told


class ScanRequest:
    """Looks for a text in slices of many cases of a project; see `scan.scan`.

    A reader who wants a case comes first: `leave_to_reader` takes it out of the scan.

    Parameters
    ----------
    project : Project
        Open for writing; the classes of the text are in it.
    text : str
        See `scan.scan_text`.
    todo : dict
        Case → slice indices, see `scan.unscanned`; without the case that is open.
    follow : callable, optional
        Called in the thread with each case that was scanned.
    """

    kind: ClassVar[Literal["scan"]] = "scan"

    def __init__(
        self,
        project: Project,
        text: str,
        todo: Mapping[str, Sequence[int]],
        follow: Callable[[str], None] | None = None,
    ) -> None:
        self._project, self._text, self._todo, self._follow = project, text, todo, follow
        self._changed = threading.Condition()
        self._with_reader: set[str] = set()
        self._stopped = False
        self._at: str | None = None

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> ScanOutcome:
        """Scan; raises as `scan.scan`."""
        total, n_done, was_cancelled = sum(map(len, self._todo.values())), 0, False

        def stops() -> bool:
            nonlocal was_cancelled
            was_cancelled = was_cancelled or self._stopped or (cancelled is not None and cancelled())
            return was_cancelled

        def told(n: int) -> None:
            nonlocal n_done
            n_done += n
            if progress is not None:
                progress(n_done, total)

        cases: list[Scanned] = []
        try:
            for one in scan(
                self._project,
                self._text,
                grounder,
                segmenter,
                todo=self._todo,
                progress=told,
                cancelled=stops,
                left_to_reader=self._is_with_reader,
            ):
                self._let_go()
                cases.append(one)
                if one.n_slices and self._follow is not None and not stops():
                    self._follow(one.case)
        finally:
            self._let_go()
        return ScanOutcome(self._text, tuple(cases), not was_cancelled)

    def _is_with_reader(self, case: str) -> bool:
        """Tell whether a case is to be left alone; else it is at work from now on."""
        with self._changed:
            if self._stopped or case in self._with_reader:
                return True
            self._at = case
            return False

    def _let_go(self) -> None:
        with self._changed:
            self._at = None
            self._changed.notify_all()

    def leave_to_reader(self, case: str) -> None:
        """Have a case left alone from now on; waits until the scan has closed it. Not for the GUI thread."""
        with self._changed:
            self._with_reader.add(case)
            self._changed.wait_for(lambda: self._at != case, _PATIENCE_S)

    def stop(self) -> None:
        """Stop before the next slice, or before it has begun; what was found until then is kept."""
        self._stopped = True

    def end(self) -> None:
        """Stop, and wait until no case of the scan is open any more. Not for the GUI thread of a living window."""
        with self._changed:
            self.stop()
            self._changed.wait_for(lambda: self._at is None, _PATIENCE_S)
