"""Where fine-tuned encoders are kept: with the project, or beside the pairs."""

from __future__ import annotations

import uuid
from pathlib import Path

from napari_medclipsam.errors import LearningError
from napari_medclipsam.projects.documents import Document, read_document, write_document
from napari_medclipsam.projects.project import PROJECT_FORMAT

CLIP_FORMAT = "medclipsam-clip"
#: The learner, and the folder of its home in a project.
CLIP = "clip"
_HOME = "clip.json"


def home_for(source: Path) -> Path:
    """Return where what is learnt from pairs is kept by default: ``clip`` in a project, ``NAME-clip`` beside the pairs.

    It is a register of its own: what a project has in use for texts and clicks stays in use.
    """
    source = source.resolve()
    return source / CLIP if (source / "project.json").is_file() else source.with_name(f"{source.stem}-{CLIP}")


def open_home(home: Path, source: Path) -> Document:
    """Return the document of a home, made where there is none: ``id`` and ``source``.

    Raises
    ------
    LearningError
        If the folder holds something else.
    OutputError
        If it can't be written.
    """
    path, said = home / _HOME, str(source.resolve())
    if path.is_file():
        document = read_document(path, CLIP_FORMAT)
        if document["source"] == said:
            return document
        document = {**document, "source": said}
    elif home.is_dir() and any(home.iterdir()):
        raise LearningError(f"{home} holds something else than fine-tuned encoders; name a new folder with --output.")
    else:
        document = {"id": uuid.uuid4().hex, "source": said}
    write_document(path, CLIP_FORMAT, document)
    return document


def read_home(home: Path) -> Document:
    """Return the document of a home; raises `ProjectError` where there is none."""
    return read_document(home / _HOME, CLIP_FORMAT)


def find_home(folder: Path) -> Path | None:
    """Return the home that a folder is, or that a project has; None where there is none."""
    return next((home for home in (folder, folder / CLIP) if (home / _HOME).is_file()), None)


def require_register(folder: Path) -> None:
    """Raise an error unless a folder is a project or a home: has versions, or may have them."""
    if (folder / _HOME).is_file():
        read_home(folder)
    elif folder.name == CLIP and (folder.parent / "project.json").is_file():
        raise LearningError(
            f"No encoder was fine-tuned for this project yet. Start with: medclipsam learn clip {folder.parent}"
        )
    else:
        read_document(folder / "project.json", PROJECT_FORMAT)
