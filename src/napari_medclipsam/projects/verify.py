"""Is everything in a project as it was written: every checksum, geometry and reference."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_medclipsam.annotation.book import Book
from napari_medclipsam.errors import ImageError, MedclipsamError, ProjectError
from napari_medclipsam.images.io import mask_suffix, read_mask
from napari_medclipsam.images.volume import Volume
from napari_medclipsam.projects.journal import Contents, Damage, parse, read_journal
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.replay import Replay
from napari_medclipsam.projects.studies import Grid, Study, content_hash, files_of, stored_mask
from napari_medclipsam.projects.summary import Summary

_NO_UNDO = 1


@dataclass(frozen=True)
class Problem:
    """Something that is not as it was written.

    Parameters
    ----------
    case : str
        Where; "" for the project itself.
    message : str
        What, and what can be done.
    """

    case: str
    message: str


def verify(project: Project) -> Iterator[tuple[str, list[Problem]]]:
    """Check a project part by part; yields each case id ("" for the project itself) with what is wrong there.

    Reads every image, journal and mask, and changes nothing.

    Parameters
    ----------
    project : Project
        May be open for reading only. Cases must be closed.
    """
    yield "", [Problem("", message) for message in _of_project(project)]
    for study in project.studies.values():
        yield study.case, [Problem(study.case, message) for message in _of_case(project, study)]


def _of_project(project: Project) -> Iterator[str]:
    journal = project.folder / "journal.jsonl"
    yield from _of_journal(journal, read_journal(journal))
    listed = set(project.studies)
    for folder in sorted((project.folder / "cases").glob("*")):
        if folder.name not in listed:
            yield f"The folder cases/{folder.name} belongs to no study. Restore studies.json, or move the folder away."


def _of_case(project: Project, study: Study) -> Iterator[str]:
    volume: Volume | None = None
    try:
        yield from _of_source(project, study)
        volume = study.read(project.folder)
        study.grid.view(volume)
    except (MedclipsamError, OSError) as error:
        yield str(error)
        volume = None
    for second in (False, True):
        yield from _of_reading(project, study, volume, project.case_folder(study.case, second=second))


def _of_reading(project: Project, study: Study, volume: Volume | None, folder: Path) -> Iterator[str]:
    path = folder / "journal.jsonl"
    if not path.exists():
        return
    try:
        contents = read_journal(path)
    except MedclipsamError as error:
        yield str(error)
        return
    yield from _of_journal(path, contents)
    yield from _of_history(path, contents)
    replay = Replay(Book(study.grid.shape, None, _NO_UNDO)).run(contents)
    yield from _told(path, [damage for damage in replay.damages if damage not in contents.damages])
    yield from _of_references(project, study, contents, replay)
    if volume is not None:
        yield from _of_mask(folder, study, volume, contents, replay)


def _of_source(project: Project, study: Study) -> Iterator[str]:
    path = study.source(project.folder)
    try:
        sha256 = content_hash(files_of(path, study.kind, study.series_uid))
    except ImageError as error:
        raise ImageError(f"The image can't be found. {error} Or say where it is: project relocate.") from error
    if sha256 != study.sha256:
        yield f"The image at {path} has changed. Restore it, or accept it: project relocate … --accept-changed."


def _of_journal(path: Path, contents: Contents) -> Iterator[str]:
    yield from _told(path, contents.damages)
    if contents.torn:
        yield f"{_short(path)} ends in half a record, which is cut off when it is opened for writing."


def _told(path: Path, damages: list[Damage]) -> Iterator[str]:
    for damage in damages:
        yield (
            f"{_short(path)}, line {damage.line} (after record {damage.after}) {damage.reason}. It is left out; "
            "restore the file from a backup if you have one."
        )


def _of_history(path: Path, contents: Contents) -> Iterator[str]:
    """Check the older parts, and that each is followed by the next."""
    if not contents.records or contents.records[0]["verb"] != "snapshot":
        return
    head = contents.records[0]
    for number in range(int(head["parameters"]["part"]) - 1, 0, -1):
        part = path.parent / "history" / f"{number:04d}.jsonl.gz"
        try:
            found = parse(gzip.decompress(part.read_bytes()))
        except (OSError, EOFError, zlib.error, MedclipsamError) as error:
            yield f"{_short(part)} can't be read ({error}). The work is not affected; restore it from a backup."
            return
        yield from _told(part, found.damages)
        if found.last_check != head["prev"]:
            yield f"{_short(part)} does not end where the next part begins. Restore it from a backup."
            return
        head = found.records[0]


def _of_references(project: Project, study: Study, contents: Contents, replay: Replay) -> Iterator[str]:
    if contents.records and contents.records[0]["verb"] in ("begin", "snapshot"):
        difference = Grid.from_json(contents.records[0]["parameters"]["grid"]).difference(study.grid)
        if difference:
            yield f"The journal was begun on another grid than that of the study: {difference}."
    strangers = {record["case"] for record in contents.records} - {study.case}
    if strangers:
        yield f"The journal has records of {', '.join(sorted(strangers))}. Was it copied from there?"
    missing = sorted({key.label for key in replay.book.objects()} - {c.label for c in project.classes})
    if missing:
        yield f"Labels {missing} of the mask have no class; they get one when the case is opened."


def _of_mask(folder: Path, study: Study, volume: Volume, contents: Contents, replay: Replay) -> Iterator[str]:
    """Compare the mask file with the journal, where it should be up to date."""
    path = folder / f"mask{mask_suffix(volume)}"
    try:
        # Both are written when a case is closed; after a crash they are older than the journal, and no harm is done.
        if Summary.read(folder / "summary.json").n != contents.last_n:
            return
    except ProjectError:
        return
    try:
        written = read_mask(path, volume)
    except MedclipsamError as error:
        yield f"The journal has the mask, but its file can't be used: delete {_short(path)} and open the case. {error}"
        return
    expected = stored_mask(replay.book.masks.labels, study.grid.view(volume))
    if not np.array_equal(written, expected):
        n = int((written != expected).sum()) if written.shape == expected.shape else written.size
        yield f"{_short(path)} differs from the journal in {n:,} voxels. Delete it and open the case to write it again."


def _short(path: Path) -> str:
    """Return the end of a path that finds it in a project."""
    parts = path.parts
    return "/".join(parts[parts.index("cases") if "cases" in parts else -1 :])
