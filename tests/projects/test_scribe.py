"""A disk that is slow, full or failing: the reader is told, and nothing is lost."""

from __future__ import annotations

import os
import time

import pytest

from napari_medclipsam.errors import OutputError
from napari_medclipsam.projects.journal import Journal, read_journal
from napari_medclipsam.projects.scribe import Scribe


@pytest.fixture
def scribe(tmp_path):
    scribe = Scribe(Journal(tmp_path / "j"))
    yield scribe
    scribe.close()


def deed(name: str = "") -> dict:
    return {"verb": "note", "name": name}


def names(tmp_path) -> list[str]:
    return [r["name"] for r in read_journal(tmp_path / "j").records]


def test_a_durable_record_is_synced_when_the_call_returns(scribe, tmp_path, monkeypatch):
    synced = []
    real = os.fsync

    def noted(handle):
        real(handle)
        synced.append(names(tmp_path))

    monkeypatch.setattr(os, "fsync", noted)
    assert scribe.write(deed("look"), durable=False) == ""
    assert scribe.write(deed("accept"), durable=True) == ""
    assert synced[-1] == ["look", "accept"] and scribe.unsaved == 0


def test_a_slow_disk_is_told_and_not_waited_for(scribe, tmp_path, monkeypatch):
    real = os.fsync

    def slow(handle):
        time.sleep(0.3)
        real(handle)

    monkeypatch.setattr(os, "fsync", slow)
    started = time.monotonic()
    assert "slow" in scribe.write(deed("a"), durable=True)
    assert scribe.write(deed("b"), durable=False) == ""
    assert time.monotonic() - started < 0.2
    assert scribe.unsaved and names(tmp_path) == ["a", "b"]
    scribe.flush()
    assert scribe.unsaved == 0 and scribe.trouble == ""


def test_a_full_disk_keeps_the_work_in_memory_and_writes_it_in_order_later(scribe, tmp_path, monkeypatch):
    scribe.write(deed("before"), durable=True)

    def full(handle, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    told = scribe.write(deed("a"), durable=True)
    assert "No space left on device" in told and "kept in memory" in told and told == scribe.trouble
    assert scribe.write(deed("b"), durable=False) == told and scribe.unsaved == 2
    with pytest.raises(OutputError, match="kept in memory"):
        scribe.close()
    monkeypatch.undo()
    # Without anybody doing anything: the thread tries again.
    deadline = time.monotonic() + 10
    while scribe.unsaved and time.monotonic() < deadline:
        time.sleep(0.05)
    assert names(tmp_path) == ["before", "a", "b"] and scribe.trouble == ""


def test_after_a_failed_sync_everything_unsynced_is_written_again(scribe, tmp_path, monkeypatch):
    scribe.write(deed("before"), durable=True)

    def failing(handle):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    assert "Input/output error" in scribe.write(deed("a"), durable=True)
    scribe.write(deed("b"), durable=False)
    # What the system may do after a failed sync: forget what was not on the disk.
    size = (tmp_path / "j").stat().st_size
    first = (tmp_path / "j").read_bytes().index(b"\n") + 1
    with open(tmp_path / "j", "r+b") as file:
        file.seek(first)
        file.write(b"\0" * (size - first))
    monkeypatch.undo()
    scribe.flush()
    assert names(tmp_path) == ["before", "a", "b"] and scribe.unsaved == 0
