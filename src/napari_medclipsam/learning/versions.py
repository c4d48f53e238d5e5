"""The register of versions of a project: what was learnt, from what, how good it is, and which one is in use.

A version is a folder that appears whole and is never changed. Which one is in use is one small file beside them, the
list of what was promoted and taken back: a version's state follows from it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from napari_medclipsam.errors import LearningError, MedclipsamError, OutputError
from napari_medclipsam.files import atomic_folder, sha256_of
from napari_medclipsam.learning.folders import models_folder, register_lock
from napari_medclipsam.projects.documents import Document, read_document, write_document
from napari_medclipsam.projects.records import utc_now

VERSION_FORMAT = "medclipsam-version"
USE_FORMAT = "medclipsam-use"

State = Literal["promoted", "replaced", "rolled back", "candidate", "not better", "damaged"]

#: The part of a version that answers; the others are for measuring.
MODEL = "model"
#: Files of this name are for going on with a fit; a version does not need them.
CHECKPOINT = "checkpoint"
_KEPT_SUFFIXES = (".safetensors", ".json")
_PARTIAL = ".partial-"


@dataclass(frozen=True)
class Version:
    """One version.

    Parameters
    ----------
    name : str
        Such as "v0003".
    folder : pathlib.Path
        Where it is; ``model`` in it is what its learner wrote, ``folds/N`` the same without the patients of fold N.
    state : str
        promoted (in use), replaced (was in use), rolled back (was in use, until somebody went back), candidate (could
        not be judged), not better, or damaged.
    lineage : dict
        See docs/project-format.md; empty where it is damaged.
    size_bytes : int
        On disk.
    trouble : str
        What is wrong with it, in a sentence; "" where nothing is known to be.
    """

    name: str
    folder: Path
    state: State
    lineage: Mapping[str, Any]
    size_bytes: int
    trouble: str = ""

    @property
    def learner(self) -> str:
        """The name of its learner."""
        return str(self.lineage.get("learner", ""))

    @property
    def model(self) -> Path:
        """The folder that its learner wrote."""
        return self.folder / MODEL

    def fold(self, number: int) -> Path | None:
        """Return the model that has not seen the patients of a fold; None where there is none."""
        folder = self.folder / "folds" / str(number)
        return folder if folder.is_dir() else None

    def unseen_by(self, patient: str, fold: int) -> str | None:
        """Return the part that has not learnt from a patient: "model", one of its folds, or None where all have.

        Parameters
        ----------
        patient : str
            As in `Example`.
        fold : int
            Of the patient, see `Split.fold`.
        """
        if patient not in self.lineage.get("data", {}).get("patients", ()):
            return MODEL
        return None if self.fold(fold) is None else f"folds/{fold}"

    def check(self) -> None:
        """Compare its files with the hashes in its lineage.

        Raises
        ------
        LearningError
            If one is missing or has changed.
        """
        if self.trouble:
            raise LearningError(self.trouble)
        for name, expected in self.lineage["files"].items():
            try:
                if sha256_of(self.folder / name) == expected:
                    continue
                told = f"{name} is not what was registered"
            except OSError as error:
                told = f"{name} can't be read ({error.strerror or error})"
            raise LearningError(
                f"The version {self.name} is damaged: {told}. Restore it from a backup, go back to the version before "
                "(versions rollback), or learn again."
            )


def list_versions(project: Path) -> list[Version]:
    """Return all versions of a project, the oldest first.

    Raises
    ------
    ProjectError
        If the file that says which one is in use is damaged or from a newer version.
    """
    deeds = _deeds(project)
    return [_read(folder, deeds) for folder in _folders(project)]


def find_version(project: Path, name: str) -> Version:
    """Return a version; raises `LearningError` where there is none."""
    folder = models_folder(project) / name
    if folder not in _folders(project):
        known = ", ".join(f.name for f in _folders(project)) or "none yet"
        raise LearningError(f"There is no version {name} in this project; there are: {known}.")
    return _read(folder, _deeds(project))


def active_version(project: Path) -> Version | None:
    """Return the version in use; None where it is the model that all began with.

    Raises
    ------
    LearningError
        If it is gone.
    """
    name = _active(_deeds(project))
    if not name:
        return None
    if not (models_folder(project) / name).is_dir():
        raise LearningError(
            f"The version {name}, which is in use in this project, is gone. Restore the folder models/{name}, or go "
            "back to the version before (versions rollback)."
        )
    return find_version(project, name)


def register(project: Path, parts: Mapping[str, Path], lineage: Document) -> Version:
    """Add a version; it is there whole or not at all.

    Parameters
    ----------
    project : pathlib.Path
        Its folder.
    parts : mapping of str to pathlib.Path
        Folder in the version ("model", "folds/0") → what a learner wrote, copied but for checkpoints.
    lineage : dict
        All but ``name``, ``created`` and ``files``. A run that is registered already (``run``) is not added again.

    Raises
    ------
    LearningError
        If the learner wrote something that is not safetensors or JSON.
    OutputError
        If the disk is full.
    """
    with register_lock(project):
        for known in list_versions(project):
            if known.lineage.get("run") == lineage["run"]:
                return known
        _remove_partial(project)
        name = _next_name(project)
        target = models_folder(project) / name
        with atomic_folder(target) as folder:
            for part, source in parts.items():
                _copy(source, folder / part)
            files = {p.relative_to(folder).as_posix(): sha256_of(p) for p in sorted(folder.rglob("*")) if p.is_file()}
            head = {"name": name, "created": utc_now()}
            write_document(folder / "lineage.json", VERSION_FORMAT, head | lineage | {"files": files})
    return find_version(project, name)


def promote(project: Path, name: str, by: str) -> Version:
    """Put a version into use.

    Parameters
    ----------
    project : pathlib.Path
        Its folder.
    name : str
        Which.
    by : str
        "gate" or the name of a reader.

    Raises
    ------
    LearningError
        If there is none, or it is damaged.
    OutputError
        If the disk is full; all is then as it was.
    """
    with register_lock(project):
        find_version(project, name).check()
        if _active(_deeds(project)) != name:
            _add_deed(project, {"verb": "promote", "version": name, "by": by})
    return find_version(project, name)


def roll_back(project: Path, by: str) -> Version | None:
    """Go back to what was in use before; returns it, None for the model that all began with.

    Raises
    ------
    LearningError
        If no version is in use.
    OutputError
        If the disk is full; all is then as it was.
    """
    with register_lock(project):
        name = _active(_deeds(project))
        if not name:
            raise LearningError("No version is in use in this project: there is nothing to go back from.")
        while name:
            _add_deed(project, {"verb": "rollback", "version": name, "by": by})
            name = _active(_deeds(project))
            # One that was deleted since is passed over.
            if name and (models_folder(project) / name).is_dir():
                return find_version(project, name)
    return None


def delete(project: Path, name: str) -> int:
    """Delete a version that is not in use; returns the bytes that were freed.

    Raises
    ------
    LearningError
        If there is none, it is in use, or another version was learnt from it: that could not be told any more.
    OutputError
        If it can't be deleted.
    """
    with register_lock(project):
        version = find_version(project, name)
        if version.name == _active(_deeds(project)):
            raise LearningError(f"{name} is in use. Go back to the version before first (versions rollback).")
        if children := [one.name for one in list_versions(project) if one.lineage.get("parent") == name]:
            raise LearningError(f"{', '.join(children)} was learnt from {name}. Delete that first, or keep both.")
        try:
            # First out of the register, then file by file.
            doomed = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=models_folder(project)))
            version.folder.rename(doomed / name)
            shutil.rmtree(doomed)
        except OSError as error:
            raise OutputError(f"Can't delete {version.folder}: {error.strerror or error}.") from error
    return version.size_bytes


def _folders(project: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(p for p in models_folder(project).iterdir() if _number(p.name) and p.is_dir())
    return []


def _number(name: str) -> int:
    return int(name[1:]) if name[:1] == "v" and name[1:].isdecimal() else 0


def _next_name(project: Path) -> str:
    """Return a name that no version has had, deleted ones included."""
    used = [_number(p.name) for p in _folders(project)] + [_number(deed["version"]) for deed in _deeds(project)]
    return f"v{1 + max(used, default=0):04d}"


def _read(folder: Path, deeds: list[Document]) -> Version:
    size_bytes = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            size_bytes += path.stat().st_size if path.is_file() else 0
    try:
        lineage = read_document(folder / "lineage.json", VERSION_FORMAT)
        lineage["files"].items(), lineage["learner"], lineage["gate"].get("better")
    except (MedclipsamError, KeyError, AttributeError) as error:
        told = str(error) if isinstance(error, MedclipsamError) else "its lineage.json is incomplete"
        told = f"The version {folder.name} is damaged: {told.rstrip('.')}. Learn again or restore it from a backup."
        return Version(folder.name, folder, "damaged", {}, size_bytes, told)
    return Version(folder.name, folder, _state(folder.name, lineage, deeds), lineage, size_bytes)


def _state(name: str, lineage: Document, deeds: list[Document]) -> State:
    if _active(deeds) == name:
        return "promoted"
    of_it = [deed["verb"] for deed in deeds if deed["version"] == name]
    if of_it:
        return "rolled back" if of_it[-1] == "rollback" else "replaced"
    return "not better" if lineage["gate"].get("better") is False else "candidate"


def _deeds(project: Path) -> list[Document]:
    path = models_folder(project) / "use.json"
    return list(read_document(path, USE_FORMAT)["history"]) if path.exists() else []


def _active(deeds: list[Document]) -> str:
    """Return the name of the version in use; "" for none."""
    used: list[str] = []
    for deed in deeds:
        if deed["verb"] == "promote":
            used.append(deed["version"])
        elif used:
            used.pop()
    return used[-1] if used else ""


def _add_deed(project: Path, deed: Document) -> None:
    history = [*_deeds(project), {"time": utc_now(), **deed}]
    write_document(models_folder(project) / "use.json", USE_FORMAT, {"history": history})


def _copy(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if not path.is_file() or path.name.startswith((CHECKPOINT, ".")):
            continue
        if path.suffix not in _KEPT_SUFFIXES:
            raise LearningError(f"The learner wrote {path.name}; a version holds safetensors and JSON only. Report it.")
        copied = target / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)


def _remove_partial(project: Path) -> None:
    """Clear away what a killed process was writing; the lock says that none is."""
    for entry in models_folder(project).iterdir():
        if entry.name.startswith(_PARTIAL):
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink()
