"""What is known about a slice besides its voxels: prompts, proposals and what was accepted. All are values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from napari_medclipsam.annotation.places import ObjectKey, bounding_part
from napari_medclipsam.annotation.prompts import NO_PROMPTS, Prompts

Source = Literal["text", "prompts", "propagation", "volume", "import"]
Status = Literal["untouched", "prompted", "proposed", "accepted"]


@dataclass(frozen=True, eq=False)
class PackedMask:
    """A 2D bool mask in little memory: its bounding box and one bit per pixel of it.

    Parameters
    ----------
    shape_yx : tuple of int
        Of the slice.
    part_yx : tuple of slice, optional
        The tight box; None for an empty mask.
    bits : bytes
        The pixels of the box, row by row.
    """

    shape_yx: tuple[int, int]
    part_yx: tuple[slice, slice] | None
    bits: bytes

    @classmethod
    def of(cls, mask_yx: np.ndarray) -> PackedMask:
        """Pack a bool mask."""
        part = bounding_part(mask_yx)
        bits = b"" if part is None else np.packbits(mask_yx[part]).tobytes()
        return cls((int(mask_yx.shape[0]), int(mask_yx.shape[1])), part, bits)

    def unpacked(self) -> np.ndarray:
        """Return the bool mask, at slice size."""
        mask = np.zeros(self.shape_yx, bool)
        if self.part_yx is not None:
            view = mask[self.part_yx]
            view[...] = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=view.size).reshape(view.shape)
        return mask

    @property
    def is_empty(self) -> bool:
        """True when no pixel is inside."""
        return self.part_yx is None


@dataclass(frozen=True, eq=False)
class Proposal:
    """A mask that a model made and nobody has accepted yet.

    Parameters
    ----------
    mask : PackedMask
        Of one object in one slice.
    source : {"text", "prompts", "propagation", "volume", "import"}
        What it was made from.
    estimated_iou : float
        The segmenter's own estimate, in [0, 1]; settles overlaps under the policy "score".
    prompts : Prompts
        What it answers; another value in the slice means that it is out of date.
    """

    mask: PackedMask
    source: Source
    estimated_iou: float
    prompts: Prompts = NO_PROMPTS


@dataclass(frozen=True)
class Acceptance:
    """That the user accepted an object in a slice.

    Parameters
    ----------
    score : float
        The estimated IoU of what was accepted; 1.0 for a mask drawn by hand.
    prompts : Prompts
        As they were then.
    anchor : bool
        True when the slice was accepted by itself: propagation then starts and ends there. False when it was accepted
        with a whole range, which a later correction may propose to change.
    """

    score: float
    prompts: Prompts = NO_PROMPTS
    anchor: bool = True


@dataclass(frozen=True, eq=False)
class ObjectState:
    """One object in one slice.

    Parameters
    ----------
    prompts : Prompts
        Points and boxes.
    proposal : Proposal, optional
        What the model proposes.
    accepted : Acceptance, optional
        None while it is not accepted. An object may be accepted where it is empty: then it is not in the slice.
    """

    prompts: Prompts = NO_PROMPTS
    proposal: Proposal | None = None
    accepted: Acceptance | None = None

    @property
    def answered(self) -> Prompts | None:
        """The prompts that the proposal, or else what was accepted, answers; None where there is neither."""
        newest = self.proposal or self.accepted
        return None if newest is None else newest.prompts

    def corrected(self, prompts: Prompts) -> Prompts:
        """Return changed prompts without those of a text, once there is a click beside them.

        The box of a text is a guess, and its mask is what the reader saw and corrects: kept beside his clicks, the box
        would hold the mask where it is wrong (docs/adr/0018).
        """
        found = self.proposal
        if found is None or found.source != "text" or prompts == found.prompts or not prompts.extends(found.prompts):
            return prompts
        return Prompts(prompts.points[len(found.prompts.points) :])

    def corrects(self, prompts: Prompts) -> bool:
        """Tell whether prompts correct the mask that is there; else they describe the object anew."""
        if self.proposal is not None and self.proposal.source == "text" and not prompts.boxes_xyxy:
            return True
        return self.answered is not None and prompts.extends(self.answered)

    @property
    def is_outdated(self) -> bool:
        """True when the prompts have changed since they were answered, and can be answered."""
        if self.answered is None:
            return self.prompts.is_usable
        return bool(self.prompts) and self.prompts != self.answered

    @property
    def is_blank(self) -> bool:
        """True when there is nothing to remember."""
        return not self.prompts and self.proposal is None and self.accepted is None


@dataclass(frozen=True, eq=False)
class SliceState:
    """All objects of one slice; blank ones are left out."""

    objects: Mapping[ObjectKey, ObjectState] = field(default_factory=dict)

    def of(self, key: ObjectKey) -> ObjectState:
        """Return the state of an object, blank if nothing is known of it."""
        return self.objects.get(key, ObjectState())

    def with_object(self, key: ObjectKey, state: ObjectState) -> SliceState:
        """Return this slice with another state of one object."""
        objects = {k: s for k, s in self.objects.items() if k != key}
        if not state.is_blank:
            objects[key] = state
        return SliceState(objects)

    def changed(self, key: ObjectKey, **fields: object) -> SliceState:
        """Return this slice with some fields of one object replaced."""
        return self.with_object(key, replace(self.of(key), **fields))  # type: ignore[arg-type]

    def without(self, key: ObjectKey) -> SliceState:
        """Return this slice without one object."""
        return self.with_object(key, ObjectState())

    def rejected(self) -> SliceState:
        """Return this slice without its proposals and the prompts that they answer; what was accepted stays."""
        state = self
        for key in self.objects:
            accepted = self.of(key).accepted
            prompts = NO_PROMPTS if accepted is None else accepted.prompts
            state = state.changed(key, proposal=None, prompts=prompts)
        return state

    @property
    def proposals(self) -> dict[ObjectKey, Proposal]:
        """The proposals of the slice, by object."""
        return {key: s.proposal for key, s in self.objects.items() if s.proposal is not None}

    @property
    def status(self) -> Status:
        """How far the slice is: a proposal that waits counts more than an acceptance before it."""
        states = self.objects.values()
        if any(s.proposal is not None for s in states):
            return "proposed"
        if any(s.is_outdated for s in states):
            return "prompted"
        return "accepted" if any(s.accepted is not None for s in states) else "untouched"

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""
        masks = sum(len(p.mask.bits) for p in self.proposals.values())
        return 200 + masks + sum(300 + 100 * len(s.prompts.points) for s in self.objects.values())
