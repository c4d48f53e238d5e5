"""Work for the models on many slices: propagation and the whole volume.

Like the requests on one slice they are values, but they share the image's voxels instead of copying them: the voxels
are read only. `cancelled` is asked before each slice; what was done until then is the outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeVar

import numpy as np

from napari_medclipsam.annotation.book import Ticket
from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import prompts_of_mask
from napari_medclipsam.annotation.requests import Cancelled, Progress, models_name, stored_answers
from napari_medclipsam.annotation.states import PackedMask, Proposal
from napari_medclipsam.images.intensity import Window
from napari_medclipsam.images.look import look_of
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import PromptableSegmenter, TextGrounder
from napari_medclipsam.pipeline import PipelineOptions, segment_slices
from napari_medclipsam.prompting.propagation import Carried, blended, propagate
from napari_medclipsam.prompting.text import parse_structures
from napari_medclipsam.saliency.caution import cautions_of
from napari_medclipsam.saliency.certainty import Certainty
from napari_medclipsam.saliency.work import SaliencyCancelled, watched
from napari_medclipsam.wording import counted

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class StackOutcome:
    """Proposals for many slices, on the axes of the stored slices.

    Parameters
    ----------
    request : PropagationRequest or VolumeRequest
        What was asked.
    proposals : dict
        Slice index → phrase → proposal.
    visited : frozenset of int
        The slices that were decided, also those where nothing was found.
    certainties : dict
        Slice index → phrase → how sure the model is of it, found or not.
    looks : dict
        Slice index → uint8 (16,): what the slice looks like, see `images.look`.
    message : str
        One sentence about how it ended.
    model : str
        Who answered.
    """

    request: PropagationRequest | VolumeRequest
    proposals: Mapping[int, Mapping[str, Proposal]]
    visited: frozenset[int]
    certainties: Mapping[int, Mapping[str, Certainty]]
    looks: Mapping[int, np.ndarray]
    message: str = ""
    model: str = ""
    caution: str = ""


@dataclass(frozen=True, eq=False)
class PropagationRequest:
    """One object, from accepted slices to their neighbours; see `Session.plan_propagation`.

    Parameters
    ----------
    anchors : dict
        The accepted masks that bound the spans, by slice index.
    spans : tuple of (int, int)
        (first, last) slice indices to fill, both inclusive; each lies beside the slice `at`.
    text : str
        The name of the class; goes into it where the model knows it.
    """

    image: AnnotatedImage
    window: Window
    at: SliceAt
    key: ObjectKey
    anchors: Mapping[int, PackedMask]
    spans: tuple[tuple[int, int], ...]
    text: str
    tickets: Mapping[int, Ticket]
    kind: ClassVar[Literal["propagation"]] = "propagation"

    @property
    def phrases(self) -> tuple[str, ...]:
        """The name of the class."""
        return (self.text,)

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> StackOutcome:
        """Fill the spans."""
        runs = [(span, start) for span in self.spans for start in self._starts(span)]
        visit = _Visit(sum(last - first + 1 for (first, last), _ in runs), progress, cancelled)
        asked = watched(grounder, visit.part, cancelled)
        found: dict[int, Carried] = {}
        visited: set[int] = set()
        for span in self.spans:
            ways: list[dict[int, Carried]] = []
            for start in self._starts(span):
                indices = range(span[0], span[1] + 1) if start < span[0] else range(span[1], span[0] - 1, -1)
                slices = visit.slices(self.image, self.at, self.window, indices)
                carried = propagate(self._start(start), slices, segmenter, asked, self.text)
                ways.append({c.index: c for c in visit.until_cancelled(carried)})
                visit.skip(len(indices) - len(ways[-1]))
            if visit.stopped:
                # Half of a span between two anchors is no answer; beyond the outermost anchor it is.
                partial = ways[0] if len(self._starts(span)) == 1 and ways else {}
                found |= partial
                visited |= set(partial)
                break
            found |= blended(ways[0], ways[1], span) if len(ways) == 2 else dict(*ways)
            visited |= set(range(span[0], span[1] + 1))
        return StackOutcome(
            self,
            self._proposals(found),
            frozenset(visited),
            {index: {self.text: carried.certainty} for index, carried in found.items()},
            {index: look for index, look in visit.looks.items() if index in visited},
            self._message(found, visit.stopped),
            models_name(grounder, segmenter),
        )

    def _start(self, index: int) -> tuple[Slice, np.ndarray]:
        """Return an anchor as the models see it: pixels and mask."""
        at = self.at.moved(index)
        mask = np.ascontiguousarray(self.image.turn(at).to_turned(self.anchors[index].unpacked()))
        return self.image.slice_pixels(at, self.window), mask

    def _starts(self, span: tuple[int, int]) -> list[int]:
        """Return the anchors beside a span that have a mask: where it is entered from."""
        return [i for i in (span[0] - 1, span[1] + 1) if i in self.anchors and not self.anchors[i].is_empty]

    def _proposals(self, found: Mapping[int, Carried]) -> dict[int, dict[str, Proposal]]:
        to_stored = self.image.turn(self.at).to_stored
        proposals = {}
        for index, carried in found.items():
            mask = to_stored(carried.mask_yx)
            # The boxes hold the mask together when the user corrects it with clicks.
            proposal = Proposal(PackedMask.of(mask), self.kind, carried.estimated_iou, prompts_of_mask(mask))
            proposals[index] = {self.text: proposal}
        return proposals

    def _message(self, found: Mapping[int, Carried], stopped: bool) -> str:
        if not found:
            return "Propagation was cancelled." if stopped else "The structure ends here: no slice was added."
        indices = sorted(found)
        ended = "was cancelled after" if stopped else "filled"
        slices = f"{counted(len(indices), 'slice')}, {indices[0]} to {indices[-1]}"
        return f"Propagation {ended} {slices}; look through and accept them."


@dataclass(frozen=True, eq=False)
class VolumeRequest:
    """A text on every slice of a stack; see `Session.plan_volume`."""

    image: AnnotatedImage
    window: Window
    at: SliceAt
    text: str
    indices: tuple[int, ...]
    tickets: Mapping[int, Ticket]
    options: PipelineOptions = field(default_factory=PipelineOptions)
    kind: ClassVar[Literal["volume"]] = "volume"

    @property
    def phrases(self) -> tuple[str, ...]:
        """The structures of the text."""
        return parse_structures(self.text)

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> StackOutcome:
        """Ask for the text slice by slice, with the presence gate of `pipeline.segment_slice`."""
        visit = _Visit(len(self.indices), progress, cancelled)
        slices = visit.slices(self.image, self.at, self.window, self.indices)
        turn = self.image.turn(self.at)
        proposals: dict[int, dict[str, Proposal]] = {}
        certainties: dict[int, dict[str, Certainty]] = {}
        known, caution = False, ""
        asked = watched(grounder, visit.part, cancelled)
        results = segment_slices(slices, self.text, asked, segmenter, self.options, needs_maps=False)
        for index, result in visit.until_cancelled(results):
            known |= result.known
            caution = caution or cautions_of((s.saliency for s in result.structures), self.image)
            answers = stored_answers(result, turn)
            certainties[index] = {a.saliency.text: a.certainty for a in answers}
            proposals[index] = {
                a.saliency.text: Proposal(PackedMask.of(a.mask_yx), self.kind, a.estimated_iou, a.prompts)
                for a in answers
                if a.mask_yx.any()
            }
        message = f"{self._message(proposals, visit.stopped, known)} {caution}".strip()
        return StackOutcome(
            self,
            proposals,
            frozenset(proposals),
            certainties,
            visit.looks,
            message,
            models_name(grounder, segmenter),
            caution,
        )

    def _message(self, proposals: Mapping[int, Mapping[str, Proposal]], stopped: bool, known: bool) -> str:
        n_found, n_seen = sum(bool(p) for p in proposals.values()), len(proposals)
        if not known and n_seen and not n_found:
            return f'"{self.text}" has words that this model does not know, or is not in this image; nothing was drawn.'
        ended = "Cancelled: found" if stopped else "Found"
        return f'{ended} "{self.text}" in {n_found} of {counted(n_seen, "slice")}; look through and accept them.'


class _Visit:
    """Hands out slices, reports progress and notices that the user cancelled."""

    def __init__(self, total: int, progress: Progress | None, cancelled: Cancelled | None) -> None:
        self._total, self._progress, self._cancelled = total, progress, cancelled
        self._done = 0
        self.stopped = False
        self.looks: dict[int, np.ndarray] = {}

    def slices(
        self, image: AnnotatedImage, at: SliceAt, window: Window, indices: Iterable[int]
    ) -> Iterator[tuple[int, Slice]]:
        """Yield (index, slice) until there is none left or the user cancelled."""
        for index in indices:
            if self.stopped or (self._cancelled is not None and self._cancelled()):
                self.stopped = True
                return
            pixels = image.slice_pixels(at.moved(index), window)
            self.looks[index] = look_of(pixels)
            yield index, pixels
            self.skip(1)

    def until_cancelled(self, found: Iterator[T]) -> Iterator[T]:
        """Yield what is found until the user cancels in the middle of a slice."""
        try:
            yield from found
        except SaliencyCancelled:
            self.stopped = True

    def part(self, done: int, total: int) -> None:
        """Tell how far the slice at work is."""
        if self._progress is not None and done < total:
            self._progress(self._done + done / total, self._total)

    def skip(self, n: int) -> None:
        """Count slices as done."""
        self._done = min(self._total, self._done + n)
        if self._progress is not None and n:
            self._progress(self._done, self._total)
