"""Journals on disk: every byte of them may be torn or damaged, and two processes may write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_medclipsam.errors import OutputError, ProjectError
from napari_medclipsam.projects.journal import Journal, parse, read_journal
from napari_medclipsam.projects.records import decode, encode

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def deed(number: int = 0) -> dict:
    return {"verb": "prompts", "reader": "ana", "parameters": {"number": number, "text": 'Größe "6",\n'}}


def written(path: Path, n: int) -> bytes:
    journal = Journal(path)
    for number in range(n):
        journal.append(deed(number))
    journal.close()
    return path.read_bytes()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(), json_values, max_size=5), st.text("0123456789abcdef", max_size=16))
def test_a_record_comes_back(fields, prev):
    fields |= {"n": 1, "verb": "note"}
    fields.pop("prev", None), fields.pop("check", None)
    line, check = encode(fields, prev)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    record = decode(line[:-1])
    assert record == {**fields, "prev": prev, "check": check}


def test_half_of_a_surrogate_pair_can_be_written():
    line, _ = encode({"n": 1, "verb": "note", "text": "\ud83d"}, "")
    assert decode(line[:-1])["text"] == "\ud83d"


def test_records_are_chained_over_opening_again(tmp_path):
    written(tmp_path / "j", 3)
    written(tmp_path / "j", 2)
    contents = read_journal(tmp_path / "j")
    assert [r["n"] for r in contents.records] == [1, 2, 3, 4, 5] and not contents.damages
    assert [r["prev"] for r in contents.records] == ["", *(r["check"] for r in contents.records[:-1])]


def test_a_torn_tail_at_every_byte(tmp_path):
    whole = written(tmp_path / "whole", 3)
    kept = len(whole[: whole[:-1].rfind(b"\n") + 1])
    path = tmp_path / "torn"
    for length in range(kept, len(whole)):
        path.write_bytes(whole[:length])
        journal = Journal(path)
        # Where only the line break is missing, the record is whole.
        n_kept = 3 if length == len(whole) - 1 else 2
        assert journal.n == n_kept and not journal.opened.damages
        journal.append(deed(9))
        journal.close()
        contents = read_journal(path)
        assert len(contents.records) == n_kept + 1 and not contents.damages and not contents.torn
        saved = path.with_name("torn.torn")
        if kept < length < len(whole) - 1:
            assert saved.read_bytes() == whole[kept:length] + b"\n"
            saved.unlink()


def test_a_flipped_byte_anywhere_costs_one_record(tmp_path):
    whole = written(tmp_path / "whole", 3)
    first, second = whole.index(b"\n"), whole.index(b"\n", whole.index(b"\n") + 1)
    for position in range(first + 1, second):
        damaged = bytearray(whole)
        damaged[position] ^= 4
        contents = parse(bytes(damaged))
        assert [r["n"] for r in contents.records] == [1, 3]
        assert contents.damages and all(damage.after == 1 for damage in contents.damages)
        assert contents.damages[0].line == 2


@pytest.mark.parametrize("change", ["lost", "doubled", "swapped"])
def test_lines_that_are_out_of_place_are_found(tmp_path, change):
    lines = written(tmp_path / "j", 4).splitlines(keepends=True)
    changed = {"lost": [0, 2, 3], "doubled": [0, 1, 1, 2, 3], "swapped": [0, 2, 1, 3]}[change]
    contents = parse(b"".join(lines[i] for i in changed))
    assert contents.damages[0].reason == "does not follow the record before it"


def test_a_damaged_last_line_is_kept_and_written_after(tmp_path):
    path = tmp_path / "j"
    data = bytearray(written(path, 3))
    data[-10] ^= 1
    path.write_bytes(data)
    written(path, 1)
    contents = read_journal(path)
    assert [r["n"] for r in contents.records] == [1, 2, 3] and len(contents.damages) == 1
    assert path.read_bytes().startswith(bytes(data))


def test_a_newer_version_is_refused_in_one_sentence(tmp_path):
    line, _ = encode({"n": 1, "verb": "begin", "parameters": {"version": 99}}, "")
    (tmp_path / "j").write_bytes(line)
    for opened in (Journal, read_journal):
        with pytest.raises(ProjectError, match=r"version 99.*update the program") as caught:
            opened(tmp_path / "j")
        assert "\n" not in str(caught.value)
    assert (tmp_path / "j").read_bytes() == line


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j")
    journal.append(deed())
    real = os.write
    room = [40]

    def full(handle, data):
        if not room[0]:
            raise OSError(28, "No space left on device")
        n = real(handle, data[: room[0]])
        room[0] -= n
        return n

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OutputError, match="No space left on device"):
        journal.append(deed(1))
    monkeypatch.undo()
    assert len(read_journal(tmp_path / "j").records) == 1 and not read_journal(tmp_path / "j").torn
    journal.append(deed(2))
    assert [r["n"] for r in read_journal(tmp_path / "j").records] == [1, 2]
    journal.close()


def test_what_a_failed_write_could_not_take_back_is_cut_off_by_the_next(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j")
    real, calls = os.write, []

    def failing(handle, data):
        calls.append(1)
        if len(calls) > 1:
            raise OSError(5, "Input/output error")
        return real(handle, data[:200])

    def cant(handle, size):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "write", failing)
    monkeypatch.setattr(os, "ftruncate", cant)
    with pytest.raises(OutputError):
        journal.append({**deed(), "name": "x" * 500})
    monkeypatch.undo()
    journal.append(deed())
    contents = read_journal(tmp_path / "j")
    assert len(contents.records) == 1 and not contents.damages and not contents.torn
    journal.close()


def test_two_processes_never_interleave_or_lose_a_record(tmp_path):
    program = (
        "import sys; from pathlib import Path; from napari_medclipsam.projects.journal import Journal\n"
        "j = Journal(Path(sys.argv[1]))\n"
        "for i in range(5000): j.append({'verb': 'note', 'reader': sys.argv[2], 'parameters': {'i': i}})\n"
    )
    path = tmp_path / "j"
    both = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in ("ana", "ben")]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    contents = read_journal(path)
    assert not contents.damages and not contents.torn
    assert [r["n"] for r in contents.records] == list(range(1, 10_001))
    for name in ("ana", "ben"):
        assert [r["parameters"]["i"] for r in contents.records if r["reader"] == name] == list(range(5000))


def test_a_journal_that_was_cut_behind_our_back_is_not_written_with_a_gap(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.append(deed())
    os.truncate(tmp_path / "j", 10)
    with pytest.raises(OutputError, match="shorter"):
        journal.append(deed())
    journal.close()
    assert (tmp_path / "j").stat().st_size == 10
