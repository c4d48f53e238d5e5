"""Embeddings in memory and on disk: never a wrong one."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models import embedding_cache
from napari_medclipsam.models.embedding_cache import EmbeddingCache, default_folder, embedding_key


def features(seed: int = 0, size: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((4, size // 4), dtype=np.float32)


def fresh(folder, **options) -> EmbeddingCache:
    """Another process's view of the same folder."""
    return EmbeddingCache(folder, **options)


def files(folder) -> list:
    return sorted(folder.glob("*.emb"))


def test_keys_differ_by_pixels_shape_model_and_preprocessing_only():
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    key = embedding_key(Slice(pixels), "m", "1")
    assert key == embedding_key(Slice(np.asfortranarray(pixels), (1.0, 2.0)), "m", "1")
    others = [
        embedding_key(Slice(pixels + 1), "m", "1"),
        embedding_key(Slice(pixels.reshape(4, 3)), "m", "1"),
        embedding_key(Slice(pixels), "n", "1"),
        embedding_key(Slice(pixels), "m", "2"),
        embedding_key(Slice(np.stack([pixels] * 3, -1)), "m", "1"),
    ]
    assert len({key, *others}) == 6


def test_folder_follows_the_environment(tmp_path, monkeypatch):
    assert default_folder() == tmp_path / "cache"
    monkeypatch.delenv("MEDCLIPSAM_CACHE")
    assert default_folder().name == "embeddings"


@pytest.mark.parametrize("memory_bytes", [0, 1 << 20])
def test_fresh_and_kept_values_are_the_same(tmp_path, memory_bytes):
    cache = EmbeddingCache(tmp_path, memory_bytes=memory_bytes)
    put = cache.get_or_compute("k", features)
    assert put.dtype == np.float32
    np.testing.assert_array_equal(cache.get_or_compute("k", lambda: 1 / 0), put)
    np.testing.assert_array_equal(fresh(tmp_path).get("k"), put)
    np.testing.assert_allclose(put, features(), rtol=1e-3)


def test_values_beyond_half_precision_are_kept_whole(tmp_path):
    large = np.array([1e6, -3e38], np.float32)
    EmbeddingCache(tmp_path).put("k", large)
    np.testing.assert_array_equal(fresh(tmp_path).get("k"), large)


def test_a_caller_who_writes_into_a_result_does_not_change_the_cache(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put("k", features())[:] = 7
    cache.get("k")[:] = 7
    np.testing.assert_allclose(cache.get("k"), features(), rtol=1e-3)


def test_a_file_of_another_key_is_not_used(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put("a", features(1))
    cache.put("b", features(2))
    cache._path("a").replace(cache._path("b"))
    assert fresh(tmp_path).get("b") is None
    assert not files(tmp_path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_or_a_cut_is_always_noticed(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cache")
    cache = EmbeddingCache(folder)
    cache.put("k", features())
    path = cache._path("k")
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= 1 << data.draw(st.integers(0, 7))
    else:
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    path.write_bytes(content)
    assert fresh(folder).get("k") is None
    assert not path.exists()


def test_memory_keeps_the_last_used(tmp_path):
    size = features().astype(np.float16).nbytes
    cache = EmbeddingCache(tmp_path, memory_bytes=2 * size, disk_bytes=0)
    cache.put("a", features(1))
    cache.put("b", features(2))
    cache.get("a")
    cache.put("c", features(3))
    assert [cache.get(k) is not None for k in "abc"] == [True, False, True]
    assert cache._memory_used == 2 * size
    assert not files(tmp_path)


def test_disk_keeps_the_last_used_within_its_limit(tmp_path):
    cache = EmbeddingCache(tmp_path, memory_bytes=0)
    cache.put("a", features(1))
    size = files(tmp_path)[0].stat().st_size
    cache = EmbeddingCache(tmp_path, memory_bytes=0, disk_bytes=int(3.5 * size))
    for position, key in enumerate("bc"):
        cache.put(key, features(2))
        os.utime(cache._path(key), (time.time() - 50 + position,) * 2)
    os.utime(cache._path("a"), (time.time() - 100,) * 2)
    assert cache.get("a") is not None  # Now the last used.
    cache.put("d", features(3))
    cache.put("e", features(3))
    assert sum(path.stat().st_size for path in files(tmp_path)) <= cache.disk_bytes
    assert cache.get("b") is None and cache.get("a") is not None and cache.get("e") is not None


def test_abandoned_temporary_files_are_removed(tmp_path):
    old, new = tmp_path / ".partial-old.emb", tmp_path / ".partial-new.emb"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    EmbeddingCache(tmp_path).put("k", features())
    assert not old.exists() and new.exists()


def test_a_full_disk_is_said_once_and_memory_goes_on(tmp_path, monkeypatch):
    cache = EmbeddingCache(tmp_path / "cache")

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.warns(UserWarning, match="No space left on device") as caught:
        cache.put("a", features(1))
        cache.put("b", features(2))
    assert len(caught) == 1
    assert cache.get("a") is not None and cache.get("b") is not None
    assert not list((tmp_path / "cache").iterdir())


def test_a_folder_that_cant_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="MEDCLIPSAM_CACHE"):
        EmbeddingCache(tmp_path / "file").put("a", features())


def test_names_on_disk_tell_nothing(tmp_path):
    EmbeddingCache(tmp_path).put("Doe^Jane", features())
    (path,) = files(tmp_path)
    assert len(path.stem) == 64 and "Doe" not in path.name


def _work(folder, seed, errors):
    # Both processes write, read and evict the same few keys.
    cache = EmbeddingCache(folder, memory_bytes=0, disk_bytes=2000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            for step in range(60):
                key = str((step * 7 + seed) % 9)
                expected = features(int(key))
                np.testing.assert_allclose(
                    cache.get_or_compute(key, lambda e=expected: e), expected, rtol=2e-3, atol=1e-4
                )
        except BaseException as error:
            errors.put(repr(error))


def test_two_processes_on_one_folder(tmp_path):
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    errors = context.Queue()
    workers = [context.Process(target=_work, args=(tmp_path, seed, errors)) for seed in (0, 3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert errors.empty(), errors.get()
    assert [worker.exitcode for worker in workers] == [0, 0]


def test_the_cache_never_unpickles(tmp_path):
    with pytest.raises(ValueError, match="pickle"):
        embedding_cache._pack("k", np.array([object()]))
