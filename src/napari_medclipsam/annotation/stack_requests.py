"""Work for the models on many slices: propagation and the whole volume.

Like the requests on one slice they are values, but they share the image's voxels instead of copying them: the voxels
are read only. `cancelled` is asked before each slice; what was done until then is the outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.requests import Cancelled, Progress, Ticket
from napari_medclipsam.annotation.states import PackedMask, Proposal
from napari_medclipsam.images.intensity import Window
from napari_medclipsam.models.contracts import PromptableSegmenter, TextGrounder
from napari_medclipsam.pipeline import PipelineOptions


@dataclass(frozen=True, eq=False)
class StackOutcome:
    """Proposals for many slices.

    Parameters
    ----------
    request : PropagationRequest or VolumeRequest
        What was asked.
    proposals : dict
        Slice → class name → proposal (volume), or slice → proposal of the one object (propagation) under "".
    complete : bool
        False if it was cancelled.
    message : str
        One sentence about how it ended.
    """

    request: PropagationRequest | VolumeRequest
    proposals: Mapping[SliceAt, Mapping[str, Proposal]]
    complete: bool = True
    message: str = ""


@dataclass(frozen=True, eq=False)
class PropagationRequest:
    """One object, from accepted slices to their neighbours; see `Session.plan_propagation`.

    Parameters
    ----------
    anchors : dict
        The accepted masks that bound the spans, by slice index.
    spans : tuple of (int, int)
        (first, last) slice indices to fill, both inclusive; each lies between two anchors or beyond the outermost.
    text : str
        The phrase of the class; "" to go by the masks alone.
    """

    image: AnnotatedImage
    window: Window
    at: SliceAt
    key: ObjectKey
    anchors: Mapping[int, PackedMask]
    spans: tuple[tuple[int, int], ...]
    text: str
    tickets: Mapping[int, Ticket]
    kind: ClassVar[str] = "propagation"

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> StackOutcome:
        """Fill the spans."""
        raise NotImplementedError


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
    kind: ClassVar[str] = "volume"

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> StackOutcome:
        """Ask for the text slice by slice, with the presence gate of `pipeline.segment_slice`."""
        raise NotImplementedError
