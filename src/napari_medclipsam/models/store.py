"""The user's model folder: what is installed, and whether the files are the ones the catalogue means."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from napari_medclipsam.errors import MedclipsamError, ModelError
from napari_medclipsam.files import atomic_path, sha256_of
from napari_medclipsam.models.entry import (
    IN_STORE,
    PACKAGE_PREFIX,
    PACKAGED,
    ModelEntry,
    ModelFile,
    check_sha256,
    readable_size,
)

FOLDER_VARIABLE = "MEDCLIPSAM_MODELS"
_STAMPS = ".verified.json"
_STATED = ".stated-sha256.json"


class ModelNotInstalledError(ModelError):
    """A model's files are not on this machine; the message says how to get them."""


class ModelState(StrEnum):
    """Whether a model can be used now."""

    BUNDLED = "bundled"
    INSTALLED = "installed"
    NOT_INSTALLED = "not installed"


def models_folder() -> Path:
    """Return the folder of downloaded models: MEDCLIPSAM_MODELS, or the user's data folder."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("medclipsam", appauthor=False)) / "models"


def model_folder(entry: ModelEntry) -> Path:
    """Return the folder of one model inside the user's model folder."""
    return models_folder() / entry.name


def file_path(entry: ModelEntry, file: ModelFile) -> Path:
    """Return where a model's file is, or would be."""
    if file.location == IN_STORE:
        return model_folder(entry) / file.name
    if file.location == PACKAGED:
        return Path(__file__).parent / file.name
    module = file.location.removeprefix(PACKAGE_PREFIX)
    # find_spec does not run a top-level package, so listing the models stays quick.
    spec = importlib.util.find_spec(module)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise ModelNotInstalledError(
            f"Model {entry.name!r} needs the Python package {module}, which is not installed. "
            f"Run: pip install {module.replace('_', '-')}"
        )
    return Path(folders[0]) / file.name


def state_of(entry: ModelEntry) -> ModelState:
    """Return whether `entry` can be used, by the presence and size of its files (hashes are checked on loading)."""
    try:
        present = all(_is_there(entry, file) for file in entry.files)
    except ModelNotInstalledError:
        present = False
    if not present:
        return ModelState.NOT_INSTALLED
    return ModelState.BUNDLED if entry.bundled else ModelState.INSTALLED


def _is_there(entry: ModelEntry, file: ModelFile) -> bool:
    path = file_path(entry, file)
    return path.is_file() and file.size_bytes in (None, path.stat().st_size)


def not_installed(entry: ModelEntry) -> ModelNotInstalledError:
    """Return the error that says how to get a model, how large it is and under which licence."""
    if entry.bundled:
        return ModelNotInstalledError(
            f"Files of the bundled model {entry.name!r} are missing from this installation. "
            "Run: pip install --force-reinstall napari-medclipsam"
        )
    return ModelNotInstalledError(
        f"Model {entry.name!r} is not installed ({readable_size(entry.size_bytes)}, licence {entry.licence}). "
        f"Run: medclipsam models fetch {entry.name}"
    )


def expected_sha256(entry: ModelEntry, file: ModelFile) -> str | None:
    """Return the hash a file must have: the catalogue's, else the one the user stated, else None."""
    return file.sha256 or stated_sha256(entry).get(file.name)


def stated_sha256(entry: ModelEntry) -> dict[str, str]:
    """Return the hashes that the user stated for files whose hash the catalogue does not know."""
    stated = _read_json(model_folder(entry) / _STATED)
    return {name: value for name, value in stated.items() if isinstance(value, str)}


def state_sha256(entry: ModelEntry, hashes: Mapping[str, str]) -> None:
    """Record the user's word on files whose hash the catalogue does not know.

    Raises
    ------
    ModelError
        If a name is not a file of the model, a hash is malformed or contradicts the catalogue.
    """
    known = {file.name: file for file in entry.files}
    stated = stated_sha256(entry)
    for name, text in hashes.items():
        if name not in known:
            raise ModelError(f"Model {entry.name!r} has no file {name!r}; its files are {', '.join(known)}.")
        value = check_sha256(text, name)
        catalogued = known[name].sha256
        if catalogued is not None and catalogued != value:
            raise ModelError(
                f"The catalogue says that {name} has SHA-256 {catalogued}, not {value}. "
                "Leave --sha256 out for this file."
            )
        if catalogued is None:
            stated[name] = value
    if stated != stated_sha256(entry):
        _write_json(model_folder(entry) / _STATED, stated)


def verified_paths(entry: ModelEntry) -> dict[str, Path]:
    """Return the path of each file of a model, after checking its hash.

    A file that was checked before and has not changed (size, modification and change time) is not read again, so
    gigabytes aren't hashed at every start. The stamps guard against damage and mix-ups, not against someone who can
    already write to the user's own folder.

    Raises
    ------
    ModelNotInstalledError
        If a file is missing.
    ModelError
        If a file is not the one that the catalogue means, or nobody stated its hash.
    """
    paths = {}
    for file in entry.files:
        path = file_path(entry, file)
        if not path.is_file():
            raise not_installed(entry)
        expected = expected_sha256(entry, file)
        if expected is None:
            raise ModelError(
                f"The SHA-256 of {file.name} of model {entry.name!r} is not in the catalogue, so it is not used "
                f"unasked. Run: medclipsam models fetch {entry.name} --sha256 {file.name}=HASH"
            )
        found = file_sha256(path)
        if found != expected:
            raise ModelError(
                f"{path} is damaged or not the expected file: its SHA-256 is {found}, expected {expected}. "
                f"{_remedy(entry, file)}"
            )
        paths[file.name] = path
    return paths


def _remedy(entry: ModelEntry, file: ModelFile) -> str:
    if file.location == IN_STORE:
        return f"Run: medclipsam models fetch {entry.name}"
    return "Reinstall the Python package that it is from."


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, from its stamp when the file has not changed since it was last read."""
    stamp = _read_json(models_folder() / _STAMPS).get(str(path.resolve()))
    if isinstance(stamp, dict) and stamp.get("identity") == _identity(path) and isinstance(stamp.get("sha256"), str):
        return str(stamp["sha256"])
    found = sha256_of(path)
    remember_sha256(path, found)
    return found


def remember_sha256(path: Path, sha256: str) -> None:
    """Note the hash of a file that was just read, so that it need not be read again while it does not change."""
    stamps = models_folder() / _STAMPS
    stamp = {"identity": _identity(path), "sha256": sha256}
    # A read-only model folder is fine: then the file is simply hashed each time.
    with suppress(MedclipsamError):
        _write_json(stamps, _read_json(stamps) | {str(path.resolve()): stamp})


def _identity(path: Path) -> list[int]:
    info = path.stat()
    # ctime too: setting back the modification time after a change does not hide it.
    return [info.st_size, info.st_mtime_ns, info.st_ctime_ns]


def model_hash(entry: ModelEntry) -> str:
    """Return one hash for all files of a model, for the keys of cached embeddings. Verifies the files first."""
    verified_paths(entry)
    digest = hashlib.sha256()
    for file in sorted(entry.files, key=lambda f: f.name):
        digest.update(f"{file.name}\0{expected_sha256(entry, file)}\0".encode())
    return digest.hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return {}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
