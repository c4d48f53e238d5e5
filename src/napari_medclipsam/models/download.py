"""Fetching a model's files, on the user's word only: resumable, and hash-checked before they are used."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from napari_medclipsam.errors import ModelError, OutputError
from napari_medclipsam.files import sha256_of
from napari_medclipsam.models import store
from napari_medclipsam.models.entry import IN_STORE, ModelEntry, ModelFile, readable_size
from napari_medclipsam.models.registry import find_entry

Progress = Callable[[str, int, int | None], None]
Cancel = Callable[[], bool]

_CHUNK = 1 << 18
_TIMEOUT_S = 30.0
# Room left for the system on the disk after the download.
_SPARE_BYTES = 64 << 20


def fetch(
    name: str,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    sha256: Mapping[str, str] | None = None,
) -> Path:
    """Download what is missing of a model into the user's model folder, and check it.

    An interrupted download leaves a ``.part`` file, and the next call goes on from there. Calling it for a model that
    is complete only checks the hashes.

    Parameters
    ----------
    name : str
        A catalogue name.
    progress : callable, optional
        Called with the file's name, the bytes present so far and the total (None where it is not known).
    cancel : callable, optional
        Asked after each chunk; True stops the download.
    sha256 : Mapping of str to str, optional
        File name to hash, the user's word for files whose hash the catalogue does not know.

    Returns
    -------
    Path
        The model's folder.

    Raises
    ------
    ModelError
        If the model is unknown, the network or server fails, the hash is wrong or not known, or it was cancelled.
    OutputError
        If the folder can't be written or the disk has too little space; checked before anything is downloaded.
    """
    entry = find_entry(name)
    files = [file for file in entry.files if file.location == IN_STORE]
    folder = store.model_folder(entry)
    if not files:
        store.verified_paths(entry)
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        store.state_sha256(entry, sha256 or {})
        missing = [file for file in files if not _is_good(entry, file)]
        _check_space(folder, missing)
        # Files that need the user's word come first: nobody should wait for gigabytes to be asked then.
        for file in sorted(missing, key=lambda file: store.expected_sha256(entry, file) is not None):
            _fetch_file(entry, file, progress, cancel or (lambda: False))
    except OSError as error:
        raise OutputError(
            f"Can't write to the model folder {folder}: {error.strerror or error}. Free some space, or choose another "
            f"folder with the environment variable {store.FOLDER_VARIABLE}."
        ) from error
    store.verified_paths(entry)
    return folder


def _is_good(entry: ModelEntry, file: ModelFile) -> bool:
    path = store.file_path(entry, file)
    return path.is_file() and store.file_sha256(path) == store.expected_sha256(entry, file)


def _part_path(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _check_space(folder: Path, files: list[ModelFile]) -> None:
    needed = 0
    for file in files:
        part = _part_path(folder / file.name)
        needed += max(0, (file.size_bytes or 0) - (part.stat().st_size if part.is_file() else 0))
    free = shutil.disk_usage(folder).free
    if needed and free < needed + _SPARE_BYTES:
        raise OutputError(
            f"The download needs {readable_size(needed + _SPARE_BYTES)} in {folder}, which has "
            f"{readable_size(free)} free. Free some space, or choose another folder with the environment variable "
            f"{store.FOLDER_VARIABLE}."
        )


def _fetch_file(entry: ModelEntry, file: ModelFile, progress: Progress | None, cancel: Cancel) -> None:
    path = store.file_path(entry, file)
    expected = store.expected_sha256(entry, file)
    again = f"run: medclipsam models fetch {entry.name}"
    if expected is not None:
        fetch_file(replace(file, sha256=expected), path, again, progress, cancel)
        return
    found = sha256_of(_arrived(file, path, again, progress, cancel))
    raise ModelError(
        f"{file.name} was downloaded from {file.url}, but no trusted source states its hash, so it is not used "
        f"yet; its SHA-256 is {found}. If you trust that, run: "
        f"medclipsam models fetch {entry.name} --sha256 {file.name}={found}"
    )


def fetch_file(
    file: ModelFile, path: Path, again: str, progress: Progress | None = None, cancel: Cancel | None = None
) -> None:
    """Download one file whose hash is known, or what is missing of it, and check it.

    Parameters
    ----------
    file : ModelFile
        Its URL and SHA-256 count.
    path : Path
        Where it goes; until it is whole and checked, it has the name ``….part``.
    again : str
        What the user does to go on with an interrupted download; the end of a sentence.
    progress, cancel : callable, optional
        As for `fetch`.

    Raises
    ------
    ModelError
        If the network or server fails, the hash is wrong, or it was cancelled.
    OSError
        If it can't be written.
    """
    part = _arrived(file, path, again, progress, cancel or (lambda: False))
    found = sha256_of(part)
    if found != file.sha256:
        part.unlink()
        raise ModelError(
            f"{file.name} from {file.url} is not the expected file: its SHA-256 is {found}, expected {file.sha256}. "
            "It was deleted; try again, and if it happens again do not use that source."
        )
    part.replace(path)
    store.remember_sha256(path, found)


def _arrived(file: ModelFile, path: Path, again: str, progress: Progress | None, cancel: Cancel) -> Path:
    """Return where the whole download is, not yet checked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_path(path)
    if not _is_complete(part, file.size_bytes, file.sha256):
        _download(file, part, f"What has arrived is kept; to go on, {again}", progress, cancel)
    return part


def _is_complete(part: Path, size_bytes: int | None, expected: str | None) -> bool:
    if not part.is_file():
        return False
    if size_bytes is not None:
        return part.stat().st_size == size_bytes
    return expected is not None and sha256_of(part) == expected


def _download(file: ModelFile, part: Path, again: str, progress: Progress | None, cancel: Cancel) -> None:
    """Append to `part` what is missing of it; `again` is the sentence about going on."""
    have = part.stat().st_size if part.is_file() else 0
    if file.size_bytes is not None and have > file.size_bytes:
        have = 0
    try:
        with _open(file.url, have) as response:
            if response.status != http.client.PARTIAL_CONTENT:
                have = 0  # The server sends the whole file.
            length = response.headers.get("Content-Length", "")
            total = have + int(length) if length.isdigit() else file.size_bytes
            limit = file.size_bytes if file.size_bytes is not None else total
            with open(part, "ab" if have else "wb") as target:
                report = partial(progress, file.name) if progress else _silent
                have = _copy(response, target, have, limit, lambda done: report(done, total), cancel)
                target.flush()
                os.fsync(target.fileno())
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            if file.size_bytes is None:
                return  # All of it is here; the hash decides.
            part.unlink()
        raise ModelError(f"{file.url} answered {error.code} {error.reason}. Try again later. {again}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        reason = getattr(error, "reason", error)
        raise ModelError(f"The download of {file.url} was interrupted ({reason}). {again}") from error
    if limit is not None and have > limit:
        part.unlink()
        raise ModelError(
            f"{file.url} sends more than the {readable_size(limit)} expected: it is not the expected file. It was "
            "deleted; do not use that source."
        )
    if cancel():
        raise ModelError(f"The download of {file.name} was stopped. {again}")
    if total is not None and have < total:
        raise ModelError(f"The download of {file.url} was interrupted after {readable_size(have)}. {again}")


def _silent(done: int, total: int | None) -> None:
    """Report to nobody."""


def _copy(
    source: http.client.HTTPResponse,
    target: BinaryIO,
    have: int,
    limit: int | None,
    report: Callable[[int], object],
    cancel: Cancel,
) -> int:
    """Copy until the end, the limit or the user's stop; return the bytes that `target` now holds."""
    report(have)
    while not cancel() and (limit is None or have <= limit) and (chunk := source.read(_CHUNK)):
        target.write(chunk)
        have += len(chunk)
        report(have)
    return have


def _open(url: str, start: int) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    local = parts.hostname in ("127.0.0.1", "localhost", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ModelError(f"Files are fetched over https only; got {url!r}.")
    headers = {"User-Agent": "medclipsam", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    return response
