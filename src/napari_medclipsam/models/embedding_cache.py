"""Encoded slices, kept in memory and on disk, so that a slice is encoded once.

A file on disk is used only if it is whole and says that it is for the very key that was asked: damaged, truncated or
misplaced files are deleted and the slice is encoded again. File names are hashes; nothing in them names a patient.

float32 features are kept as float16 (half the space), and already the value that `EmbeddingCache.put` returns is
rounded: a result does not depend on whether its embedding was fresh or cached. Features beyond float16's range stay
float32.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from napari_medclipsam.errors import OutputError
from napari_medclipsam.files import atomic_path
from napari_medclipsam.images.slice import Slice

FOLDER_VARIABLE = "MEDCLIPSAM_CACHE"
_MAGIC = b"medclipsam-embedding-1\n"
_SUFFIX = ".emb"
# After going over the limit, free a tenth, so that not every write looks through the folder.
_KEEP_FRACTION = 0.9
_ABANDONED_S = 3600.0
_RESCAN_EVERY = 64


def embedding_key(image: Slice, model_hash: str, preprocessing_version: str) -> str:
    """Return the name of an image's embedding: equal for equal pixels, model and preprocessing only.

    Parameters
    ----------
    image : Slice
        Its pixels count; its spacing does not, for models do not see it.
    model_hash : str
        Hash of the weights (`models.store.model_hash`).
    preprocessing_version : str
        Changes whenever the same pixels would reach the network differently.
    """
    pixels = np.ascontiguousarray(image.pixels)
    data = hashlib.sha256(f"{pixels.dtype.str}{pixels.shape}".encode())
    data.update(pixels.data)
    parts = (data.hexdigest(), model_hash, preprocessing_version)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def default_folder() -> Path:
    """Return the folder of the disk cache: MEDCLIPSAM_CACHE, or the user's cache folder."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("medclipsam", appauthor=False)) / "embeddings"


class EmbeddingCache:
    """Embeddings by key: the last used in memory, more on disk, the longest unused dropped first.

    Safe with several threads and several processes on one folder: files appear whole or not at all.

    Parameters
    ----------
    folder : path, optional
        Default: `default_folder`.
    memory_bytes, disk_bytes : int
        Limits; 0 goes without that level.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        memory_bytes: int = 256 << 20,
        disk_bytes: int = 4 << 30,
    ) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()
        self.memory_bytes = memory_bytes
        self.disk_bytes = disk_bytes
        self._memory: OrderedDict[str, np.ndarray] = OrderedDict()
        self._memory_used = 0
        self._disk_used = 0
        self._writes = 0
        self._disk_works = disk_bytes > 0
        self._lock = threading.RLock()

    def get(self, key: str) -> np.ndarray | None:
        """Return the features kept under `key` as float32, or None."""
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return _widened(self._memory[key])
        kept = self._read(key)
        if kept is None:
            return None
        self._remember(key, kept)
        return _widened(kept)

    def put(self, key: str, features: np.ndarray) -> np.ndarray:
        """Keep `features` under `key`; return them as `get` will, rounded to float16."""
        kept = _narrowed(np.asarray(features))
        self._remember(key, kept)
        self._write(key, kept)
        return _widened(kept)

    def get_or_compute(self, key: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the features kept under `key`, or compute and keep them."""
        found = self.get(key)
        return found if found is not None else self.put(key, compute())

    def _remember(self, key: str, kept: np.ndarray) -> None:
        with self._lock:
            previous = self._memory.pop(key, None)
            self._memory_used -= previous.nbytes if previous is not None else 0
            if kept.nbytes > self.memory_bytes:
                return
            self._memory[key] = kept
            self._memory_used += kept.nbytes
            while self._memory_used > self.memory_bytes:
                _, dropped = self._memory.popitem(last=False)
                self._memory_used -= dropped.nbytes

    def _path(self, key: str) -> Path:
        # The key may be any text; its hash is a safe name.
        return self.folder / (hashlib.sha256(key.encode()).hexdigest() + _SUFFIX)

    def _read(self, key: str) -> np.ndarray | None:
        if self.disk_bytes <= 0:
            return None
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        kept = _unpack(key, content)
        with suppress(OSError):
            if kept is None:
                path.unlink()
            else:
                os.utime(path)
        return kept

    def _write(self, key: str, kept: np.ndarray) -> None:
        if not self._disk_works:
            return
        content = _pack(key, kept)
        if len(content) > self.disk_bytes:
            return
        try:
            # Features can be turned back into something like the image: private to the user.
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with atomic_path(self._path(key)) as temporary:
                temporary.write_bytes(content)
        except (OSError, OutputError) as error:
            self._disk_works = False
            reason = error.__cause__ or error
            warnings.warn(
                f"Embeddings are no longer kept on disk, because {self.folder} can't be written ({reason}); slices "
                f"seen before are encoded again. Free some space, or set {FOLDER_VARIABLE} to another folder.",
                stacklevel=3,
            )
            return
        with self._lock:
            # Other processes write here too: look at the folder itself now and then.
            if self._writes % _RESCAN_EVERY == 0 or self._disk_used + len(content) > self.disk_bytes:
                self._disk_used = self._evict()
            else:
                self._disk_used += len(content)
            self._writes += 1

    def _evict(self) -> int:
        """Delete the longest unused files if there are too many; return the bytes left."""
        files = []
        for path in self.folder.iterdir():
            with suppress(OSError):
                info = path.stat()
                if path.suffix == _SUFFIX and not path.name.startswith("."):
                    files.append((info.st_mtime_ns, info.st_size, path))
                elif path.name.startswith(".partial-") and time.time() - info.st_mtime > _ABANDONED_S:
                    path.unlink()
        used = sum(size for _, size, _ in files)
        if used <= self.disk_bytes:
            return used
        for _, size, path in sorted(files):
            if used <= self.disk_bytes * _KEEP_FRACTION:
                break
            # A file that another process deleted, or Windows holds open, is no reason to stop.
            with suppress(OSError):
                path.unlink()
            used -= size
        return used


def _narrowed(features: np.ndarray) -> np.ndarray:
    if features.dtype == np.float32 and np.abs(features).max(initial=0) < np.finfo(np.float16).max:
        return features.astype(np.float16)
    return features.copy()


def _widened(kept: np.ndarray) -> np.ndarray:
    return kept.astype(np.float32) if kept.dtype == np.float16 else kept.copy()


def _signature(key: str, payload: bytes) -> bytes:
    return hashlib.sha256(f"{key}\0".encode() + payload).hexdigest().encode()


def _pack(key: str, kept: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, kept, allow_pickle=False)
    payload = buffer.getvalue()
    return _MAGIC + key.encode() + b"\n" + _signature(key, payload) + b"\n" + payload


def _unpack(key: str, content: bytes) -> np.ndarray | None:
    """Return the features if `content` is whole and is for `key`; nothing is parsed before that is sure."""
    head = _MAGIC + key.encode() + b"\n"
    signature, separator, payload = content[len(head) :].partition(b"\n")
    if not content.startswith(head) or not separator or signature != _signature(key, payload):
        return None
    kept: np.ndarray = np.load(io.BytesIO(payload), allow_pickle=False)
    return kept
