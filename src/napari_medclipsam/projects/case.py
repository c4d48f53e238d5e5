"""One study of a project that is open for labelling: its session, recorded as it goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medclipsam.annotation.actions import Action
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.errors import ProjectError
from napari_medclipsam.images.io import mask_suffix, write_mask
from napari_medclipsam.images.volume import Volume
from napari_medclipsam.projects.codec import fields_of
from napari_medclipsam.projects.compaction import compact
from napari_medclipsam.projects.journal import JOURNAL_FORMAT, JOURNAL_VERSION, Damage, Journal, read_journal
from napari_medclipsam.projects.records import Record, utc_now
from napari_medclipsam.projects.replay import Replay
from napari_medclipsam.projects.scribe import Scribe
from napari_medclipsam.projects.studies import Study, annotated, stored_mask
from napari_medclipsam.projects.summary import Summary

if TYPE_CHECKING:
    from napari_medclipsam.projects.project import Project

#: What a reader decides is not called done before it is on the disk. The rest is on its way there.
_DURABLE = frozenset({"accept", "reject", "clear", "import", "undo", "redo"})
_READ_ONLY = "This project is open for reading only: what you do here is not kept."


class Case:
    """A study that is open; `Project.open_case` makes it.

    Everything that is done to `session` is recorded, in its order. A context manager: leaving it closes the case.

    Parameters
    ----------
    project : Project
        Where it belongs.
    study : Study
        Which one it is.
    volume : Volume
        Its image, as it is in the file.
    folder : pathlib.Path
        Where its journal is.

    Attributes
    ----------
    session : Session
        Its verbs change it as any session. Their `Change` says so where the disk makes trouble.
    at : SliceAt or None
        The slice to go on with: that which was worked on or looked at last; None for a case that is new.
    view : ReadingView
        The image as it is read, and the way back to the grid of the file. The session is on the grid of ``view.turned``
        (on its one slice for flat pictures).
    reader : str
        Whose name the records bear: that of the project; "" while a program works by itself.
    damages : tuple of Damage
        Places of the journal that could not be used; the reader must be told.
    waits : bool
        True: a decision returns when it is on the disk. False is for a window, which must not stand still meanwhile: it
        looks at `unsaved` before it calls the decision done.
    """

    def __init__(self, project: Project, study: Study, volume: Volume, folder: Path) -> None:
        self._project = project
        self.study, self.reader = study, project.reader
        self.waits = True
        self.folder = folder
        self.view = study.grid.view(volume)
        self.session = Session(annotated(self.view))
        self.session.classes = project.classes
        self._replay = Replay(self.session.book)
        self._scribe: Scribe | None = None
        self._begin: Record | None = None
        path = self.folder / "journal.jsonl"
        if project.is_read_only:
            self._replay.run(read_journal(path))
        else:
            self._scribe = Scribe(self._opened_journal(path))
        self._restore_session()
        self.session.book.recorder = self

    def _opened_journal(self, path: Path) -> Journal:
        compact(path, read_journal(path), self.study.grid.shape)
        journal = Journal(path)
        if journal.n == 0:
            head = {"format": JOURNAL_FORMAT, "version": JOURNAL_VERSION, "part": 1}
            head |= {"grid": self.study.grid.to_json(), "sha256": self.study.sha256}
            # Written before the first deed: whoever has only opened a case has done nothing to it.
            self._begin = {"time": utc_now(), "verb": "begin", "parameters": head}
        self._replay.run(journal.opened)
        self._journal = journal
        return journal

    def _restore_session(self) -> None:
        session, replay = self.session, self._replay
        known = {int(c["label"]): c for c in replay.classes}
        for label in {key.label for key in session.book.objects()}:
            if label not in session.classes:
                # Removed elsewhere, or a crash came before the table was written.
                c = known.get(label, {"name": f"structure {label}", "color": None, "prompts": ()})
                session.classes.add(c["name"], label, c["color"], c["prompts"])
        session.text, session.window = replay.text, replay.window
        if replay.current is not None and replay.current.label in session.classes:
            session.current = replay.current

    @property
    def is_second(self) -> bool:
        """True for a second, blind reading."""
        return self.folder == self._project.case_folder(self.study.case, second=True)

    @property
    def at(self) -> SliceAt | None:
        """See the class."""
        return self._replay.at

    @property
    def damages(self) -> tuple[Damage, ...]:
        """See the class."""
        return tuple(self._replay.damages)

    @property
    def notes(self) -> Mapping[SliceAt | None, Mapping[str, Any]]:
        """What its readers have noted of slices, and of the whole case (None); see `note`."""
        return self._replay.notes

    @property
    def active_s(self) -> Mapping[str, float]:
        """Reader → seconds of work on it until now."""
        return self._replay.history.active_s

    @property
    def volume(self) -> Volume:
        """The image as it is in the file."""
        return self.view.stored

    @property
    def unsaved(self) -> int:
        """How many records a power cut would lose now; for a sign on screen."""
        return 0 if self._scribe is None else self._scribe.unsaved

    @property
    def trouble(self) -> str:
        """What is wrong with the disk, in a sentence; "" while nothing is."""
        return "" if self._scribe is None else self._scribe.trouble

    def record(self, action: Action) -> str:
        """Take what the session did; see `annotation.actions.Recorder`."""
        return self._write(fields_of(action), durable=action.deed.verb in _DURABLE)

    def looked_at(self, at: SliceAt) -> None:
        """Note the slice on screen, to go on with it next time; for when scrolling has come to rest."""
        if at != self.at and self._scribe is not None:
            self._write({"verb": "look", "at": list(at.position)}, durable=False)

    def note(self, parameters: dict[str, Any], at: SliceAt | None = None) -> str:
        """Keep something that changes no mask; returns what the reader must be told, "" for nothing.

        With `at`, ``flag`` (bool), which puts the slice first in the review queue, and ``note`` (a line) are of that
        slice; without it, ``done`` (bool) says that the
        case needs no more work. What is not named stays as it is.
        """
        fields: Record = {"verb": "note", "parameters": parameters}
        if at is not None:
            fields["at"] = list(at.position)
        return self._write(fields, durable=True)

    def noted(self, at: SliceAt) -> dict[str, Any]:
        """Return what was noted of a slice, see `note`."""
        return dict(self._replay.notes.get(at, {}))

    def keep_classes(self) -> None:
        """Have classes that have changed written, without waiting for it."""
        if self._project.has_new_classes:
            self._write({"verb": "classes"}, durable=False)

    def _write(self, fields: Record, *, durable: bool) -> str:
        if self._scribe is None:
            return _READ_ONLY
        if self._begin is not None:
            begin, self._begin = self._record(self._begin), None
            self._replay.note(begin)
            self._scribe.write(begin, durable=False)
        record, chore = self._record(fields), None
        if (classes := self._project.changed_classes()) is not None:
            record["classes"], chore = classes, self._project.write_classes
        self._replay.note(record)
        return self._scribe.write(record, durable=durable and self.waits, chore=chore)

    def _record(self, fields: Record) -> Record:
        return {"time": utc_now(), "reader": self.reader, "case": self.study.case, **fields}

    def mask_zyx(self) -> np.ndarray:
        """Return the accepted mask on the grid of the file, uint8 (z, y, x)."""
        return stored_mask(self.session.labels, self.view)

    def summary(self, *, review: bool = True) -> Summary:
        """Return how far it is; see `Summary.of`."""
        n, size = (0, 0) if self._scribe is None else (self._journal.n, self._journal.size_bytes)
        return Summary.of(self._replay, n, size, review=review)

    def save(self) -> None:
        """Wait until everything is on the disk, and write the mask and the summary.

        Raises
        ------
        OutputError
            If that is not possible now; nothing is lost while the program runs.
        """
        if self._scribe is None:
            return
        self._project.save_classes()
        self._scribe.flush()
        if self._begin is not None:
            return
        mask_path = self.folder / f"mask{mask_suffix(self.volume)}"
        if self._is_saved() and mask_path.exists():
            return
        # The summary last: that it is up to date says that the mask is.
        write_mask(self.mask_zyx(), self.volume, mask_path)
        self.summary().write(self.folder / "summary.json")

    def _is_saved(self) -> bool:
        try:
            return Summary.read(self.folder / "summary.json").size_bytes == self._journal.size_bytes
        except ProjectError:
            return False

    def close(self) -> None:
        """Save and let go of the files.

        Raises
        ------
        OutputError
            If something can't be written; the case is then still open, and `close` may be called again.
        """
        if self._scribe is None:
            return
        self.save()
        self._scribe.close()
        self._scribe = None
        self._project.closed(self)

    def __enter__(self) -> Case:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
