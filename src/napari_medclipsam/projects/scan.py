"""Letting a model look at every slice that nobody has decided, so that the queue can rank them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.requests import Cancelled, Progress
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.errors import MedclipsamError, ProjectError, PromptError
from napari_medclipsam.models.contracts import PromptableSegmenter, TextGrounder
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.review import ENTROPY, STATUSES, CaseReview
from napari_medclipsam.prompting.text import parse_structures
from napari_medclipsam.wording import counted

# As many slices are one record: what is lost when the program is stopped, some seconds of work.
_BLOCK = 16
#: What `Scanned.trouble` says of a case that a reader has.
LEFT_TO_READER = "It is open, so it was left to its reader: Whole volume looks through it."
_ACCEPTED = STATUSES.index("accepted")


@dataclass(frozen=True)
class Scanned:
    """What became of one case.

    Parameters
    ----------
    case : str
    n_slices : int
        That were looked at now.
    n_found : int
        Of these, slices with a proposal.
    trouble : str
        Why it could not be scanned; "" where it could.
    n_kept : int
        Slices that were passed over: a file or a reader has begun them, and they wait for a decision.
    caution : str
        What belongs beside its proposals, see `saliency.caution`; "" where there is nothing to say.
    """

    case: str
    n_slices: int
    n_found: int
    trouble: str = ""
    n_kept: int = 0
    caution: str = ""


def kept_words(n_kept: int) -> str:
    """Say what a scan has passed over; "" where it has not."""
    keep = "keeps" if n_kept == 1 else "keep"
    return f"{counted(n_kept, 'slice')} {keep} what was imported or made by a reader." if n_kept else ""


def scan_text(project: Project, text: str | None = None) -> str:
    """Return the text that a scan asks for: `text`, or all classes, each by its first prompt or else its name.

    Raises
    ------
    ProjectError
        If there is neither.
    PromptError
        If the text can't be used.
    """
    asked = text or "; ".join(next(iter(structure.prompts), structure.name) for structure in project.classes)
    if not asked:
        raise ProjectError(
            "The project has no classes to look for; add one, or say what to look for (on the command line: --text)."
        )
    return "; ".join(parse_structures(asked))


def unscanned(project: Project, text: str, cases: Iterable[str] | None = None) -> dict[str, list[int]]:
    """Return the slices that are not accepted and that no model was asked `text` of: case → slice indices.

    With `cases`, those of these.
    """
    structures = [project.classes.named(phrase) for phrase in parse_structures(text)]
    found = {}
    for case in list(project.studies if cases is None else cases):
        summary = project.summary(case)
        review = summary.review or CaseReview.untouched(project.study(case).grid.shape)
        todo = np.zeros(len(review.statuses), bool)
        for structure in structures:
            table = None if structure is None else review.tables.get(structure.label)
            todo |= True if table is None else table[ENTROPY] < 0
        indices = np.flatnonzero(todo & (review.statuses != _ACCEPTED)).tolist()
        if indices:
            found[case] = indices
    return found


def scan(
    project: Project,
    text: str,
    grounder: TextGrounder,
    segmenter: PromptableSegmenter,
    *,
    todo: Mapping[str, Sequence[int]] | None = None,
    progress: Callable[[int], None] | None = None,
    cancelled: Cancelled | None = None,
    left_to_reader: Callable[[str], bool] = lambda case: False,
) -> Iterator[Scanned]:
    """Ask for a text in every slice that `unscanned` returns; yields how each case ended.

    What it finds are proposals, recorded in the journal like those of a reader but under no reader's name. What a file
    brought or a reader has begun is never replaced: such slices are passed over. It can be stopped at any time, and
    goes on where it was.

    Parameters
    ----------
    project : Project
        Open for writing; the cases to scan closed.
    text : str
        One structure, or several separated by ``;``; each becomes a class.
    grounder, segmenter
        The models.
    todo : dict, optional
        Case → slice indices, where `unscanned` was asked already.
    progress : callable, optional
        Called with the number of slices that were just done.
    cancelled : callable, optional
        Asked before each slice.
    left_to_reader : callable, optional
        Asked with a case before each of its slices: True where a reader has it, or wants it now.

    Raises
    ------
    ProjectError
        If the project is open for reading only.
    """
    project.require_writable()
    for phrase in parse_structures(text):
        project.classes.named_or_added(phrase)
    for case, indices in (unscanned(project, text) if todo is None else todo).items():
        if cancelled is not None and cancelled():
            return
        if left_to_reader(case):
            yield Scanned(case, 0, 0, LEFT_TO_READER)
            continue
        stops = _either(cancelled, left_to_reader, case)
        try:
            yield _scan_case(project, case, indices, text, (grounder, segmenter), progress, stops)
        except MedclipsamError as error:
            yield Scanned(case, 0, 0, str(error))


def _either(cancelled: Cancelled | None, left_to_reader: Callable[[str], bool], case: str) -> Cancelled:
    return lambda: (cancelled is not None and cancelled()) or left_to_reader(case)


def _scan_case(
    project: Project,
    case: str,
    indices: Sequence[int],
    text: str,
    models: tuple[TextGrounder, PromptableSegmenter],
    progress: Callable[[int], None] | None,
    cancelled: Cancelled,
) -> Scanned:
    n_slices, n_found, caution = 0, 0, ""
    with project.open_case(case) as opened:
        opened.reader = ""
        review = opened.summary().review or CaseReview.untouched(project.study(case).grid.shape)
        free = [index for index in indices if not _is_begun(opened.session, review.at(index))]
        n_kept = len(indices) - len(free)
        if progress is not None and n_kept:
            progress(n_kept)
        for first, last in _blocks(free):
            if cancelled():
                break
            try:
                request = opened.session.plan_volume(review.at(first), text, first=first, last=last)
            except PromptError:
                # Every class is accepted here, and only a new prompt waits: that is for its reader.
                continue
            outcome = request.run(*models, _one_by_one(progress), cancelled)
            opened.session.apply(outcome)
            n_slices += len(outcome.visited)
            n_found += sum(bool(found) for found in outcome.proposals.values())
            caution = caution or outcome.caution
    return Scanned(case, n_slices, n_found, n_kept=n_kept, caution=caution if n_found else "")


def _is_begun(session: Session, at: SliceAt) -> bool:
    """Tell whether a slice has anything that waits and is not of a scan: imported, clicked, drawn, carried, asked."""
    if session.book.masks.by_hand(at).any():
        return True
    states = session.state(at).objects.values()
    return any(s.is_outdated or (s.proposal is not None and s.proposal.source != "volume") for s in states)


def _one_by_one(progress: Callable[[int], None] | None) -> Progress:
    n_told = 0

    def told(done: float, total: int) -> None:
        nonlocal n_told
        # A slow map also tells of parts of its slice.
        if progress is not None and int(done) > n_told:
            progress(int(done) - n_told)
            n_told = int(done)

    return told


def _blocks(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of runs of neighbouring indices, none longer than a block."""
    start = 0
    for stop in range(1, len(indices) + 1):
        ends = stop == len(indices) or indices[stop] != indices[stop - 1] + 1
        if ends or stop - start == _BLOCK:
            yield indices[start], indices[stop - 1]
            start = stop
