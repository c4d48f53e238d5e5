"""Stand-in."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from napari_medclipsam.annotation.book import Book
from napari_medclipsam.learning.contracts import Example, Label
from napari_medclipsam.projects.documents import read_document
from napari_medclipsam.projects.journal import read_journal
from napari_medclipsam.projects.project import STUDIES_FORMAT
from napari_medclipsam.projects.replay import Replay
from napari_medclipsam.projects.studies import Study, annotated


def _slice(study, project, at):
    return annotated(study.grid.view(study.read(project))).slice_pixels(at, "auto")


def project_examples(project: Path) -> list[Example]:
    """Stand-in."""
    classes = {c["label"]: c["name"] for c in read_document(project / "project.json", "medclipsam-project")["classes"]}
    out = []
    for raw in read_document(project / "studies.json", STUDIES_FORMAT)["studies"]:
        study = Study.from_json(raw)
        book = (
            Replay(Book(study.grid.shape, None, 1))
            .run(read_journal(project / "cases" / study.case / "journal.jsonl"))
            .book
        )
        for at, state in book.states.items():
            labels = {
                classes[k.label]: Label(book.masks.object_mask(at, k))
                for k, s in state.objects.items()
                if s.accepted is not None
            }
            if labels:
                out.append(
                    Example(study.case, at.position, study.sha256[:16], partial(_slice, study, project, at), labels)
                )
    return out
