"""Fetching from a server on this machine: whole, in pieces, and when it goes wrong."""

from __future__ import annotations

from collections import namedtuple

import pytest

from file_server import Server, serving
from napari_medclipsam.errors import ModelError, OutputError
from napari_medclipsam.models import download, store
from napari_medclipsam.models.entry import ModelFile

CONTENT = bytes(range(256)) * 4096  # 1 MiB: several chunks


@pytest.fixture
def server():
    with serving(Server(CONTENT)) as server:
        yield server


@pytest.fixture
def entry(server, add_entries, helpers):
    """Return a function that adds a model whose one file is on the server."""

    def make(**changes):
        facts = {"sha256": helpers.sha256(CONTENT), "size_bytes": len(CONTENT)} | changes
        url = f"http://127.0.0.1:{server.server_port}/w.pth"
        made = helpers.make_entry("toy", files=(ModelFile("w.pth", url=url, **facts),))
        add_entries(made)
        return made

    return make


def test_fetch_installs_and_reports_progress(entry, server):
    made = entry()
    seen = []
    folder = download.fetch("toy", progress=lambda *step: seen.append(step))
    assert (folder / "w.pth").read_bytes() == CONTENT
    assert store.state_of(made) == "installed"
    assert seen[0] == ("w.pth", 0, len(CONTENT)) and seen[-1] == ("w.pth", len(CONTENT), len(CONTENT))
    download.fetch("toy")
    assert len(server.requested) == 1
    assert not list(folder.glob("*.part"))


def test_an_interrupted_download_goes_on_where_it_stopped(entry, server):
    made = entry()
    server.stop_after = 300_000
    with pytest.raises(ModelError, match=r"interrupted.*kept.*medclipsam models fetch toy"):
        download.fetch("toy")
    assert store.state_of(made) == "not installed"
    assert (store.model_folder(made) / "w.pth.part").stat().st_size == 300_000
    server.stop_after = None
    folder = download.fetch("toy")
    assert server.requested == ["", "bytes=300000-"]
    assert (folder / "w.pth").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(entry, server):
    entry()
    server.stop_after = 300_000
    with pytest.raises(ModelError):
        download.fetch("toy")
    server.stop_after, server.ranges = None, False
    assert (download.fetch("toy") / "w.pth").read_bytes() == CONTENT


def test_a_server_that_says_no_length(entry, server):
    entry(size_bytes=None)
    server.say_length = False
    assert (download.fetch("toy") / "w.pth").read_bytes() == CONTENT


def test_wrong_content_is_deleted_and_not_installed(entry, server):
    made = entry()
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(ModelError, match="not the expected file"):
        download.fetch("toy")
    assert not list(store.model_folder(made).glob("w.pth*"))
    server.content = CONTENT
    assert download.fetch("toy")


def test_a_part_of_another_file_is_found_out(entry, server):
    made = entry()
    store.model_folder(made).mkdir(parents=True)
    (store.model_folder(made) / "w.pth.part").write_bytes(b"z" * 1000)
    with pytest.raises(ModelError, match="not the expected file"):
        download.fetch("toy")
    assert download.fetch("toy")


def test_a_longer_file_is_not_written_to_the_end(entry, server):
    made = entry()
    server.content = CONTENT * 20
    with pytest.raises(ModelError, match="sends more than"):
        download.fetch("toy")
    assert not list(store.model_folder(made).glob("w.pth*"))


def test_cancel_keeps_the_part(entry, server):
    made = entry()
    steps = iter([False, True, True])
    with pytest.raises(ModelError, match="stopped"):
        download.fetch("toy", cancel=lambda: next(steps, True))
    assert 0 < (store.model_folder(made) / "w.pth.part").stat().st_size < len(CONTENT)
    assert download.fetch("toy")


def test_an_unknown_hash_needs_the_users_word(entry, server, helpers):
    made = entry(sha256=None, size_bytes=None)
    with pytest.raises(ModelError, match=rf"--sha256 w\.pth={helpers.sha256(CONTENT)}"):
        download.fetch("toy")
    assert store.state_of(made) == "not installed"
    folder = download.fetch("toy", sha256={"w.pth": helpers.sha256(CONTENT)})
    assert (folder / "w.pth").is_file()
    assert len(server.requested) == 1
    assert store.verified_paths(made)


def test_a_damaged_installed_file_is_fetched_again(entry):
    made = entry()
    folder = download.fetch("toy")
    (folder / "w.pth").write_bytes(b"broken")
    with pytest.raises(ModelError, match="models fetch toy"):
        store.verified_paths(made)
    assert (download.fetch("toy") / "w.pth").read_bytes() == CONTENT


def test_too_little_disk_space_is_said_before_anything_is_downloaded(entry, server, monkeypatch):
    entry()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage(10, 9, 1000))
    with pytest.raises(OutputError, match=r"1\.0 kB free"):
        download.fetch("toy")
    assert server.requested == []


@pytest.mark.parametrize("status", [404, 500])
def test_a_server_error_is_one_sentence(entry, server, status):
    entry()
    server.status = status
    with pytest.raises(ModelError, match=f"answered {status}"):
        download.fetch("toy")


def test_no_server_at_all(entry, server):
    entry()
    server.shutdown()
    server.server_close()
    with pytest.raises(ModelError, match="interrupted"):
        download.fetch("toy")


def test_only_https(add_entries, helpers):
    for url in ("http://example.org/w.pth", "file:///etc/passwd", "ftp://example.org/w.pth"):
        with pytest.raises(ModelError, match="https only"):
            download._open(url, 0)


def test_a_model_folder_that_cant_be_written(entry, tmp_path, monkeypatch):
    entry()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDCLIPSAM_MODELS", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="MEDCLIPSAM_MODELS"):
        download.fetch("toy")


def test_a_bundled_model_is_only_checked(add_entries, helpers, no_network):
    add_entries(helpers.make_entry("packed", bundled=True))
    download.fetch("packed")
