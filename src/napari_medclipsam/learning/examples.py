"""From what readers decided to what a learner is shown."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from napari_medclipsam.annotation.actions import Action
from napari_medclipsam.annotation.book import Book
from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.prompts import Prompts
from napari_medclipsam.annotation.states import PackedMask, SliceState
from napari_medclipsam.errors import LearningError, MedclipsamError
from napari_medclipsam.evaluation.datasets import Dataset, Sample, read_sample
from napari_medclipsam.images.intensity import Window
from napari_medclipsam.images.io import read_image, read_mask
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.contracts import Example, Label, Provenance
from napari_medclipsam.projects.codec import UNUSABLE, action_of
from napari_medclipsam.projects.documents import read_document
from napari_medclipsam.projects.effort import all_records
from napari_medclipsam.projects.patients import patient_key
from napari_medclipsam.projects.project import PROJECT_FORMAT, STUDIES_FORMAT
from napari_medclipsam.projects.second import reading
from napari_medclipsam.projects.studies import Study, annotated, require_unchanged
from napari_medclipsam.reading_view import reading_view

# Slices of one case are read one after the other.
_IMAGES_KEPT = 2

Place = tuple[SliceAt, int]


def project_examples(
    project: Path,
    *,
    automatic: bool = False,
    unlabelled: bool = False,
    left_out: Callable[[str, MedclipsamError], None] | None = None,
) -> list[Example]:
    """Return what the readers of a project have decided, slice by slice; the project may be open meanwhile.

    A class is known in a slice where it was accepted and no newer proposal of it waits. What a reader refused, of a
    proposal or of a part of it, is `Label.rejected_yx`. Where a reader has clicked on a class or drawn a box around it
    without accepting an outline, it is known to be present.

    Parameters
    ----------
    project : pathlib.Path
        Its folder.
    automatic : bool
        Also proposals that nobody has accepted yet.
    unlabelled : bool
        Also slices of which nothing is known, of the cases of which something is: along the axis that was read.
    left_out : callable, optional
        Told of each case whose image can't be used, and why. Without it the first one is an error.

    Raises
    ------
    ProjectError
        If it can't be read.
    """
    document = read_document(project / "project.json", PROJECT_FORMAT)
    names = {int(c["label"]): str(c["name"]) for c in document["classes"]}
    images = _Images(project)
    found: list[Example] = []
    for value in read_document(project / "studies.json", STUDIES_FORMAT)["studies"]:
        study = Study.from_json(value)
        labels, clicked, window = _case_labels(project / "cases" / study.case, study.grid.shape, automatic)
        if not labels:
            continue
        try:
            require_unchanged(study, project)
            patient = patient_key(study, project, str(document["id"]))
        except MedclipsamError as error:
            if left_out is None:
                raise
            left_out(study.case, error)
            continue
        turns = images.of(study)
        is_ct = turns.looks_like == "CT"
        wanted = set(labels) | (_neighbours(labels, study.grid.shape) if unlabelled else set())
        for at in sorted(wanted, key=lambda at: tuple(-1 if i is None else i for i in at.position)):
            known = {names[label]: one for label, one in labels.get(at, {}).items() if label in names}
            if known or at not in labels:
                turned = {name: _turned(one, turns, at) for name, one in known.items()}
                read = partial(images.slice, study, at, window)
                present = {names[label]: True for label in clicked.get(at, ()) if label in names}
                found.append(Example(study.case, at.position, patient, read, turned, present, is_ct))
    return found


def _neighbours(known: Iterable[SliceAt], shape: tuple[int, ...]) -> set[SliceAt]:
    """Return all slices along the axis in which most of `known` lie, at the same other coordinates."""
    axis, _ = Counter(at.axis for at in known).most_common(1)[0]
    along = [at for at in known if at.axis == axis]
    return set() if axis is None else {at.moved(i) for at in along for i in range(shape[axis])}


def _turned(label: Label, image: AnnotatedImage, at: SliceAt) -> Label:
    """Masks are kept as stored; a reader and the models see slices turned."""
    turn = image.turn(at)
    rejected = None if label.rejected_yx is None else np.ascontiguousarray(turn.to_turned(label.rejected_yx))
    return Label(np.ascontiguousarray(turn.to_turned(label.mask_yx)), label.provenance, rejected)


class _Images:
    """Reads the images of a project; the last few are kept."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._kept: OrderedDict[str, AnnotatedImage] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, study: Study) -> AnnotatedImage:
        with self._lock:
            if study.case not in self._kept:
                self._kept[study.case] = annotated(study.grid.view(study.read(self._project)))
                while len(self._kept) > _IMAGES_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(study.case)
            return self._kept[study.case]

    def slice(self, study: Study, at: SliceAt, window: Window) -> Slice:
        return self.of(study).slice_pixels(at, window)


def _case_labels(
    folder: Path, shape: tuple[int, ...], automatic: bool
) -> tuple[dict[SliceAt, dict[int, Label]], dict[SliceAt, set[int]], Window]:
    """Return what is known of the slices of a case by label, which labels were clicked on, and the window."""
    if not (folder / "journal.jsonl").exists():
        return {}, {}, "auto"
    replay = reading(folder, shape)
    refusals = _Refusals(folder, shape)
    found: dict[SliceAt, dict[int, Label]] = {}
    labels = {(at, key.label) for at, state in replay.book.states.items() for key in state.objects}
    for at, label in labels | set(refusals.refused):
        one = _label(replay.book, at, label, refusals, automatic)
        if one is not None:
            found.setdefault(at, {})[label] = one
    clicked: dict[SliceAt, set[int]] = {}
    for at, state in replay.book.states.items():
        for key, now in state.objects.items():
            # What was taken back is not there any more.
            if (at, key.label) in refusals.pointed_at and now.prompts.is_usable:
                clicked.setdefault(at, set()).add(key.label)
    return found, clicked, replay.window


def _label(book: Book, at: SliceAt, label: int, refusals: _Refusals, automatic: bool) -> Label | None:
    state = book.state(at)
    objects = [one for key, one in state.objects.items() if key.label == label]
    waiting = [one.proposal.mask for one in objects if one.proposal is not None]
    accepted = [one.accepted for one in objects if one.accepted is not None]
    mask = book.masks.labels[at.selector] == label
    refused = refusals.refused.get((at, label))
    if accepted and not waiting:
        by_hand = book.masks.by_hand(at) & (mask | (book.masks.labels[at.selector] == 0))
        provenance: Provenance = "accepted" if any(one.anchor for one in accepted) else "propagated"
        if by_hand.any() or (at, label) in refusals.corrected:
            provenance = "drawn"
        proposed = refusals.proposed.get((at, label))
        seen = [part for part in (refused, proposed) if part is not None]
        rejected = np.logical_or.reduce(seen) & ~mask if seen else None
        return Label(mask, provenance, rejected if rejected is not None and rejected.any() else None)
    if waiting and automatic:
        return Label(np.logical_or.reduce([mask, *(one.unpacked() for one in waiting)]), "automatic")
    if refused is not None and not waiting and (refused & ~mask).any():
        return Label(np.zeros_like(mask), "refused", refused & ~mask)
    return None


class _Refusals:
    """What the records of a case say that its state does not: what was proposed, refused and corrected.

    Attributes
    ----------
    proposed : dict
        (slice, label) → bool mask of all that models proposed there by themselves.
    refused : dict
        The same of proposals that were rejected.
    corrected : set
        (slice, label) where a reader has clicked or drawn a box.
    pointed_at : set
        Those of them where a reader has clicked inside of it, or drawn a box around it.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        self.proposed: dict[Place, np.ndarray] = {}
        self.corrected: set[Place] = set()
        self.pointed_at: set[Place] = set()
        self._waiting: dict[SliceAt, SliceState] = {}
        self._rejected: defaultdict[int, list[tuple[Place, PackedMask]]] = defaultdict(list)
        self._undone: set[int] = set()
        for record in all_records(folder):
            try:
                self._take(action_of(record, shape))
            except UNUSABLE:
                continue
        self.refused: dict[Place, np.ndarray] = {}
        for step, parts in self._rejected.items():
            for place, mask in parts if step not in self._undone else ():
                _add(self.refused, place, mask)

    def _take(self, action: Action) -> None:
        deed, step = action.deed, action.step or 0
        if deed.verb in ("undo", "redo"):
            (self._undone.add if deed.verb == "undo" else self._undone.discard)(step)
        if deed.verb == "prompts" and deed.at is not None:
            self.corrected.add((deed.at, int(deed.parameters["label"])))
            before = self._waiting.get(deed.at, SliceState())
            for key, now in action.states[deed.at].objects.items():
                # Prompts of a proposal may be those that a model has found.
                if _n_inside(now.prompts) > _n_inside(before.of(key).prompts):
                    self.pointed_at.add((deed.at, key.label))
        for at, state in action.states.items():
            if deed.verb == "reject":
                refused = self._waiting.get(at, SliceState()).proposals
                self._rejected[step] += [((at, key.label), one.mask) for key, one in refused.items()]
            for key, one in state.proposals.items():
                if one.source in ("text", "volume", "propagation"):
                    _add(self.proposed, (at, key.label), one.mask)
        self._waiting.update(action.states)


def _n_inside(prompts: Prompts) -> int:
    return len(prompts.boxes_xyxy) + sum(point.positive for point in prompts.points)


def _add(masks: dict[Place, np.ndarray], place: Place, mask: PackedMask) -> None:
    drawn = mask.unpacked()
    masks[place] = masks[place] | drawn if place in masks else drawn


def dataset_examples(
    dataset: Dataset, structure: str, patient_of: Callable[[Sample], str] = lambda sample: sample.name
) -> list[Example]:
    """Return the pictures of a data set as if a reader had drawn their masks, for benchmarks.

    Parameters
    ----------
    dataset : Dataset
        See `evaluation.datasets.open_dataset`.
    structure : str
        What its masks show.
    patient_of : callable
        The patient of a row; each is one of its own by default.
    """
    return [
        Example(
            s.name, (None, None), patient_of(s), partial(_picture, s), {structure: Label(read_sample(s)[1], "drawn")}
        )
        for s in dataset.samples
    ]


def _picture(sample: Sample) -> Slice:
    return read_sample(sample)[0]


def volume_examples(
    image: Path, mask: Path, structure: str, *, patient: str, plane: str | None = None
) -> Iterator[Example]:
    """Yield the slices of a volume, turned as they are read, as if a reader had drawn their masks, for benchmarks.

    Parameters
    ----------
    image, mask : pathlib.Path
        On one grid; every label of the mask counts.
    structure : str
        What the mask shows.
    patient : str
        Whose it is.
    plane : {"axial", "coronal", "sagittal"}, optional
        As for `reading_view`.

    Raises
    ------
    LearningError
        If the mask is empty.
    """
    volume = read_image(image)
    view = reading_view(volume, plane)
    turned, mask_zyx = annotated(view), view.to_turned(read_mask(mask, volume) > 0)
    if not mask_zyx.any():
        raise LearningError(f"The mask {mask.name} is empty; choose one that shows {structure}.")
    for index, mask_yx in enumerate(mask_zyx):
        at = SliceAt.across(0, index)
        label = Label(np.ascontiguousarray(turned.turn(at).to_turned(mask_yx)), "drawn")
        yield Example(image.name, at.position, patient, partial(turned.slice_pixels, at), {structure: label})
