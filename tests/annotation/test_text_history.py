"""Texts from one session to the next; whatever happens to the file, there is no error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_medclipsam.annotation.text_history import MOST_TEXTS, TextHistory, settings_folder


def test_the_last_thirty_texts_are_kept_each_once(tmp_path: Path) -> None:
    history = TextHistory(tmp_path)
    for number in range(40):
        history.add(f"text {number}")
    history.add("text 20")
    again = TextHistory(tmp_path)
    assert list(again.texts) == list(history.texts) and len(again.texts) == MOST_TEXTS == 30
    assert again.texts[-2:] == ("text 39", "text 20") and again.texts[0] == "text 10"


def test_two_viewers_write_one_history(tmp_path: Path) -> None:
    one, other = TextHistory(tmp_path), TextHistory(tmp_path)
    one.add("tumour")
    other.add("Lunge, läppchenförmig")
    assert TextHistory(tmp_path).texts == ("tumour", "Lunge, läppchenförmig")
    one.clear()
    other.add("heart")
    assert TextHistory(tmp_path).texts == ("heart",)


@pytest.mark.parametrize("content", [b"", b"[1, null, ", b"{}", b"\xff\xfe\x00", b"[" * 100_000, b'"text"'])
def test_a_damaged_file_is_an_empty_history(tmp_path: Path, content: bytes) -> None:
    TextHistory(tmp_path).add("old")
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    history = TextHistory(tmp_path)
    assert history.texts == ()
    history.add("new")
    assert json.loads(path.read_text(encoding="utf-8")) == ["new"]


def test_foreign_entries_are_left_out(tmp_path: Path) -> None:
    TextHistory(tmp_path).add("old")
    (path,) = tmp_path.iterdir()
    path.write_text('["good", 3, null, ["x"], "better"]', encoding="utf-8")
    assert TextHistory(tmp_path).texts == ("good", "better")


def test_where_nothing_can_be_written_the_texts_last_for_the_session(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    history = TextHistory(tmp_path / "file")
    history.add("one")
    history.add("two")
    assert history.texts == ("one", "two") and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_folder_can_be_chosen(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MEDCLIPSAM_SETTINGS", str(tmp_path))
    assert settings_folder() == tmp_path
    monkeypatch.delenv("MEDCLIPSAM_SETTINGS")
    assert "medclipsam" in str(settings_folder())
