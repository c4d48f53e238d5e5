"""What was done to a session as JSON values, and back; see docs/project-format.md."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from napari_medclipsam.annotation.actions import Action, Deed, Verb
from napari_medclipsam.annotation.masks import VoxelChange
from napari_medclipsam.annotation.places import Box, ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import Point, Prompts
from napari_medclipsam.annotation.states import Acceptance, ObjectState, PackedMask, Proposal, SliceState
from napari_medclipsam.projects.records import Record

#: What can be wrong with a record that proves itself: it was written by another program.
UNUSABLE = (ValueError, TypeError, KeyError, AttributeError, zlib.error)


def fields_of(action: Action) -> Record:
    """Return what the record of an action says, but for when, who and where it is written."""
    deed = action.deed
    fields: Record = {"verb": deed.verb, "at": None if deed.at is None else list(deed.at.position)}
    fields |= {"step": action.step or None, "name": deed.name or None}
    fields |= {"model": deed.model, "parameters": _plain(deed.parameters)}
    fields["slices"] = [
        {"at": list(at.position), "objects": [_object_value(key, s) for key, s in state.objects.items()]}
        for at, state in action.states.items()
    ]
    fields["voxels"] = [_voxels_value(change) for change in action.voxels]
    return {key: value for key, value in fields.items() if value not in (None, "", {}, [])}


def action_of(record: Mapping[str, Any], shape: tuple[int, ...]) -> Action:
    """Return the action of a record.

    Parameters
    ----------
    record : dict
        Of a case.
    shape : tuple of int
        Of the grid of the case.

    Raises
    ------
    ValueError, TypeError, KeyError, AttributeError, zlib.error
        If it says what can't be: see `UNUSABLE`.
    """
    at = slice_of(record.get("at"), shape)
    deed = Deed(
        cast(Verb, record["verb"]), record.get("name", ""), at, record.get("parameters", {}), record.get("model", "")
    )
    states = {_required_slice(value["at"], shape): _state_of(value["objects"]) for value in record.get("slices", ())}
    voxels = tuple(_voxels_of(value, shape) for value in record.get("voxels", ()))
    return Action(deed, int(record.get("step", 0)), states, voxels)


def slice_of(position: Sequence[int | None] | None, shape: tuple[int, ...]) -> SliceAt | None:
    """Return the slice of a record; None where it is about none."""
    return None if position is None else _required_slice(position, shape)


def _required_slice(position: Sequence[int | None], shape: tuple[int, ...]) -> SliceAt:
    fits = len(position) == len(shape) and position.count(None) == 2
    if not fits or not all(i is None or 0 <= i < n for i, n in zip(position, shape, strict=True)):
        raise ValueError(f"no slice {position}")
    return SliceAt(tuple(position))


def _object_value(key: ObjectKey, state: ObjectState) -> Record:
    value: Record = {"label": key.label, "number": key.number}
    if state.prompts:
        value["prompts"] = _prompts_value(state.prompts)
    if (found := state.proposal) is not None:
        value["proposal"] = {
            **_mask_value(found.mask),
            "source": found.source,
            "estimated_iou": _number(found.estimated_iou),
            "prompts": _prompts_value(found.prompts),
        }
    if (accepted := state.accepted) is not None:
        prompts = _prompts_value(accepted.prompts)
        value["accepted"] = {"score": _number(accepted.score), "prompts": prompts, "anchor": accepted.anchor}
    return value


def _state_of(objects: Sequence[Mapping[str, Any]]) -> SliceState:
    return SliceState({ObjectKey(int(o["label"]), int(o["number"])): _object_of(o) for o in objects})


def _object_of(value: Mapping[str, Any]) -> ObjectState:
    found, accepted = value.get("proposal"), value.get("accepted")
    return ObjectState(
        _prompts_of(value.get("prompts", {})),
        None
        if found is None
        else Proposal(_mask_of(found), found["source"], float(found["estimated_iou"]), _prompts_of(found["prompts"])),
        None
        if accepted is None
        else Acceptance(float(accepted["score"]), _prompts_of(accepted["prompts"]), bool(accepted["anchor"])),
    )


def _prompts_value(prompts: Prompts) -> Record:
    value: Record = {}
    if prompts.points:
        value["points"] = [[p.x, p.y, int(p.positive)] for p in prompts.points]
    if prompts.boxes_xyxy:
        value["boxes"] = [list(box) for box in prompts.boxes_xyxy]
    return value


def _prompts_of(value: Mapping[str, Any]) -> Prompts:
    points = tuple(Point(float(x), float(y), bool(positive)) for x, y, positive in value.get("points", ()))
    boxes = tuple((float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in value.get("boxes", ()))
    return Prompts(points, boxes)


def _mask_value(mask: PackedMask) -> Record:
    box = None if mask.part_yx is None else _box_value(mask.part_yx)
    return {"shape": list(mask.shape_yx), "box": box, "bits": _text(zlib.compress(mask.bits, 1))}


def _mask_of(value: Mapping[str, Any]) -> PackedMask:
    rows, columns = (int(n) for n in value["shape"])
    part = None if value["box"] is None else _box_of(value["box"], (rows, columns))
    n_bytes = 0 if part is None else -(-_size(part) // 8)
    bits = _unpacked(_bytes(value["bits"]), n_bytes)
    return PackedMask((rows, columns), None if part is None else (part[0], part[1]), bits)


def _voxels_value(change: VoxelChange) -> Record:
    return {"box": _box_value(change.box), "before": _text(change.before), "after": _text(change.after)}


def _voxels_of(value: Mapping[str, Any], shape: tuple[int, ...]) -> VoxelChange:
    box = _box_of(value["box"], shape)
    before, after = _bytes(value["before"]), _bytes(value["after"])
    _unpacked(after, 2 * _size(box))
    return VoxelChange(box, before, after)


def _box_value(box: Sequence[slice]) -> list[list[int]]:
    return [[int(part.start), int(part.stop)] for part in box]


def _box_of(value: Sequence[Sequence[int]], shape: tuple[int, ...]) -> Box:
    box = tuple(slice(int(start), int(stop)) for start, stop in value)
    if len(box) != len(shape) or not all(0 <= s.start < s.stop <= n for s, n in zip(box, shape, strict=True)):
        raise ValueError(f"no box {value} in {shape}")
    return box


def _size(box: Box) -> int:
    return int(np.prod([part.stop - part.start for part in box]))


def _unpacked(packed: bytes, n_bytes: int) -> bytes:
    """Return what was compressed, without taking more memory than it should need."""
    whole = zlib.decompressobj()
    data = whole.decompress(packed, n_bytes + 1)
    if len(data) != n_bytes:
        raise ValueError(f"expected {n_bytes} bytes")
    return data


def _number(value: float) -> float:
    """Return a figure of a model as JSON can hold it."""
    return float(value) if math.isfinite(value) else 0.0


def _plain(value: Any) -> Any:
    """Return parameters as JSON can hold them: a figure that a model got wrong must not keep a record from the disk."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
