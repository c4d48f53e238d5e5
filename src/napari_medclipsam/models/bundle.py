"""Models in a folder, for a machine without a network."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_medclipsam.errors import ModelError, OutputError
from napari_medclipsam.files import atomic_path, sha256_of
from napari_medclipsam.models import store
from napari_medclipsam.models.entry import IN_STORE, ModelEntry, check_file_name, check_model_name, check_sha256
from napari_medclipsam.models.registry import find_entry

MANIFEST = "medclipsam-models.json"
_FORMAT = 1

Progress = Callable[[str], None]


def bundle(names: Iterable[str], folder: str | os.PathLike[str], progress: Progress | None = None) -> Path:
    """Copy installed models and a manifest of their hashes into a folder.

    Models that ship with the package are left out: the other machine has them already.

    Parameters
    ----------
    names : iterable of str
        Catalogue names.
    folder : path
        Is made if it does not exist; files of the same names are replaced.
    progress : callable, optional
        Called with each file's name before it is copied.

    Returns
    -------
    Path
        The manifest, written last: a folder without it is not complete.

    Raises
    ------
    ModelError
        If a model is unknown, not installed or damaged, or there is nothing to copy.
    OutputError
        If the folder can't be written.
    """
    folder = Path(folder)
    entries = [entry for entry in map(find_entry, dict.fromkeys(names)) if not entry.bundled]
    if not entries:
        raise ModelError("Nothing to bundle: name at least one model that does not ship with the package.")
    verified = [(entry, store.verified_paths(entry)) for entry in entries]
    manifest: dict[str, Any] = {"format": _FORMAT, "models": {}}
    for entry, paths in verified:
        files = {}
        for file in entry.files:
            if file.location != IN_STORE:
                continue
            if progress:
                progress(f"{entry.name}/{file.name}")
            with atomic_path(folder / entry.name / file.name) as temporary:
                shutil.copyfile(paths[file.name], temporary)
            files[file.name] = {
                "sha256": store.expected_sha256(entry, file),
                "size_bytes": paths[file.name].stat().st_size,
            }
        manifest["models"][entry.name] = {"revision": entry.revision, "licence": entry.licence, "files": files}
    with atomic_path(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return folder / MANIFEST


def import_bundle(folder: str | os.PathLike[str], progress: Progress | None = None) -> list[str]:
    """Check a bundle and install its models; a model is installed as a whole or not at all.

    Every file must have the hash that the catalogue of *this* installation states; where the catalogue knows none, the
    manifest's counts as stated by the user, who chose the folder.

    Returns
    -------
    list of str
        The models installed.

    Raises
    ------
    ModelError
        If the folder is not a bundle, names a file outside itself, or a file is missing, changed or not expected.
    OutputError
        If the model folder can't be written.
    """
    folder = Path(folder)
    models = _read_manifest(folder)
    try:
        store.models_folder().mkdir(parents=True, exist_ok=True)
        for entry, hashes in models:
            _install(entry, hashes, folder / entry.name, progress)
    except OSError as error:
        raise OutputError(
            f"Can't write to the model folder {store.models_folder()}: {error.strerror or error}. "
            f"Free some space, or choose another folder with the environment variable {store.FOLDER_VARIABLE}."
        ) from error
    return [entry.name for entry, _ in models]


def _read_manifest(folder: Path) -> list[tuple[ModelEntry, dict[str, str]]]:
    """Return the models of a bundle with the hash of each file, every name checked."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != _FORMAT:
            raise ModelError(
                f"{path} has format {manifest['format']!r}; this version reads {_FORMAT}. Update the package."
            )
        raw = {
            check_model_name(name): {check_file_name(file): facts["sha256"] for file, facts in model["files"].items()}
            for name, model in manifest["models"].items()
        }
    except OSError as error:
        raise ModelError(
            f"{folder} is not a bundle of models: {MANIFEST} can't be read. Make one with: medclipsam models bundle"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} is damaged ({error}). Make the bundle again with: medclipsam models bundle"
        ) from error
    models = []
    for name, files in raw.items():
        hashes = {file: check_sha256(str(value), file) for file, value in files.items()}
        models.append((find_entry(name), hashes))
        _check_against_catalogue(*models[-1])
    return models


def _check_against_catalogue(entry: ModelEntry, hashes: dict[str, str]) -> None:
    expected = {file.name: file.sha256 for file in entry.files if file.location == IN_STORE}
    if set(expected) != set(hashes):
        raise ModelError(
            f"The bundle's files of model {entry.name!r} are {', '.join(sorted(hashes)) or 'none'}, expected "
            f"{', '.join(sorted(expected)) or 'none'}. Use the same version of the package on both machines."
        )
    for name, value in hashes.items():
        if expected[name] not in (None, value):
            raise ModelError(
                f"{name} of model {entry.name!r} has SHA-256 {value} in the bundle, expected {expected[name]}. "
                "Make the bundle again from a model that was fetched with this version."
            )


def _install(entry: ModelEntry, hashes: dict[str, str], source: Path, progress: Progress | None) -> None:
    """Copy and check beside the target, then swap folders, so that a failure leaves the old state."""
    target = store.model_folder(entry)
    incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=store.models_folder()))
    try:
        for name, expected in hashes.items():
            if progress:
                progress(f"{entry.name}/{name}")
            _copy_checked(source, name, incoming / name, expected)
        previous = incoming.with_name(incoming.name + "-previous")
        had_one = target.exists()
        if had_one:
            target.replace(previous)
        try:
            incoming.replace(target)
        except OSError:
            if had_one:
                previous.replace(target)
            raise
        shutil.rmtree(previous, ignore_errors=True)
    finally:
        with suppress(OSError):
            shutil.rmtree(incoming)
    store.state_sha256(entry, hashes)


def _copy_checked(folder: Path, name: str, target: Path, expected: str) -> None:
    source = folder / name
    # A link in the bundle could point at any file of this machine.
    if not source.is_file() or not source.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"The bundle has no file {folder.name}/{name}. Copy the whole folder again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    found = sha256_of(target)
    if found != expected:
        raise ModelError(
            f"{source} was changed or damaged on the way: its SHA-256 is {found}, expected {expected}. "
            "Copy the folder again."
        )
