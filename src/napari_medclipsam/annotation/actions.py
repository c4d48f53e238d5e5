"""What was done to a session, for whoever keeps a record of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from napari_medclipsam.annotation.masks import VoxelChange
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.states import SliceState

Verb = Literal[
    "text",
    "prompts",
    "mask",
    "paint",
    "propagation",
    "volume",
    "accept",
    "reject",
    "clear",
    "import",
    "undo",
    "redo",
]

#: What models answer. The rest is what a reader does.
MODEL_VERBS = frozenset({"text", "mask", "propagation", "volume"})


@dataclass(frozen=True, eq=False)
class Deed:
    """What is being done, in words and figures.

    Parameters
    ----------
    verb : str
        One of `Verb`.
    name : str
        Of the step of undo.
    at : SliceAt, optional
        The slice that it is about; None for several.
    parameters : dict
        JSON values that say how it was done; see docs/project-format.md.
    model : str
        Name and version of the model that answered; "" where none did.
    """

    verb: Verb
    name: str
    at: SliceAt | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""


@dataclass(frozen=True, eq=False)
class Action:
    """A deed and all that it changed: putting this into a book again does it again.

    Parameters
    ----------
    deed : Deed
        What was done.
    step : int
        Number of the step of undo that it belongs to; 0 for none.
    states : dict
        The slices that it changed, as they are afterwards.
    voxels : tuple of VoxelChange
        What it did to the mask, in this order.
    """

    deed: Deed
    step: int
    states: Mapping[SliceAt, SliceState]
    voxels: tuple[VoxelChange, ...] = ()


class Recorder(Protocol):
    """Keeps a record of a session."""

    def record(self, action: Action) -> str:
        """Take what was just done; return what the reader must be told about the record of it, "" for nothing."""
        ...
