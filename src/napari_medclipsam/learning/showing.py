"""What two versions of a project draw, side by side: on the slice on screen, and on slices that neither has seen.

Both are requests for `annotation.worker.ModelWorker`, which runs them beside clicks and texts and lets those go first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.requests import Cancelled, Progress, TextRequest, stored_answers
from napari_medclipsam.annotation.worker import VERSIONS
from napari_medclipsam.errors import LearningError
from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.comparing import BASE
from napari_medclipsam.learning.contracts import Example
from napari_medclipsam.learning.examples import project_examples
from napari_medclipsam.learning.loading import Pair, as_pair, device_of, identity_of, load_version
from napari_medclipsam.learning.measuring import measured_examples
from napari_medclipsam.learning.split import read_split
from napari_medclipsam.learning.versions import MODEL, Version, find_version
from napari_medclipsam.models.contracts import PromptableSegmenter, TextGrounder
from napari_medclipsam.models.registry import load
from napari_medclipsam.pipeline import segment_slice

N_PICTURES = 4


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a version draws in the slice on screen.

    Parameters
    ----------
    version : str
        Its name, or "base".
    mask_yx : numpy.ndarray
        bool, on the axes of the stored slice.
    """

    version: str
    mask_yx: np.ndarray


@dataclass(frozen=True, eq=False)
class SideBySide:
    """What two versions draw for one text in one slice.

    Parameters
    ----------
    project : pathlib.Path
        Its folder.
    versions : tuple of str
        Names, or "base".
    text : TextRequest
        See `Session.plan_text`; its text is what is drawn.
    base : str
        Name of the model where neither version says on which it was learnt.
    device : str, optional
        As for `models.device.choose_device`.
    """

    project: Path
    versions: tuple[str, str]
    text: TextRequest
    base: str = "lite"
    device: str | None = None
    kind: ClassVar[str] = VERSIONS

    @property
    def at(self) -> SliceAt:
        """The slice."""
        return self.text.at

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> tuple[Drawn, ...]:
        """Draw.

        Raises
        ------
        LearningError
            If a version is gone, damaged, or was learnt on another model.
        """
        request = self.text
        models = _Models(self.project, self.versions, (grounder, segmenter), self.base, self.device)
        found = []
        for name in self.versions:
            result = segment_slice(request.image, request.text, *models.of(name, MODEL), request.options)
            masks = [answer.mask_yx for answer in stored_answers(result, request.turn)]
            found.append(Drawn(name, np.logical_or.reduce(masks)))
            if cancelled is not None and cancelled():
                break
        return tuple(found)


@dataclass(frozen=True, eq=False)
class Shown:
    """A slice that neither version has learnt from.

    Parameters
    ----------
    example : Example
        The slice, with what was accepted.
    parts : tuple of str
        Part of each version that has not seen its patient.
    """

    example: Example
    parts: tuple[str, str]


@dataclass(frozen=True, eq=False)
class Picture:
    """One class of one slice: what was accepted, and what two versions draw.

    Parameters
    ----------
    title : str
        Case, slice and class.
    gray_yx : numpy.ndarray
        uint8, as the reader sees the slice; (rows, columns, 3) of a colour image.
    accepted_yx, before_yx, after_yx : numpy.ndarray
        bool.
    before, after : float
        Dice with what was accepted.
    """

    title: str
    gray_yx: np.ndarray
    accepted_yx: np.ndarray
    before_yx: np.ndarray
    after_yx: np.ndarray
    before: float
    after: float


def shown_slices(project: Path, first: str, second: str, n: int = N_PICTURES) -> tuple[Shown, ...]:
    """Return slices to look at: the same ones at each call, of as many patients as there are.

    Parameters
    ----------
    project : pathlib.Path
        Its folder.
    first, second : str
        Names of versions, or "base".
    n : int
        At most so many.

    Raises
    ------
    LearningError
        If a version is gone or damaged, or both have learnt from every patient with accepted slices.
    """
    versions = [None if name == BASE else find_version(project, name) for name in (first, second)]
    split = read_split(project)
    patients: dict[str, list[Shown]] = {}
    for example in measured_examples(project_examples(project, left_out=lambda case, error: None)):
        if example.patient not in split.held_out or not any(one.mask_yx.any() for one in example.labels.values()):
            continue
        fold = split.fold(example.patient)
        before, after = (MODEL if v is None else v.unseen_by(example.patient, fold) for v in versions)
        if before is not None and after is not None:
            patients.setdefault(example.patient, []).append(Shown(example, (before, after)))
    if not patients:
        raise LearningError(
            "There is no accepted slice of a patient that neither has learnt from. Accept slices of another patient, "
            "or compare on the slice on screen."
        )
    # Those that are held out first; then patient by patient.
    order = sorted(patients, key=lambda p: (not split.held_out[p], _drawn(p)))
    lines = [sorted(patients[p], key=lambda one: _drawn(f"{one.example.case}{one.example.position}")) for p in order]
    longest = max(map(len, lines))
    turns = [line[place] for place in range(longest) for line in lines if place < len(line)]
    return tuple(turns[:n])


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of slices before and after; see `shown_slices`, which makes them ready in a thread of its own."""

    project: Path
    versions: tuple[str, str]
    shown: Sequence[Shown]
    base: str = "lite"
    device: str | None = None
    kind: ClassVar[str] = VERSIONS

    def run(
        self,
        grounder: TextGrounder,
        segmenter: PromptableSegmenter,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> tuple[Picture, ...]:
        """Draw them; those that are done when it is cancelled.

        Raises
        ------
        LearningError
            If a version is gone, damaged, or was learnt on another model.
        """
        models = _Models(self.project, self.versions, (grounder, segmenter), self.base, self.device)
        pictures: list[Picture] = []
        for number, one in enumerate(self.shown):
            if cancelled is not None and cancelled():
                break
            if progress is not None:
                progress(number, len(self.shown))
            image = one.example.read()
            for structure, label in one.example.labels.items():
                if not label.mask_yx.any():
                    continue
                pairs = (models.of(name, part) for name, part in zip(self.versions, one.parts, strict=True))
                masks = [_mask(image, structure, pair) for pair in pairs]
                scores = [dice(mask, label.mask_yx) for mask in masks]
                title = f"{one.example.case}{_slice_words(one.example.position)}, {structure}"
                pictures.append(Picture(title, image.pixels, label.mask_yx, masks[0], masks[1], *scores))
        return tuple(pictures)


class _Models:
    """Loads what is asked for, and keeps it for the request; the base that is loaded already is used if it fits."""

    def __init__(
        self, project: Path, names: tuple[str, str], loaded: tuple[Any, Any], base: str, device: str | None
    ) -> None:
        self._versions: dict[str, Version | None] = {
            name: None if name == BASE else find_version(project, name) for name in names
        }
        learnt = next((v for v in self._versions.values() if v is not None), None)
        if learnt is not None and learnt.trouble:
            raise LearningError(learnt.trouble)
        name = base if learnt is None else str(learnt.lineage["base"]["name"])
        self._device = device_of(device)
        self._base = next((one for one in _bases(loaded) if _fits(one, name)), None) or load(name, device)
        self._pairs: dict[tuple[str, str], Pair] = {}

    def of(self, name: str, part: str) -> Pair:
        version = self._versions[name]
        if (name, part) not in self._pairs:
            model = self._base if version is None else load_version(version, self._base, self._device, part)
            self._pairs[name, part] = as_pair(model, self._base)
        return self._pairs[name, part]


def _bases(loaded: tuple[Any, Any]) -> list[Any]:
    """Return models that may be what versions build on: those that are loaded, and what they build on themselves."""
    return [base for model in loaded for base in (getattr(model, "base", None), model) if base is not None]


def _fits(model: Any, name: str) -> bool:
    found = identity_of(model)
    # A version that is wrapped around the base goes by its name too.
    both = isinstance(model, TextGrounder) and isinstance(model, PromptableSegmenter)
    return both and found["name"] == name and getattr(model, "base", None) is None


def _mask(image: Slice, structure: str, models: Pair) -> np.ndarray:
    return segment_slice(image, structure, *models).structures[0].mask_yx


def _slice_words(position: tuple[int | None, ...]) -> str:
    indices = [str(index) for index in position if index is not None]
    return f", slice {', '.join(indices)}" if indices else ""


def _drawn(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
