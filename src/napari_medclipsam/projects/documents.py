"""The JSON documents of a project: written whole or not at all, with format and version, and migrated when read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from napari_medclipsam.annotation.classes import ClassTable
from napari_medclipsam.errors import OutputError, ProjectError
from napari_medclipsam.files import atomic_path

Document = dict[str, Any]


def _with_patients(document: Document) -> Document:
    return {**document, "studies": [{**study, "patient": ""} for study in document["studies"]]}


#: The newest version of each format; of those that are not here, 1.
VERSIONS = {"medclipsam-studies": 2}

#: (format, version) → what makes a document of that version one of the next.
MIGRATIONS: dict[tuple[str, int], Callable[[Document], Document]] = {("medclipsam-studies", 1): _with_patients}


def read_document(path: Path, name: str) -> Document:
    """Read a document, in the newest version.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    name : str
        Its format.

    Raises
    ------
    ProjectError
        If it is missing, is no such document, or is from a newer version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found, version = document.pop("format"), int(document.pop("version"))
    except FileNotFoundError as error:
        if path.name != "project.json":
            raise ProjectError(f"There is no {path}. Restore it from a backup.") from error
        raise ProjectError(
            f"{path.parent} is no project: it has no {path.name}. Choose the folder of a project, or make one in a new "
            "folder: medclipsam project init FOLDER"
        ) from error
    except OSError as error:
        raise ProjectError(
            f"Can't read {path}: {error.strerror or error}. Check the disk and its permissions."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProjectError(f"{path} is damaged: it is no JSON document of ours. Restore it from a backup.") from error
    if found != name:
        raise ProjectError(f"{path} is a {found!r}; expected a {name!r}. Choose another folder.")
    newest = VERSIONS.get(name, 1)
    if version > newest:
        raise ProjectError(
            f"{path} is of version {version}, and this program knows versions up to {newest}; "
            "update the program to open it. Nothing was changed."
        )
    for old in range(version, newest):
        document = MIGRATIONS[(name, old)](document)
    return document


def write_document(path: Path, name: str, fields: Mapping[str, Any], *, indent: int | None = 1) -> None:
    """Write a document whole or not at all, and wait until it is on the disk.

    Raises
    ------
    OutputError
        If it can't be written; it is then as it was.
    """
    text = json.dumps({"format": name, "version": VERSIONS.get(name, 1), **fields}, ensure_ascii=False, indent=indent)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(text.encode("utf-8", "backslashreplace") + b"\n")
    except OutputError as error:
        reason = getattr(error.__cause__, "strerror", None) or "the disk refuses"
        raise OutputError(f"Can't write {path}: {reason}. Free some space or check the disk.") from error


def class_fields(table: ClassTable) -> Document:
    """Return classes as a document keeps them."""
    classes = [{"label": c.label, "name": c.name, "color": c.color, "prompts": list(c.prompts)} for c in table]
    return {"next_label": table.next_label, "classes": classes}
