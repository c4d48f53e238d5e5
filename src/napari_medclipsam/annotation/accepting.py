"""How proposals become part of the mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from napari_medclipsam.annotation.masks import LabelMasks, VoxelChange
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import NO_PROMPTS
from napari_medclipsam.annotation.states import Acceptance, Proposal, SliceState

OverlapPolicy = Literal["new", "old", "score"]

# What a person drew, or a file brought, is certain.
_CERTAIN = 1.0


def accept_objects(
    masks: LabelMasks,
    at: SliceAt,
    state: SliceState,
    keys: Sequence[ObjectKey],
    *,
    overlap: OverlapPolicy,
    keep_hand: bool,
    anchor: bool,
) -> tuple[SliceState, list[VoxelChange]]:
    """Write the proposals of some objects of a slice into the mask.

    Parameters
    ----------
    masks : LabelMasks
        Is changed.
    at, state
        The slice and what is known about it.
    keys : sequence of ObjectKey
        Objects without a proposal are accepted as they are in the mask.
    overlap, keep_hand
        See `Session`.
    anchor : bool
        See `Acceptance`.

    Returns
    -------
    state : SliceState
        The slice afterwards.
    changes : list of VoxelChange
        What was written.
    """
    changes = []
    for key in keys:
        before = state.of(key)
        score, prompts = _CERTAIN if before.accepted is None else before.accepted.score, before.prompts
        if before.proposal is not None:
            score = before.proposal.estimated_iou
            if before.proposal.source == "text" and prompts == before.proposal.prompts:
                # The guesses of a text have done what they were for: later clicks correct the mask.
                prompts = NO_PROMPTS
            keep = _kept_from(masks, at, state, key, before.proposal, overlap)
            change = masks.write_object(at, key, before.proposal.mask.unpacked(), keep_yx=keep, keep_hand=keep_hand)
            changes += [change] if change is not None else []
        state = state.changed(key, prompts=prompts, proposal=None, accepted=Acceptance(score, prompts, anchor))
    return state, changes


def _kept_from(
    masks: LabelMasks, at: SliceAt, state: SliceState, key: ObjectKey, proposal: Proposal, overlap: OverlapPolicy
) -> np.ndarray | None:
    """Return the pixels of other objects that the proposal may not have; None if it may have all."""
    if overlap == "new":
        return None
    kept = np.zeros(masks.labels[at.selector].shape, bool)
    for other in masks.objects_in(at):
        accepted = state.of(other).accepted
        score = _CERTAIN if accepted is None else accepted.score
        if other != key and (overlap == "old" or score >= proposal.estimated_iou):
            kept |= masks.object_mask(at, other)
    if overlap == "score":
        kept |= masks.by_hand(at) & (masks.labels[at.selector] != 0)
    return kept
