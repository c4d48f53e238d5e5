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
from napari_medclipsam.annotation.states import PackedMask, Proposal, SliceState
from napari_medclipsam.annotation.wording import range_name
from napari_medclipsam.errors import GeometryError

# What a file brought was settled by somebody.
_CERTAIN = 1.0


def bring_in(session: Session, masks: Mapping[ObjectKey, np.ndarray], *, accept: bool) -> Change:
    """Take masks from elsewhere into a session, as one step of undo.

    Slices in which a mask is empty stay as they are. What was drawn by hand, and who gets a voxel that two objects
    claim, is as for any proposal that is accepted.

    Parameters
    ----------
    session : Session
        Is changed.
    masks : mapping of ObjectKey to numpy.ndarray
        bool, on the image grid; each label has a class.
    accept : bool
        True: the masks are accepted. False: they are proposals, which the reader accepts slice by slice or all.

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
    deed = Deed("import", f"import, {range_name(states)}", parameters={"accepted": accept})
    return session.book.commit(deed, states, voxels, message="" if states else "The mask is empty: nothing changed.")


def _slices_with(mask: np.ndarray) -> list[SliceAt]:
    """Return the slices across the first axis in which a mask has pixels; a flat picture is one slice."""
    if mask.ndim == 2:
        return [SliceAt((None, None))] if mask.any() else []
    return [SliceAt.across(0, int(index)) for index in np.flatnonzero(mask.any(axis=(1, 2)))]
