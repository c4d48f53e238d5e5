"""A project: a folder with studies, classes and journals, that one program at a time writes."""

from __future__ import annotations

import getpass
import threading
import uuid
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from napari_medclipsam.annotation.classes import ClassTable
from napari_medclipsam.errors import MedclipsamError, OutputError, ProjectError
from napari_medclipsam.files import sync_folder
from napari_medclipsam.images.folders import Found
from napari_medclipsam.projects.case import Case
from napari_medclipsam.projects.class_use import use_of
from napari_medclipsam.projects.documents import class_fields, read_document, write_document
from napari_medclipsam.projects.journal import JOURNAL_FORMAT, JOURNAL_VERSION, Journal
from napari_medclipsam.projects.locking import FileLock, lock_or_reason
from napari_medclipsam.projects.patients import patient_hash
from napari_medclipsam.projects.records import utc_now
from napari_medclipsam.projects.relocating import moved_study
from napari_medclipsam.projects.second import require_second_reader
from napari_medclipsam.projects.studies import (
    Study,
    require_unchanged,
    study_of,
)
from napari_medclipsam.projects.summary import Summary, case_summary

PROJECT_FORMAT = "medclipsam-project"
STUDIES_FORMAT = "medclipsam-studies"


class Project:
    """A project that is open; make one with `create` or `open`. A context manager: leaving it closes the project.

    Attributes
    ----------
    folder : pathlib.Path
        Where it is.
    reader : str
        Who works with it; part of every record.
    id : str
        Made by us, random.
    read_only : str
        Why it is open for reading only, in a sentence; "" where it can be changed.
    classes : ClassTable
        The structures of all its cases. After a change call `save_classes`, or go on labelling, which does.
    settings : dict
        JSON values by name, for whoever needs to keep some; after a change call `save_classes`.
    studies : dict
        Case id → `Study`, in the order in which they were added.
    """

    def __init__(self, folder: Path, reader: str, lock: FileLock | None, read_only: str) -> None:
        self.folder, self.reader, self._lock, self.read_only = folder, reader, lock, read_only
        document = read_document(folder / "project.json", PROJECT_FORMAT)
        self.id, self._created = str(document["id"]), str(document["created"])
        self.classes = ClassTable(int(document["next_label"]))
        for c in document["classes"]:
            self.classes.add(c["name"], c["label"], c["color"], c["prompts"])
        self.settings: dict[str, Any] = document["settings"]
        self._wanted = self._on_disk = self._document()
        # The threads of open cases write classes too.
        self._writing = threading.RLock()
        listed = read_document(folder / "studies.json", STUDIES_FORMAT)["studies"]
        self.studies = {study.case: study for study in map(Study.from_json, listed)}
        self._open_cases: dict[Path, Case] = {}
        self._journal = None if lock is None else Journal(folder / "journal.jsonl")

    @classmethod
    def create(cls, folder: Path, classes: Iterable[str] = (), reader: str | None = None) -> Project:
        """Make a project in a folder that is empty or not there, and open it.

        Parameters
        ----------
        folder : pathlib.Path
            Where.
        classes : iterable of str
            Names of structures.
        reader : str, optional
            Who works with it; the user's name on this computer by default.

        Raises
        ------
        ProjectError
            If there is something in the folder.
        OutputError
            If it can't be written.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ProjectError(f"There is something in {folder} already. Choose an empty folder, or open the project.")
        table = ClassTable()
        for name in classes:
            table.add(name)
        write_document(folder / "studies.json", STUDIES_FORMAT, {"studies": []})
        for name in ("cases", "images"):
            (folder / name).mkdir(exist_ok=True)
        sync_folder(folder.resolve().parent)
        head = {"id": uuid.uuid4().hex, "created": utc_now()}
        # Last: with it the folder is a project.
        write_document(folder / "project.json", PROJECT_FORMAT, head | class_fields(table) | {"settings": {}})
        project = cls.open(folder, reader)
        project._note("begin", {"format": JOURNAL_FORMAT, "version": JOURNAL_VERSION, "project": project.id})
        return project

    @classmethod
    def open(cls, folder: Path, reader: str | None = None) -> Project:
        """Open a project: for writing, or for reading only where another program has it or the disk is read-only.

        Parameters
        ----------
        folder : pathlib.Path
            Where it is.
        reader : str, optional
            Who works with it; the user's name on this computer by default.

        Raises
        ------
        ProjectError
            If there is none, or it is damaged or from a newer version.
        """
        folder = Path(folder).resolve()
        # Before anything is written into a folder that may be no project.
        read_document(folder / "project.json", PROJECT_FORMAT)
        reader = reader or getpass.getuser()
        lock, read_only = lock_or_reason(folder / "lock.json", reader)
        try:
            return cls(folder, reader, lock, read_only)
        except OutputError as error:
            if lock is not None:
                lock.release()
            return cls(folder, reader, None, f"The project is open for reading only. {error}")
        except BaseException:
            if lock is not None:
                lock.release()
            raise

    @property
    def is_read_only(self) -> bool:
        """True where nothing can be changed; `read_only` says why."""
        return self._lock is None

    def require_writable(self) -> None:
        """Raise `ProjectError` where the project is open for reading only."""
        if self.is_read_only:
            raise ProjectError(self.read_only)

    def case_folder(self, case: str, *, second: bool = False) -> Path:
        """Return where a case has its journal, or that of its second reading."""
        return self.folder / "cases" / case / ("second" if second else "")

    def has_second(self, case: str) -> bool:
        """Tell whether a second reading of a case was begun."""
        return self.case_folder(case, second=True).exists()

    def study(self, case: str) -> Study:
        """Return a study; raises `ProjectError` where there is none."""
        try:
            return self.studies[case]
        except KeyError:
            raise ProjectError(
                f"There is no case {case} among the {len(self.studies)} of this project; project status names them."
            ) from None

    # Studies.

    def add(
        self, images: Iterable[Found], *, copy: bool = False, patient: str = ""
    ) -> Generator[tuple[Found, Study | Exception], None, None]:
        """Add images, one by one; yields each with its study, or with why it can't be added.

        An image that is in the project already is not added again: its study is yielded. The list of studies is written
        at the end, also when the caller stops early.

        Parameters
        ----------
        images : iterable of Found
            See `studies.images_in`.
        copy : bool
            Copy them into the project; else they stay where they are.
        patient : str
            Whose they all are, in any words; kept as a hash only. Needed where the files do not say it and a patient
            has several, see `patients.patient_key`. An image that is in the project already gets it too.

        Raises
        ------
        ProjectError
            If the project is open for reading only.
        OutputError
            If the list can't be written.
        """
        self.require_writable()
        known = {(s.sha256, s.volume_index): s for s in self.studies.values()}
        added: list[Study] = []
        whose = patient_hash(self.id, patient) if patient.strip() else ""
        is_told = False
        try:
            for found in images:
                case = f"c{self._next_number() + len(added):04d}"
                try:
                    study = study_of(found, case, utc_now(), self.folder, self.folder / "images" if copy else None)
                except (MedclipsamError, OSError) as error:
                    yield found, error
                    continue
                if (twin := known.get((study.sha256, study.volume_index))) is not None:
                    if whose and twin.patient != whose and twin.case in self.studies:
                        twin = self.studies[twin.case] = replace(twin, patient=whose)
                        is_told = True
                    yield found, twin
                    continue
                study = replace(study, patient=whose)
                known[study.sha256, study.volume_index] = study
                added.append(study)
                yield found, study
        finally:
            if added:
                self.studies |= {study.case: study for study in added}
            if added or is_told:
                self._save_studies()
            if added:
                self._note("add", {"cases": {study.case: study.sha256 for study in added}})

    def _next_number(self) -> int:
        return 1 + max((int(case[1:]) for case in self.studies), default=0)

    def relocate(self, case: str, path: Path, *, accept_changed: bool = False) -> Study:
        """Say where the image of a case is now.

        Parameters
        ----------
        case : str
            Which.
        path : pathlib.Path
            Where its image is; may be where it was.
        accept_changed : bool
            Take it although its content is not what was labelled. Its geometry must be.

        Raises
        ------
        SourceChangedError
            If the content differs and that was not accepted.
        GeometryError
            If the geometry differs.
        ImageError
            If it can't be read.
        """
        self.require_writable()
        study = self.study(case)
        moved = moved_study(study, path, self.folder, accept_changed=accept_changed)
        self.studies[case] = moved
        self._save_studies()
        verb = "relocate" if moved.sha256 == study.sha256 else "source"
        self._note(verb, {"sha256": moved.sha256, "of": case})
        return moved

    def _save_studies(self) -> None:
        listed = [study.to_json() for study in self.studies.values()]
        write_document(self.folder / "studies.json", STUDIES_FORMAT, {"studies": listed})

    # Cases.

    def open_case(self, case: str, *, second: bool = False) -> Case:
        """Open a case for labelling, where it was left; or its blind second reading, see `second`.

        Raises
        ------
        SourceMovedError, SourceChangedError
            If its image was moved or changed: the message says what the reader can decide.
        MedclipsamError
            If there is none, it is open already, its journal is from a newer version, the image can't be read, or the
            reader may not do the second reading.
        """
        study, folder = self.study(case), self.case_folder(case, second=second)
        if folder in self._open_cases:
            raise ProjectError(f"The case {case} is open already.")
        if second:
            require_second_reader(self.reader, self.summary(case), self.summary(case, second=True))
        require_unchanged(study, self.folder)
        opened = Case(self, study, study.read(self.folder), folder)
        if not self.is_read_only:
            self._open_cases[folder] = opened
        return opened

    def closed(self, case: Case) -> None:
        """Forget a case that has closed itself."""
        self._open_cases.pop(case.folder, None)

    def summary(self, case: str, *, second: bool = False, review: bool = True) -> Summary:
        """Return how far a case is, or its second reading, without its image; of an open one as it is now.

        Without `review` that of an open case has none, which takes long for large images.
        """
        folder = self.case_folder(case, second=second)
        if folder in self._open_cases:
            return self._open_cases[folder].summary(review=review)
        return case_summary(folder, self.study(case).grid.shape)

    def summaries(self) -> dict[str, Summary]:
        """Return how far every case is."""
        return {case: self.summary(case) for case in self.studies}

    # Classes and settings.

    def save_classes(self) -> None:
        """Write classes and settings where they have changed, and wait until they are on the disk.

        Raises
        ------
        OutputError
            If they can't be written; they are then tried again with the next change.
        """
        self.changed_classes()
        self.write_classes()

    @property
    def has_new_classes(self) -> bool:
        """True when classes or settings have changed since they were written last, or were about to be."""
        return not self.is_read_only and self._document() != self._wanted

    def changed_classes(self) -> list[dict[str, Any]] | None:
        """Return the classes if they or the settings have changed since the last call, for `write_classes` to write."""
        if not self.has_new_classes:
            return None
        self._wanted = self._document()
        classes: list[dict[str, Any]] = self._wanted["classes"]
        return classes

    def write_classes(self) -> None:
        """Write what `changed_classes` has seen last; may be called from any thread. Raises as `save_classes`."""
        with self._writing:
            document = self._wanted
            if document != self._on_disk:
                write_document(self.folder / "project.json", PROJECT_FORMAT, document)
                self._on_disk = document
                self._note("classes", {"classes": document["classes"], "next_label": document["next_label"]})

    def remove_class(self, label: int) -> None:
        """Remove a class that labels nothing in any case, nor in its second reading.

        Raises
        ------
        ProjectError
            If something is labelled with it.
        """
        self.require_writable()
        if use := use_of(self, label):
            raise ProjectError(
                f'The class "{self.classes[label].name}" has masks or prompts in {use}. Clear them there, or hide the '
                "class."
            )
        self.classes.remove(label)
        self.save_classes()

    def _document(self) -> dict[str, Any]:
        head = {"id": self.id, "created": self._created}
        return head | class_fields(self.classes) | {"settings": dict(self.settings)}

    def _note(self, verb: str, parameters: dict[str, Any]) -> None:
        """Write a record of the project's own journal, and wait until it is on the disk."""
        assert self._journal is not None  # only after `require_writable`
        record = {"time": utc_now(), "reader": self.reader, "case": "", "verb": verb, "parameters": parameters}
        with self._writing:
            self._journal.append(record)
            self._journal.sync()

    def close(self) -> None:
        """Close its cases, save, and let others have it.

        Raises
        ------
        OutputError
            If something can't be written; the project is then still open, and `close` may be called again.
        """
        for case in list(self._open_cases.values()):
            case.close()
        self.save_classes()
        if self._journal is not None and self._lock is not None:
            self._journal.close()
            self._lock.release()
            self._journal = self._lock = None
            self.read_only = "The project was closed."

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
