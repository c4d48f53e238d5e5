"""Images with captions to fine-tune a text-image encoder on: from a table, a folder, or a project with a table."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import LearningError, MedclipsamError
from napari_medclipsam.images.io import read_image
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.foreign import seems_english
from napari_medclipsam.projects.documents import read_document
from napari_medclipsam.projects.patients import patient_hash, patient_key
from napari_medclipsam.projects.project import PROJECT_FORMAT, STUDIES_FORMAT
from napari_medclipsam.projects.studies import Study, annotated
from napari_medclipsam.reading_view import reading_view
from napari_medclipsam.saliency.prompt_book import is_readable

#: In a project, the table of the captions of its cases.
TABLE = "captions.csv"

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".nii", ".nii.gz", ".dcm")
_NAMED_PLACES = 3


@dataclass(frozen=True)
class CaptionedImage:
    """One image-caption pair.

    Parameters
    ----------
    place : str
        Where it stands, for messages: "line 7", or a number in a folder. Never a file's name, which may say who it is.
    key : str
        Names the image without saying where or whose it is.
    caption : str
        With single spaces.
    patient : str
        As in `contracts.Example`; an image of whom nothing is known is a patient of its own.
    read : callable
        Returns the slice, as the reader sees it.
    """

    place: str
    key: str
    caption: str
    patient: str
    read: Callable[[], Slice] = field(compare=False)

    @property
    def topic(self) -> str:
        """The caption without what does not change its meaning: pairs of one topic are no negatives of each other."""
        return self.caption.casefold().rstrip(".")


@dataclass(frozen=True, eq=False)
class Captions:
    """The pairs of a source, and what was wrong with the others.

    Parameters
    ----------
    pairs : tuple of CaptionedImage
        That can be learnt from.
    notes : tuple of str
        A sentence about each kind of trouble, with how many.
    """

    pairs: tuple[CaptionedImage, ...]
    notes: tuple[str, ...]


def read_captions(source: Path, salt: str) -> Captions:
    """Return the pairs of a table, a folder or a project; the images are not read yet.

    Parameters
    ----------
    source : pathlib.Path
        A CSV file with the columns ``image`` (a path, relative to the table) and ``caption``, and perhaps ``patient``
        and ``slice`` (from 0; the middle one where it is empty). Or a folder of images, each with a text of the same
        name beside it (``scan1.png``, ``scan1.txt``). Or a project that has `TABLE` with the columns ``case`` and
        ``caption``, and perhaps ``slice``.
    salt : str
        Makes the names of patients those of one register.

    Raises
    ------
    LearningError
        If there is nothing to learn from, in one sentence that says why.
    """
    if (source / "project.json").is_file():
        rows = _project_rows(source)
    elif source.is_dir():
        rows = _folder_rows(source, salt)
    elif source.is_file():
        rows = _table_rows(source, salt)
    else:
        raise LearningError(f"There is no {source}; name a CSV file, a folder of images with texts, or a project.")
    return _sorted_out(rows)


@dataclass(frozen=True)
class _Row:
    """A pair that may be unfit; `read` is None where its image is missing."""

    place: str
    key: str
    caption: str
    patient: str
    read: Callable[[], Slice] | None


@dataclass(frozen=True)
class _FileReader:
    path: Path
    index: int | None

    def __call__(self) -> Slice:
        return _slice_of(annotated(reading_view(read_image(self.path))), self.index)


def _slice_of(image: AnnotatedImage, index: int | None) -> Slice:
    if image.n_axes == 2:
        return image.slice_pixels(SliceAt((None, None)))
    return image.slice_pixels(SliceAt.across(0, image.shape[0] // 2 if index is None else index))


def _table_rows(path: Path, salt: str) -> Iterator[_Row]:
    for line, row in _lines(path, ("image", "caption")):
        named = row["image"].strip()
        image = path.parent / named
        patient = patient_hash(salt, row.get("patient", "").strip() or f"image {named}")
        key = patient_hash(salt, f"image {named} {row.get('slice', '')}")
        there = bool(named) and (image.is_file() or image.is_dir())
        read = _FileReader(image, _index(row, line)) if there else None
        yield _Row(f"line {line}", key, row["caption"], patient, read)


def _folder_rows(folder: Path, salt: str) -> Iterator[_Row]:
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
    texts = {p.stem: p for p in files if p.suffix.lower() == ".txt"}
    if not texts:
        raise LearningError(
            f"{folder} has no captions: put a text file of the same name beside each image, such as scan1.txt beside "
            "scan1.png, or name a CSV file with the columns image and caption."
        )
    images = {_stem(p): p for p in files if p.name.lower().endswith(_PICTURES)}
    for number, stem in enumerate(sorted(images.keys() | texts.keys()), 1):
        name = patient_hash(salt, f"image {stem}")
        read = _FileReader(images[stem], None) if stem in images else None
        yield _Row(f"pair {number}", name, _text(texts[stem]) if stem in texts else "", name, read)


def _project_rows(project: Path) -> Iterator[_Row]:
    if not (project / TABLE).is_file():
        raise LearningError(
            f"The project has no captions. Write its reports to {project / TABLE}, a CSV file with the columns case "
            "(such as c0001) and caption, and perhaps slice (from 0)."
        )
    identity = str(read_document(project / "project.json", PROJECT_FORMAT)["id"])
    studies = {
        s["case"]: Study.from_json(s) for s in read_document(project / "studies.json", STUDIES_FORMAT)["studies"]
    }
    for line, row in _lines(project / TABLE, ("case", "caption")):
        study, index = studies.get(row["case"].strip()), _index(row, line)
        patient, read = "", None
        if study is not None:
            try:
                patient, read = patient_key(study, project, identity), _CaseReader(project, study, index)
            except MedclipsamError:
                # Its image is not where it was.
                read = None
        yield _Row(f"line {line}", f"{row['case']} {index}", row["caption"], patient, read)


@dataclass(frozen=True)
class _CaseReader:
    project: Path
    study: Study
    index: int | None

    def __call__(self) -> Slice:
        return _slice_of(annotated(self.study.grid.view(self.study.read(self.project))), self.index)


def _lines(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the rows of a table with their lines, the first after the head being 2."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = [name for name in needed if name not in (table.fieldnames or ())]
            if missing:
                raise LearningError(
                    f"{path.name} has no column {' and no column '.join(missing)}; it has "
                    f"{', '.join(table.fieldnames or ()) or 'none'}. The first line names the columns, with commas."
                )
            for row in table:
                yield table.line_num, {name: row.get(name) or "" for name in table.fieldnames or ()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LearningError(f"{path.name} can't be read as a table ({error}); save it as CSV in UTF-8.") from error


def _index(row: Mapping[str, str], line: int) -> int | None:
    said = row.get("slice", "").strip()
    if said and not said.isdecimal():
        raise LearningError(f"The slice in line {line} is {said!r}; write its number from 0, or leave it empty.")
    return int(said) if said else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LearningError(f"{path.name} can't be read as text ({error}); save it in UTF-8.") from error


def _stem(path: Path) -> str:
    return path.name[:-7] if path.name.lower().endswith(".nii.gz") else path.stem


def _sorted_out(rows: Iterable[_Row]) -> Captions:
    """Keep what can be learnt from, and say what can't."""
    pairs: list[CaptionedImage] = []
    missing, empty, unreadable, foreign, again = [], [], [], [], []
    seen: set[tuple[str, str]] = set()
    for row in rows:
        caption = " ".join(row.caption.split())
        if row.read is None:
            missing.append(row.place)
        elif not caption:
            empty.append(row.place)
        elif not is_readable(caption):
            unreadable.append(row.place)
        elif (row.key, caption) in seen:
            again.append(row.place)
        else:
            seen.add((row.key, caption))
            if not seems_english(caption):
                foreign.append(row.place)
            pairs.append(CaptionedImage(row.place, row.key, caption, row.patient, row.read))
    notes = [
        _told(places, text)
        for places, text in (
            (missing, "are left out, for there is no image"),
            (empty, "are left out, for the caption is empty"),
            (unreadable, "are left out, for the caption is not in Latin letters"),
            (again, "are left out, for the same image has the same caption already"),
            (foreign, "have a caption that does not look English, which is all that most encoders were taught"),
        )
        if places
    ]
    n_topics = len({pair.topic for pair in pairs})
    if n_topics < 2:
        said = " ".join(notes) or "The source has no others."
        what = f"all {len(pairs)} pairs have the same caption" if len(pairs) > 1 else f"there are {len(pairs)}"
        raise LearningError(
            f"Pairs are learnt by comparing each with others, so at least two different captions are needed; {what}. "
            + said
        )
    if n_topics < len(pairs):
        notes.append(
            f"{len(pairs) - n_topics} of {len(pairs)} pairs repeat a caption; equal captions never meet in a batch."
        )
    return Captions(tuple(pairs), tuple(notes))


def _told(places: list[str], text: str) -> str:
    which = named(places)
    return f"{len(places)} pairs {text} ({which})." if len(places) > 1 else f"1 pair ({which}) " + _single(text) + "."


def named(places: Sequence[str]) -> str:
    """Return the first of some places, for the reader."""
    return ", ".join(places[:_NAMED_PLACES]) + (", …" if len(places) > _NAMED_PLACES else "")


def _single(text: str) -> str:
    return text.replace("are left out", "is left out", 1).replace("have a caption", "has a caption", 1)
