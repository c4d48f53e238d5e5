"""A model as data: where it comes from, under which licence, and what its files must hash to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from napari_medclipsam.errors import ModelError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOADER = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

IN_STORE = "store"
PACKAGED = "packaged"
PACKAGE_PREFIX = "package:"


def check_sha256(text: str, what: str) -> str:
    """Return `text` in lower case if it is a SHA-256 in hexadecimal; raise ModelError otherwise."""
    lowered = text.strip().lower()
    if not _SHA256.fullmatch(lowered):
        raise ModelError(f"The SHA-256 of {what} is 64 hexadecimal digits; got {text!r}.")
    return lowered


def check_file_name(name: str) -> str:
    """Return `name` if it is a plain relative path that can't leave its folder; raise ModelError otherwise."""
    path = PurePosixPath(name)
    tricky = not name or "\\" in name or ":" in name or "\0" in name or name.startswith("/")
    if tricky or any(part in ("", ".", "..") or part.startswith(".") for part in name.split("/")) or path.is_absolute():
        raise ModelError(f"A model file is named by a plain path inside its folder; got {name!r}, which is refused.")
    return name


def check_model_name(name: str) -> str:
    """Return `name` if it can be a model's name and folder; raise ModelError otherwise."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ModelError(f"A model's name is made of a-z, 0-9, '.', '_' and '-'; got {name!r}.")
    return name


@dataclass(frozen=True)
class ModelFile:
    """One file of a model.

    Parameters
    ----------
    name : str
        Relative path with forward slashes.
    sha256 : str or None
        None where no trustworthy source states it; the file is then used only with a hash the user stated.
    size_bytes : int or None
        None where it is not known.
    location : str
        ``"store"``: the user's model folder. ``"packaged"``: in this package's ``models`` folder.
        ``"package:<module>"``: in the folder of an installed Python package.
    url : str
        Where `fetch` finds it; "" for files that come with a package.
    """

    name: str
    sha256: str | None = None
    size_bytes: int | None = None
    location: str = IN_STORE
    url: str = ""

    def __post_init__(self) -> None:
        check_file_name(self.name)
        if self.sha256 is not None:
            object.__setattr__(self, "sha256", check_sha256(self.sha256, self.name))
        if self.location not in (IN_STORE, PACKAGED) and not self.location.startswith(PACKAGE_PREFIX):
            raise ModelError(
                f"A model file's location is 'store', 'packaged' or 'package:<module>'; got {self.location!r}."
            )


@dataclass(frozen=True)
class ModelEntry:
    """A model's catalogue entry.

    Parameters
    ----------
    name : str
        What the user types.
    kind : str
        Family: "lite", "sam", "clip", or a plug-in's own word.
    title, source, revision, licence, notes : str
        For the user: what it is, where it is from (URL), which version, under which licence.
    loader : str
        ``"module:function"``; called as ``function(entry, device)``, returns an object that implements a contract of
        ``models.contracts``.
    files : tuple of ModelFile
        All that the loader needs.
    roles : tuple of str
        Of "ground" (TextGrounder), "segment" (PromptableSegmenter), "encode" (TextImageEncoder).
    input_size_px : int
        Side of the square that the network sees.
    bundled : bool
        True when every file comes with installed packages.
    options : Mapping
        What the loader alone understands (architecture, preprocessing).
    """

    name: str
    kind: str
    title: str
    source: str
    revision: str
    licence: str
    loader: str
    files: tuple[ModelFile, ...]
    roles: tuple[str, ...]
    input_size_px: int
    bundled: bool = False
    notes: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_model_name(self.name)
        if not _LOADER.fullmatch(self.loader):
            raise ModelError(f"The loader of model {self.name!r} is written 'module:function'; got {self.loader!r}.")
        names = [file.name for file in self.files]
        if len(set(names)) != len(names):
            raise ModelError(f"Model {self.name!r} lists a file twice: {', '.join(names)}.")
        in_store = [file.name for file in self.files if file.location == IN_STORE]
        if self.bundled and in_store:
            raise ModelError(f"Model {self.name!r} is marked as bundled but {', '.join(in_store)} would be downloaded.")

    @property
    def size_bytes(self) -> int:
        """Sum of the known sizes of its files."""
        return sum(file.size_bytes or 0 for file in self.files)

    @property
    def version(self) -> str:
        """Eight digits that change with any of its files, for records of who answered; "" where a hash is not known."""
        hashes = [file.sha256 for file in self.files]
        if not hashes or None in hashes:
            return ""
        return hashlib.sha256("".join(map(str, hashes)).encode()).hexdigest()[:8]


def entry_from_json(text: str, origin: str) -> ModelEntry:
    """Return the entry that a catalogue file holds.

    Parameters
    ----------
    text : str
        JSON.
    origin : str
        Named in the error, so that a broken file can be found.

    Raises
    ------
    ModelError
        If it is not JSON, or a field is missing, unknown or unusable.
    """
    try:
        fields = json.loads(text)
        files = tuple(ModelFile(**file) for file in fields.pop("files"))
        return ModelEntry(files=files, roles=tuple(fields.pop("roles")), **fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"The catalogue entry {origin} can't be used: {error}. Reinstall the package it is from."
        ) from error


def readable_size(size_bytes: int) -> str:
    """Return a size as people write it: ``375 MB``, ``2.6 GB``."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size_bytes >= limit:
            value = size_bytes / limit
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{size_bytes} bytes"
