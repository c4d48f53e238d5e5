"""Masks of a project out to other programs, and masks of other programs into a case."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from napari_medclipsam.annotation.book import Book, Change
from napari_medclipsam.annotation.bringing_in import bring_in
from napari_medclipsam.annotation.classes import MOST_LABELS, ClassTable, StructureClass
from napari_medclipsam.annotation.places import ObjectKey
from napari_medclipsam.errors import GeometryError, ImageError, MedclipsamError, OutputError, ProjectError
from napari_medclipsam.exchange.case import Case as Masks
from napari_medclipsam.exchange.case import LabelClass
from napari_medclipsam.exchange.coco import export_coco
from napari_medclipsam.exchange.deidentify import Deidentifier
from napari_medclipsam.exchange.dicom_source import open_source
from napari_medclipsam.exchange.importing import import_masks
from napari_medclipsam.exchange.measures import export_measures
from napari_medclipsam.exchange.nifti_files import export_classes_nifti, export_labels_nifti
from napari_medclipsam.exchange.nnunet import export_nnunet
from napari_medclipsam.exchange.seg_export import export_seg
from napari_medclipsam.exchange.series_export import export_deidentified
from napari_medclipsam.files import atomic_folder, atomic_path
from napari_medclipsam.projects.case import Case
from napari_medclipsam.projects.journal import read_journal
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.replay import Replay
from napari_medclipsam.projects.studies import require_unchanged, stored_mask
from napari_medclipsam.projects.summary import Summary
from napari_medclipsam.wording import counted

Format = Literal["nifti", "nifti-per-class", "dicom-seg", "nnunet", "coco", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)
_TOGETHER = {"nnunet": export_nnunet, "coco": export_coco, "csv": export_measures}
_KEY_BYTES = 32
_NO_UNDO = 1

Told = Callable[[str, MedclipsamError | None], None]
"""Told each case and why it was left out, None where it was not; may raise, which ends the export without a trace."""


def labelled_cases(project: Project) -> list[str]:
    """Return the cases in which something was accepted or drawn: what is exported where no case is named."""
    return [case for case in project.studies if _is_labelled(project.summary(case, review=False))]


def _is_labelled(summary: Summary) -> bool:
    return bool(summary.voxels or summary.counts["accepted"])


def unlabelled_words(n: int) -> str:
    """Say that cases are not in an export; "" where all are."""
    return f"; {n} {'has' if n == 1 else 'have'} nothing accepted" if n else ""


def export_project(
    project: Project, form: Format, output: Path, cases: Sequence[str], told: Told, *, deidentify: bool = False
) -> None:
    """Export the accepted masks of cases; each is read back before it counts.

    Parameters
    ----------
    project : Project
        Is only read, but for the key with which it de-identifies.
    form : str
        One of `Format`.
    output : pathlib.Path
        A new folder; for "csv" a file. "nnunet" and "coco" make one data set of all cases; the others write a file or
        folder per case, named by its id.
    cases : sequence of str
        Their ids. One in which nothing is accepted or drawn is refused: an empty mask says that it was read.
    told : callable
        See `Told`. A case that can't be exported does not keep the others from it, but in a data set.
    deidentify : bool
        For "dicom-seg": take the patient out of copies of the images, and refer to these. Nothing else that is
        exported holds more than masks, pixels, ids and names of classes.

    Raises
    ------
    ImageError
        If there is no case.
    MedclipsamError
        If the output can't be written, no case can be exported, or cases do not go together in a data set.
    """
    if not cases:
        raise ImageError("There is nothing to export: accept at least one slice first.")
    if form in _TOGETHER:
        _TOGETHER[form](_readable(project, cases, told), output)
        return
    deidentifier = Deidentifier(_key(project)) if deidentify else None
    n_written = 0
    with atomic_folder(output) as folder:
        for case in cases:
            try:
                _write(project, form, case, folder, deidentifier)
            except OutputError:
                # The disk: it would refuse the next one too.
                raise
            except MedclipsamError as error:
                told(case, error)
            else:
                n_written += 1
                told(case, None)
        if not n_written:
            raise _none_written()


def _readable(project: Project, cases: Sequence[str], told: Told) -> Iterator[Masks]:
    """Read cases one at a time; those that can't be read are left out, but at least one is read."""
    n_read = 0
    for case in cases:
        try:
            masks = masks_of(project, case)
        except MedclipsamError as error:
            told(case, error)
            continue
        n_read += 1
        yield masks
        told(case, None)
    if not n_read:
        raise _none_written()


def _none_written() -> ImageError:
    return ImageError("None of the cases can be exported like this; nothing was written.")


def _write(project: Project, form: Format, case: str, folder: Path, deidentifier: Deidentifier | None) -> None:
    masks = masks_of(project, case)
    if form == "nifti":
        export_labels_nifti(masks, folder / f"{case}.nii.gz")
    elif form == "nifti-per-class":
        export_classes_nifti(masks, folder / case)
    else:
        study = project.study(case)
        if study.kind != "dicom":
            raise ImageError(f"A DICOM-SEG refers to a DICOM series, and {case} is none. Export NIfTI instead.")
        series = open_source(study.source(project.folder), study.series_uid, study.volume_index)
        if deidentifier is None:
            export_seg(masks, series, folder / f"{case}.dcm")
        else:
            export_deidentified(masks, series, folder / case, deidentifier)


def masks_of(project: Project, case: str) -> Masks:
    """Return image, accepted mask and classes of a case, as its journal has them.

    Raises
    ------
    ImageError
        If nothing is accepted or drawn in it.
    ProjectError
        If its image was moved or changed, or its journal can't be read.
    """
    study = project.study(case)
    summary = project.summary(case, review=False)
    if not _is_labelled(summary):
        n = summary.n_waiting
        waiting = f", {counted(n, 'slice')} {'waits' if n == 1 else 'wait'}" if n else ""
        raise ImageError(
            f"Nothing is accepted{waiting}; accept what was read, also slices without a finding, and export again."
        )
    require_unchanged(study, project.folder)
    volume = study.read(project.folder)
    contents = read_journal(project.case_folder(case) / "journal.jsonl")
    replay = Replay(Book(study.grid.shape, None, _NO_UNDO)).run(contents)
    labels_zyx = stored_mask(replay.book.masks.labels, study.grid.view(volume))
    classes = {c.label: LabelClass(c.label, c.name, c.color, next(iter(c.prompts), "")) for c in project.classes}
    for known in replay.classes:
        # A crash can come before the class table of the project was written.
        classes.setdefault(known["label"], LabelClass(known["label"], known["name"], known["color"]))
    return Masks(case, volume, labels_zyx, list(classes.values()))


def _key(project: Project) -> bytes:
    """Return the secret with which this project de-identifies, made at its first use; only its owner may read it."""
    path = project.folder / "deidentification.key"
    try:
        return bytes.fromhex(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        project.require_writable()
    except (OSError, ValueError) as error:
        raise ProjectError(f"{path} can't be read or holds no key. Restore it; a new key makes new names.") from error
    key = secrets.token_bytes(_KEY_BYTES)
    with atomic_path(path) as temporary:
        temporary.write_text(key.hex() + "\n", encoding="ascii")
    path.chmod(0o600)
    return key


def read_masks(case: Case, path: Path, *, resample: bool = False) -> Masks:
    """Read masks of another program onto the grid of a case; parameters and errors as `exchange.import_masks`."""
    return import_masks(path, case.volume, resample, {c.label for c in case.session.classes})


def import_into(case: Case, masks: Masks, *, accept: bool, class_name: str = "", every_slice: bool = False) -> Change:
    """Take masks of another program into a case, recorded and as one step of undo.

    Classes are found by name or prompt, those without a name by their label; new ones are added.

    Parameters
    ----------
    case : projects.case.Case
        Open for writing.
    masks : exchange.case.Case
        From `read_masks`.
    accept : bool
        True: they are accepted. False: they are proposals.
    class_name : str
        What a mask of one label shows; by default its class is found as above.
    every_slice : bool
        Slices that nothing is known of and that have no mask are accepted as read and without a finding: without the
        classes of the mask, or without any class where it is empty.

    Returns
    -------
    Change
        Its message says what came in, and which classes were added.

    Raises
    ------
    GeometryError
        If classes overlap and are to be accepted at once: a voxel has one label here.
    ProjectError
        If there is no room for so many new classes, a class is named and the mask has several, or an empty mask is
        said to be read and there is no such class.
    """
    if accept and masks.overlaps:
        raise GeometryError(
            f"Classes of {masks.name} overlap, and an accepted voxel has one class. Import them as proposals instead: "
            "who gets a voxel is then decided when you accept."
        )
    classes = case.session.classes
    drawn = [given for given in masks.classes if masks.mask_zyx(given.label).any()]
    if class_name and len(drawn) > 1:
        raise ProjectError(
            f"{masks.name} has {len(drawn)} labels, and one class was given for them: {class_name}. Import a mask of "
            "one label, or give each a name in NAME.tsv beside it."
        )
    drawn = [replace(given, name=class_name or given.name) for given in drawn]
    # Before the first is added: its label must not be taken for that of a mask without names.
    known = [_class_of(classes, given) for given in drawn]
    _require_room(classes, known.count(None), masks.name)
    found: dict[ObjectKey, np.ndarray] = {}
    added: list[StructureClass] = []
    for given, structure in zip(drawn, known, strict=True):
        if structure is None:
            structure = classes.add(given.name, color=given.color)
            added.append(structure)
        mask = case.view.to_turned(masks.mask_zyx(given.label)).reshape(case.session.image.shape)
        key = ObjectKey(structure.label)
        found[key] = found[key] | mask if key in found else mask
    if every_slice and not found:
        absent = [_named_class(classes, class_name)] if class_name else list(classes)
        nowhere = np.zeros(case.session.image.shape, bool)
        found = {ObjectKey(c.label): nowhere for c in absent}
    if every_slice and not found:
        raise ProjectError(f"{masks.name} is empty, and the project has no class that it could be without. Name one.")
    change = bring_in(case.session, found, accept=accept, every_slice=every_slice)
    told = [f"{counted(len(change.slices), 'slice')} {'accepted' if accept else 'proposed'}."] if change.slices else []
    told += [f"Classes added: {', '.join(f'{c.label} {c.name}' for c in added)}."] if added else []
    return replace(change, classes=bool(added), message=" ".join([*told, change.message]).strip())


def _named_class(classes: ClassTable, name: str) -> StructureClass:
    """Return the class of a name that an empty mask is said to be of."""
    structure = classes.named(name)
    if structure is None:
        known = ", ".join(c.name for c in classes) or "none yet"
        raise ProjectError(f'There is no class "{name}" that the slices could be without; there are: {known}.')
    return structure


def _class_of(classes: ClassTable, given: LabelClass) -> StructureClass | None:
    """Return the class that stands for one of a mask; None where there is none yet."""
    found = classes.named(given.name)
    if found is None and given.name == f"label {given.label}" and given.label in classes:
        return classes[given.label]
    return found


def _require_room(classes: ClassTable, n_new: int, name: str) -> None:
    """Refuse more new classes than there are labels, before the first is added."""
    n_free = MOST_LABELS + 1 - classes.next_label
    if n_new > n_free:
        raise ProjectError(
            f"{name} has {counted(n_new, 'class', 'classes')} that the project does not have, and it has room for "
            f"{n_free} more. Give those that are meant the names of its classes, or leave some out."
        )
