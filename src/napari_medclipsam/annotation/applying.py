"""From what the models found to the session: what `Session.apply` does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medclipsam.annotation.actions import Deed
from napari_medclipsam.annotation.book import Change
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import NO_PROMPTS
from napari_medclipsam.annotation.requests import MaskOutcome, TextAnswer, TextOutcome
from napari_medclipsam.annotation.scores import scores_value
from napari_medclipsam.annotation.stack_requests import PropagationRequest, StackOutcome
from napari_medclipsam.annotation.states import ObjectState, PackedMask, Proposal, SliceState
from napari_medclipsam.wording import counted

if TYPE_CHECKING:
    from napari_medclipsam.annotation.session import Session

_STALE = "An answer came too late for its slice and was dropped."


def apply_text(session: Session, outcome: TextOutcome) -> Change:
    """Take in what a text found: boxes as prompts and masks as proposals, for each phrase that is known."""
    request = outcome.request
    if not session.take(request.at, request.ticket, "text"):
        return Change(message=_STALE)
    session.text = request.text
    session.recent_answers.put(request.at, outcome.answers)
    n_classes = len(session.classes)
    state = session.state(request.at)
    for answer in outcome.answers:
        state = _with_answer(session, state, answer)
    name = f'find "{request.text}", {session.place_name(request.at)}'
    parameters = {"text": request.text, "window": session.window, "answers": [_told(a) for a in outcome.answers]}
    sure = {request.at.index: {a.saliency.text: a.certainty for a in outcome.answers}}
    parameters["scores"] = scores_value(request.at.axis, sure, {request.at.index: outcome.look}, session.classes)
    return replace(
        session.book.commit(
            Deed("text", name, request.at, parameters, outcome.model),
            {request.at: state},
            merge_key=("text", request.at, request.text),
            message=" ".join(_sentence(answer) for answer in outcome.answers),
        ),
        classes=len(session.classes) != n_classes,
    )


def _told(answer: TextAnswer) -> dict[str, Any]:
    """Return what the record of a text says about one of its phrases."""
    seen = answer.saliency
    return {
        "text": seen.text,
        "known": seen.known,
        "presence": round(float(seen.presence), 4),
        "verdict": answer.verdict,
        "estimated_iou": round(float(answer.estimated_iou), 4),
    }


def _with_answer(session: Session, state: SliceState, answer: TextAnswer) -> SliceState:
    """Return the slice with what one phrase found; a structure that is not there takes only its own proposals away."""
    if not answer.saliency.known:
        return state
    structure = session.classes.named(answer.saliency.text)
    drawn = bool(answer.mask_yx.any())
    if structure is None and not drawn:
        return state
    structure = structure or session.classes.add(answer.saliency.text)
    key = session.object_of(structure.label)
    if drawn:
        session.current = key
        proposal = Proposal(PackedMask.of(answer.mask_yx), "text", answer.estimated_iou, answer.prompts)
        return state.changed(key, prompts=answer.prompts, proposal=proposal)
    before = state.of(key)
    if before.proposal is not None and before.proposal.source != "prompts":
        return state.changed(key, prompts=NO_PROMPTS, proposal=None)
    return state


def _sentence(answer: TextAnswer) -> str:
    """Say what one phrase found, in words."""
    seen = answer.saliency
    if answer.verdict == "not known":
        hint = f'; the nearest it knows is "{seen.nearest_phrase}"' if seen.nearest_phrase else "; try other words"
        return f'"{seen.text}" is not known to this model{hint}.'
    if answer.verdict == "found" or answer.mask_yx.any():
        return f'"{seen.text}": {answer.verdict} ({seen.presence:.2f}).'
    if seen.present:
        return f'"{seen.text}": unsure ({seen.presence:.2f}), not clear enough to outline; click on it or draw a box.'
    return f'"{seen.text}": {answer.verdict} ({seen.presence:.2f}); nothing was drawn.'


def apply_mask(session: Session, outcome: MaskOutcome) -> Change:
    """Take in the mask of an object, as part of the step that changed its prompts."""
    request = outcome.request
    if not session.take(request.at, request.ticket, "mask", request.key):
        return Change(message=_STALE)
    if not session.state(request.at).of(request.key).prompts:
        # Taken back while the model was at it: there is nothing left that the mask could answer.
        return Change()
    mask = PackedMask.of(outcome.logits_yx > 0)
    proposal = Proposal(mask, "prompts", outcome.estimated_iou, request.prompts)
    session.recent_logits.put((request.at, request.key), (proposal, outcome.logits_yx))
    label, number = request.key
    parameters = {"label": label, "number": number, "estimated_iou": round(float(outcome.estimated_iou), 4)}
    deed = Deed("mask", "mask", request.at, parameters, outcome.model)
    state = session.state(request.at).changed(request.key, proposal=proposal)
    told = "Nothing was found at these prompts." if mask.is_empty else ""
    return session.book.amend(deed, request.at, state, message=told)


def apply_stack(session: Session, outcome: StackOutcome) -> Change:
    """Take in proposals for many slices, except where the user did something meanwhile."""
    n_classes, request = len(session.classes), outcome.request
    states, n_stale, n_imported = {}, 0, 0
    for index, ticket in request.tickets.items():
        at = request.at.moved(index)
        if index not in outcome.visited:
            continue
        if not session.take(at, ticket, request.kind):
            n_stale += 1
            continue
        state = _with_proposals(session, at, outcome)
        n_imported += any(p.source == "import" for p in state.proposals.values())
        if state.proposals != session.state(at).proposals:
            states[at] = state
    name = _stack_name(session, outcome, list(states))
    told = f" {counted(n_stale, 'slice')} changed meanwhile and left alone." if n_stale else ""
    told += f" {counted(n_imported, 'slice keeps', 'slices keep')} what was imported." if n_imported else ""
    return replace(
        session.book.commit(
            Deed(request.kind, name, parameters=_stack_parameters(session, outcome), model=outcome.model),
            states,
            message=outcome.message + told,
        ),
        classes=len(session.classes) != n_classes,
    )


def _with_proposals(session: Session, at: SliceAt, outcome: StackOutcome) -> SliceState:
    """Return a slice with its new proposals, and without earlier ones that were made in the same way."""
    state = session.state(at)
    found = outcome.proposals.get(at.index, {})
    for name in outcome.request.phrases:
        structure = session.classes.named(name)
        if structure is None and name not in found:
            continue
        structure = structure or session.classes.add(name)
        key = _stack_object(session, structure.label, outcome)
        before = state.of(key)
        if _is_settled(before, outcome):
            continue
        proposal = _stack_proposal(session, at, key, outcome, found.get(name))
        if proposal is not None:
            state = state.changed(key, proposal=proposal, prompts=proposal.prompts)
            session.current = session.current or key
        elif before.proposal is not None and before.proposal.source == outcome.request.kind:
            state = state.changed(key, proposal=None, prompts=NO_PROMPTS)
    return state


def _stack_object(session: Session, label: int, outcome: StackOutcome) -> ObjectKey:
    request = outcome.request
    return request.key if isinstance(request, PropagationRequest) else session.object_of(label)


def _is_settled(before: ObjectState, outcome: StackOutcome) -> bool:
    """Tell whether what the user did is to be left alone.

    Prompts of the user's own, anchors and what a file has brought always are; what was accepted with a whole range is
    by a text only.
    """
    if before.proposal is not None and before.proposal.source == "import":
        return True
    own = before.proposal.source == "prompts" if before.proposal is not None else before.accepted is None
    if before.is_outdated or (own and before.prompts):
        return True
    return before.accepted is not None and (
        before.accepted.anchor or not isinstance(outcome.request, PropagationRequest)
    )


def _stack_proposal(
    session: Session, at: SliceAt, key: ObjectKey, outcome: StackOutcome, found: Proposal | None
) -> Proposal | None:
    """Return what is proposed for an object of a slice that is not settled."""
    if found is not None:
        return found
    if session.state(at).of(key).accepted is not None and session.object_mask(at, key).any():
        # Accepted with a range, before a correction elsewhere: now the structure is thought to end earlier.
        nothing = PackedMask.of(np.zeros(session.image.shape_yx(at), bool))
        return Proposal(nothing, outcome.request.kind, 0.0)
    return None


def _stack_parameters(session: Session, outcome: StackOutcome) -> dict[str, Any]:
    request = outcome.request
    parameters: dict[str, Any] = {"text": request.text, "window": session.window, "visited": sorted(outcome.visited)}
    parameters["scores"] = scores_value(request.at.axis, outcome.certainties, outcome.looks, session.classes)
    if isinstance(request, PropagationRequest):
        parameters |= {"label": request.key.label, "number": request.key.number, "from": request.at.index}
    return parameters


def _stack_name(session: Session, outcome: StackOutcome, slices: list[SliceAt]) -> str:
    indices = sorted(at.index for at in slices)
    verb = "propagate" if outcome.request.kind == "propagation" else f'find "{outcome.request.text}"'
    return f"{verb}, slices {indices[0]}–{indices[-1]}" if indices else verb
