"""What a run says about one input: as a JSON object, a CSV row and a line for a person."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from napari_medclipsam.files import atomic_path
from napari_medclipsam.models.contracts import MIN_SPECIFICITY


@dataclass
class StructureReport:
    """One phrase over all slices of one input."""

    label: int
    text: str
    known: bool = True
    seen: bool = False  # the model's own verdict in some slice; `present` also needs a mask
    present: bool = False
    presence: float = 0.0
    specificity: float | None = None
    estimated_iou: float = 0.0
    mask_pixels: int = 0
    mask_ml: float | None = None
    nearest_phrase: str = ""


@dataclass
class Report:
    """One input; the fields are the keys of ``--json``.

    Parameters
    ----------
    input, text : str
        As given.
    present : bool or None
        True when anything was drawn; None when the input failed.
    presence : float or None
        Largest presence over phrases and slices.
    boxes_xyxy : list
        The box prompts; `box_slices` and `box_labels` tell, box by box, the slice index and the label.
    mask_pixels : int
        Pixels (voxels) in the mask.
    mask_ml : float or None
        Volume of the mask; None where the voxel size is not known, and for single slices.
    mask_path : str or None
        The mask file; None when the input failed.
    replaced : bool
        True when a file of the mask's name was there before.
    seconds : dict
        load, embed, ground, segment.
    structures : list
        Figures of each phrase, with its label in the mask.
    failed : bool
        True when there is no result; `message` says why.
    message : str
        What a person should know; "" when there is nothing to say.
    caution : str or None
        What the answer can't be taken for: the image is CT and the model was not taught it. None where that is not so.
    """

    input: str
    text: str
    present: bool | None = None
    presence: float | None = None
    boxes_xyxy: list[list[float]] = field(default_factory=list)
    box_slices: list[int] = field(default_factory=list)
    box_labels: list[int] = field(default_factory=list)
    mask_pixels: int = 0
    mask_ml: float | None = None
    mask_path: str | None = None
    replaced: bool = False
    saliency_path: str | None = None
    preview_path: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    structures: list[StructureReport] = field(default_factory=list)
    failed: bool = False
    message: str = ""
    caution: str | None = None

    @property
    def is_complete(self) -> bool:
        """True when everything asked for was done: no failure, and every phrase known."""
        return not self.failed and all(s.known for s in self.structures)

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(_rounded(asdict(self)), ensure_ascii=False)

    def to_line(self) -> str:
        """Return one line for a person."""
        if self.failed:
            return f"{self.input}: {self.message}"
        found = [f"{s.text}: {_verdict(s)}" for s in self.structures]
        seconds = sum(self.seconds.values())
        replaced = ", replaced the file of that name" if self.replaced else ""
        return f"{self.input}: {'; '.join(found)} → {self.mask_path}{replaced} ({seconds:.1f} s)"


def _verdict(structure: StructureReport) -> str:
    if not structure.known:
        return "not known"
    if structure.seen and not structure.present:
        return f"seen ({structure.presence:.2f}) but not located"
    deaf = structure.specificity is not None and structure.specificity <= MIN_SPECIFICITY
    if not structure.seen and structure.presence > 0.5 and deaf:
        return f"not present (presence {structure.presence:.2f}, but the map hardly depends on the text)"
    if not structure.present:
        return f"not present (presence {structure.presence:.2f})"
    volume_ml = structure.mask_ml
    size = f"{structure.mask_pixels:,} pixels" if volume_ml is None else f"{volume_ml:.1f} ml"
    return f"present ({structure.presence:.2f}), {size}"


def write_csv(reports: Sequence[Report], path: Path) -> None:
    """Write one row per input, all or nothing.

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    text = io.StringIO()
    columns = ["input", "text", "present", "presence", "mask_pixels", "mask_ml", "n_boxes", "mask_path"]
    times = ["load", "embed", "ground", "segment"]
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*columns, *(f"seconds_{t}" for t in times), "failed", "message", "caution"])
    for r in reports:
        row: list[Any] = [r.input, r.text, r.present, r.presence, r.mask_pixels, r.mask_ml]
        row += [len(r.boxes_xyxy), r.mask_path]
        row += [r.seconds.get(t) for t in times]
        table.writerow(["" if v is None else _rounded(v) for v in [*row, r.failed, r.message, r.caution]])
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _rounded(value: Any) -> Any:
    """Round every float: 4 digits are more than these figures mean."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return round(value, 4) if isinstance(value, float) else value
