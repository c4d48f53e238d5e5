"""From a session to requests for the models: what `Session.plan_…` does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_medclipsam.annotation.ask_request import AskRequest, Marked
from napari_medclipsam.annotation.book import Ticket
from napari_medclipsam.annotation.phrasings import PhrasingsRequest
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import Prompts
from napari_medclipsam.annotation.requests import EmbedRequest, MaskRequest, TextRequest
from napari_medclipsam.annotation.stack_requests import PropagationRequest, VolumeRequest
from napari_medclipsam.annotation.states import PackedMask
from napari_medclipsam.asking.regions import box_region
from napari_medclipsam.asking.sentences import Question
from napari_medclipsam.asking.words import checked_words
from napari_medclipsam.errors import PromptError
from napari_medclipsam.prompting.propagation import mask_logits_of
from napari_medclipsam.prompting.text import parse_structures, phrasings_of

if TYPE_CHECKING:
    from napari_medclipsam.annotation.session import Session


def plan_text(session: Session, at: SliceAt, text: str) -> TextRequest:
    """See `Session.plan_text`."""
    parse_structures(text)
    image = session.image.slice_pixels(at, session.window)
    return TextRequest(at, text, image, session.image.turn(at), session.ticket(at), session.options)


def plan_phrasings(session: Session, at: SliceAt, lines: Iterable[str]) -> PhrasingsRequest:
    """See `Session.plan_phrasings`."""
    return PhrasingsRequest(at, phrasings_of(lines), session.image.slice_pixels(at, session.window))


def plan_question(
    session: Session, at: SliceAt, asked: Question | Sequence[str], region_yx: np.ndarray | None
) -> AskRequest:
    """See `Session.plan_question`."""
    meant = asked if isinstance(asked, Question) else checked_words(asked)
    image = session.image
    return AskRequest(at, meant, image.slice_pixels(at, session.window), image.turn(at), region_yx, image.looks_like)


def marked_region(session: Session, at: SliceAt) -> Marked | None:
    """See `Session.marked_region`."""
    key = session.current
    if key is None:
        return None
    name = session.classes[key.label].name
    drawn = (session.labels[at.selector] == key.label) | (session.proposed[at.selector] == key.label)
    if drawn.any():
        return Marked(drawn, f'the mask of "{name}"')
    boxes = session.state(at).of(key).prompts.boxes_xyxy
    if not boxes:
        return None
    try:
        return Marked(box_region(boxes[-1], session.image.shape_yx(at)), f'the box of "{name}"')
    except PromptError:
        # A box that is just being begun holds no pixel yet.
        return None


def plan_mask(session: Session, at: SliceAt, key: ObjectKey, prompts: Prompts | None) -> MaskRequest:
    """See `Session.plan_mask`."""
    prompts = session.state(at).of(key).prompts if prompts is None else prompts
    prior = _earlier_answer(session, at, key, prompts)
    if not prompts.is_usable and (prior is None or not prompts):
        raise PromptError("There is nothing to go by in this slice; click on the structure or draw a box around it.")
    image = session.image.slice_pixels(at, session.window)
    return MaskRequest(at, key, prompts, image, session.image.turn(at), session.ticket(at), prior)


def _earlier_answer(session: Session, at: SliceAt, key: ObjectKey, prompts: Prompts) -> np.ndarray | None:
    """Return logits of the mask that the newest points correct; None if the prompts start anew."""
    state = session.state(at).of(key)
    if not state.corrects(prompts):
        return None
    recent = session.recent_logits.get((at, key))
    if recent is not None and recent[0] is state.proposal:
        return recent[1]
    mask = state.proposal.mask.unpacked() if state.proposal is not None else session.object_mask(at, key)
    return mask_logits_of(mask) if mask.any() else None


def plan_embedding(session: Session, at: SliceAt) -> EmbedRequest | None:
    """See `Session.plan_embedding`."""
    if at.index < 0 or at.index >= session.image.n_slices(at):
        return None
    return EmbedRequest(session.image, session.window, at)


def plan_propagation(
    session: Session, at: SliceAt, key: ObjectKey, first: int | None, last: int | None
) -> PropagationRequest:
    """See `Session.plan_propagation`."""
    anchors = session.accepted_slices(at, key)
    if at.index not in anchors:
        raise PromptError("Propagation starts from an accepted slice; accept the mask of this slice first.")
    low, high = _range(session, at, first, last)
    below = max((i for i in anchors if i < at.index), default=-1)
    above = min((i for i in anchors if i > at.index), default=session.image.n_slices(at))
    spans = tuple(
        (start, stop)
        for start, stop in ((max(low, below + 1), at.index - 1), (at.index + 1, min(high, above - 1)))
        if start <= stop
    )
    if not spans:
        raise PromptError("There is no slice to propagate to: its neighbours are accepted, or outside the range.")
    bounds = {i: PackedMask.of(session.object_mask(at.moved(i), key)) for i in (below, at.index, above) if i in anchors}
    beside = {i for start, stop in spans for i in (start - 1, stop + 1)}
    if all(mask.is_empty for i, mask in bounds.items() if i in beside):
        raise PromptError("The structure is accepted as absent here; propagate from a slice where it has a mask.")
    return PropagationRequest(
        session.image,
        session.window,
        at,
        key,
        bounds,
        spans,
        session.classes[key.label].name,
        _tickets(session, at, [i for start, stop in spans for i in range(start, stop + 1)]),
    )


def plan_volume(session: Session, at: SliceAt, text: str, first: int | None, last: int | None) -> VolumeRequest:
    """See `Session.plan_volume`."""
    found = [session.classes.named(phrase) for phrase in parse_structures(text)]
    labels = {c.label for c in found if c is not None}
    low, high = _range(session, at, first, last)
    indices = tuple(i for i in range(low, high + 1) if not _is_settled(session, at.moved(i), labels, len(found)))
    if not indices:
        raise PromptError("Every slice of the range is accepted already; choose other slices.")
    return VolumeRequest(
        session.image, session.window, at, text, indices, _tickets(session, at, indices), session.options
    )


def _is_settled(session: Session, at: SliceAt, labels: set[int], n_phrases: int) -> bool:
    """Tell whether each of the phrases is accepted in a slice."""
    accepted = {key.label for key, s in session.state(at).objects.items() if s.accepted is not None}
    return len(labels & accepted) == n_phrases


def _range(session: Session, at: SliceAt, first: int | None, last: int | None) -> tuple[int, int]:
    """Return the first and last slice of a range that the user may have set, both inclusive."""
    n = session.image.n_slices(at)
    low, high = max(0, first or 0), min(n - 1, n - 1 if last is None else last)
    if low > high:
        raise PromptError(f"The range {first} to {last} has no slice of this image, which has 0 to {n - 1}.")
    return low, high


def _tickets(session: Session, at: SliceAt, indices: list[int] | tuple[int, ...]) -> dict[int, Ticket]:
    return {i: session.ticket(at.moved(i)) for i in indices}
