"""Masks that were made elsewhere become proposals of a session, or are accepted at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from napari_medclipsam.annotation.accepting import accept_objects
from napari_medclipsam.annotation.actions import Deed
from napari_medclipsam.annotation.book import Change
from napari_medclipsam.annotation.masks import VoxelChange
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.annotation.states import NO_PROMPTS, Acceptance, ObjectState, PackedMask, Proposal, SliceState
from napari_medclipsam.annotation.wording import range_name
from napari_medclipsam.errors import GeometryError

# What a file brought was settled by somebody.
_CERTAIN = 1.0


def bring_in(
    session: Session, masks: Mapping[ObjectKey, np.ndarray], *, accept: bool, every_slice: bool = False
) -> Change:
    """Take masks from elsewhere into a session, as one step of undo.

    Slices in which all masks are empty stay as they are, but for `every_slice`. What was drawn by hand, and who gets
    a voxel that two objects claim, is as for any proposal that is accepted.

    Parameters
    ----------
    session : Session
        Is changed.
    masks : mapping of ObjectKey to numpy.ndarray
        bool, on the image grid; each label has a class.
    accept : bool
        True: the masks are accepted. False: they are proposals, which the reader accepts slice by slice or all.
    every_slice : bool
        Whoever made the masks has read every slice: those that nothing is known of are accepted as without a finding.

    Raises
    ------
    GeometryError
        If a mask has another shape than the image.
    """
    states: dict[SliceAt, SliceState] = {}
    for key, mask in masks.items():
        if mask.shape != session.image.shape:
            raise GeometryError(
                f"The mask has shape {mask.shape} but the image has {session.image.shape}. Import a mask of this image."
            )
        for at in _slices_with(mask):
            proposal = Proposal(PackedMask.of(mask[at.selector]), "import", _CERTAIN)
            states[at] = states.get(at, session.state(at)).changed(key, proposal=proposal)
    voxels: list[VoxelChange] = []
    for at in states if accept else ():
        states[at], done = accept_objects(
            session.book.masks,
            at,
            states[at],
            sorted(key for key in masks if states[at].of(key).proposal is not None),
            overlap=session.overlap,
            keep_hand=session.keep_hand_edits,
            anchor=True,
        )
        voxels += done
    if every_slice:
        absent = ObjectState(accepted=Acceptance(_CERTAIN, NO_PROMPTS, anchor=True))
        for at in _slices_of(session.image.shape):
            if at not in states and session.state(at).status == "untouched" and not session.book.masks.objects_in(at):
                states[at] = SliceState(dict.fromkeys(masks, absent))
    deed = Deed("import", f"import, {range_name(states)}", parameters={"accepted": accept})
    return session.book.commit(deed, states, voxels, message="" if states else "The mask is empty: nothing changed.")


def _slices_with(mask: np.ndarray) -> list[SliceAt]:
    """Return the slices in which a mask has pixels."""
    return [at for at in _slices_of(mask.shape) if mask[at.selector].any()]


def _slices_of(shape: tuple[int, ...]) -> list[SliceAt]:
    """Return the slices across the first axis; a flat picture is one."""
    return [SliceAt((None, None))] if len(shape) == 2 else [SliceAt.across(0, index) for index in range(shape[0])]
