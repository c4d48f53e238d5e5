"""Files of vectors: whole or as they were, whoever writes, and whatever is found in them."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.errors import OutputError
from napari_medclipsam.search.rows import HASH_BYTES, CaseRows, Kind, Row
from napari_medclipsam.search.store import Store

WIDTH = 3
slices = st.builds(SliceAt.across, st.integers(0, 2), st.integers(0, 300))


def presences_of(at: SliceAt) -> tuple[float, ...]:
    """Every slice has others."""
    return (at.index / 512, (at.axis or 0) / 4)


rows = st.builds(
    Row,
    slices,
    st.sampled_from(Kind),
    st.builds(ObjectKey, st.integers(0, 255), st.integers(0, 128)),
    st.tuples(*[st.integers(0, 5000)] * 4),
    st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES),
    st.lists(st.floats(-1, 1, width=16), min_size=WIDTH, max_size=WIDTH).map(lambda v: np.array(v, np.float16)),
    st.just(()),
).map(lambda r: r._replace(presences=presences_of(r.at)))


def row(index: int, value: float = 1.0) -> Row:
    vector = np.array([value, 0, 0], np.float32)
    return Row(SliceAt.across(0, index), Kind.SLICE, ObjectKey(0, 0), (0, 0, 9, 9), bytes(HASH_BYTES), vector)


def as_values(found) -> set:
    return {(r.at, r.kind, r.key, r.box_xyxy, r.made_from, r.vector.tobytes(), r.presences) for r in found}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows, max_size=12), st.lists(rows, max_size=6), st.text(max_size=20), st.integers(-1, 1 << 40))
def test_what_is_put_comes_back(tmp_path_factory, first, second, version, size):
    store = Store(tmp_path_factory.mktemp("p"))
    store.put("c0001", version, "sha", {r.at for r in first}, first, journal_bytes=size)
    again = {r.at for r in second}
    store.put("c0001", version, "sha", again, second)
    found = store.read("c0001")
    expected = [*(r for r in first if r.at not in again), *second]
    assert (found.version, found.image, found.journal_bytes) == (version, "sha", size)
    assert as_values(map(found.row, range(len(found)))) == as_values(expected)
    kept = {r.at for r in expected[:1]}
    store.put("c0001", version, "sha", (), (), only=kept)
    assert set(store.read("c0001").by_slice()) == kept


def test_rows_of_another_version_or_image_go(tmp_path):
    store = Store(tmp_path)
    store.put("c0001", "one", "sha", [row(0).at], [row(0)])
    store.put("c0001", "two", "sha", [row(1).at], [row(1)])
    assert set(store.read("c0001").by_slice()) == {row(1).at}
    store.put("c0001", "two", "other", [row(2).at], [row(2)])
    assert set(store.read("c0001").by_slice()) == {row(2).at}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_crash_between_writes_leaves_what_was_there(tmp_path, monkeypatch, call):
    store = Store(tmp_path)
    store.put("c0001", "v", "sha", [row(0).at], [row(0)])

    class Killed(BaseException):
        pass

    def stop(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.replace" if call == "replace" else "os.fsync", stop)
        with pytest.raises(Killed):
            store.put("c0001", "v", "sha", [row(1).at], [row(1)])
    assert set(store.read("c0001").by_slice()) == {row(0).at}
    # What an earlier program has left does no harm, and no lock is left behind.
    (store.folder / ".partial-x.safetensors").write_bytes(b"half")
    assert set(store.stamps()) == {"c0001"}
    store.put("c0001", "v", "sha", [row(1).at], [row(1)])
    assert len(store.read("c0001")) == 2


def test_a_full_disk_is_said_and_changes_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.put("c0001", "v", "sha", [row(0).at], [row(0)])

    def full(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            store.put("c0001", "v", "sha", [row(1).at], [row(1)])
    assert len(store.read("c0001")) == 1 and not list(store.folder.glob(".partial-*"))


def test_damaged_files_count_as_missing(tmp_path):
    store = Store(tmp_path)
    store.put("c0001", "v", "sha", [row(i).at for i in range(4)], [row(i) for i in range(4)])
    path = store.folder / "c0001.safetensors"
    whole = path.read_bytes()
    for damaged in (b"", b"nothing", whole[:-5], whole[:40], b"\xff" * 8 + whole[8:]):
        path.write_bytes(damaged)
        assert store.read("c0001") is None
    # What another version of the program has written is no index of this model either.
    path.write_bytes(whole.replace(b"medclipsam-search-3", b"medclipsam-search-2"))
    assert store.read("c0001").version == "" and not len(store.read("c0001"))
    store.put("c0001", "v", "sha", [row(7).at], [row(7)])
    assert set(store.read("c0001").by_slice()) == {row(7).at}
    assert store.read("c0002") is None


def test_columns_that_do_not_fit_are_refused():
    good = CaseRows.of("v", "sha", 0, [row(0), row(1)])
    columns = {name: getattr(good, name) for name in good.__dataclass_fields__}
    for name, bad in (
        ("kinds", good.kinds[:1]),
        ("kinds", good.kinds + 9),
        ("positions", good.positions * 0),
        ("vectors", good.vectors * np.nan),
        ("boxes_xyxy", good.boxes_xyxy.astype(np.int64)),
        ("presences", good.presences[:1]),
        ("presences", np.full((2, 1), np.nan, np.float32)),
    ):
        with pytest.raises(ValueError):
            CaseRows(**{**columns, name: bad})


WRITE = """
import sys
from pathlib import Path
from search.test_store import Store, row
store = Store(Path(sys.argv[1]))
first = int(sys.argv[2])
for index in range(first, first + 20):
    store.put("c0001", "v", "sha", [row(index).at], [row(index)])
"""


def test_two_programs_that_write_at_once_keep_each_others_slices(tmp_path):
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path), str(first)], env=environment)
        for first in (0, 100)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    found = {at.index for at in Store(tmp_path).read("c0001").by_slice()}
    assert found == {*range(20), *range(100, 120)}
