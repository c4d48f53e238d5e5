"""Keeping journals short: old records go to the history of the case, and one record stands for them."""

from __future__ import annotations

import gzip
from dataclasses import asdict
from pathlib import Path

from napari_medclipsam.annotation.book import Book
from napari_medclipsam.files import atomic_path
from napari_medclipsam.projects.journal import Contents, parse
from napari_medclipsam.projects.records import decode, encode, utc_now
from napari_medclipsam.projects.replay import Replay

#: Replaying takes about a millisecond a record.
MOST_RECORDS = 1000
#: As many records stay as they are, so that undo goes back over them.
KEPT_RECORDS = 300

_NO_UNDO = 1


def compact(path: Path, contents: Contents, shape: tuple[int, ...]) -> None:
    """Put a snapshot in the place of all but the newest records of a journal that is long.

    The caller has the lock of the project. When this is cut short, the journal is the old one or the new one, and the
    history may hold a part that the next time writes again.

    Parameters
    ----------
    path : pathlib.Path
        The journal.
    contents : Contents
        What it holds.
    shape : tuple of int
        Of the grid of the case.

    Raises
    ------
    OutputError
        If it can't be written; nothing is lost then.
    """
    if len(contents.records) <= MOST_RECORDS:
        return
    lines = path.read_bytes()[: contents.size_bytes].splitlines(keepends=True)
    good = [number for number, line in enumerate(lines) if decode(line.rstrip(b"\n")) is not None]
    cut = good[-KEPT_RECORDS]
    old = b"".join(lines[:cut])
    found = parse(old)
    head = found.records[0]
    part = int(head["parameters"]["part"])
    with atomic_path(path.parent / "history" / f"{part:04d}.jsonl.gz") as temporary, gzip.open(temporary, "wb") as file:
        file.write(old)
    replay = Replay(Book(shape, None, _NO_UNDO)).run(found)
    fields = replay.snapshot()
    fields["parameters"] |= {
        **{key: head["parameters"][key] for key in ("format", "version", "grid", "sha256")},
        "part": part + 1,
        "history": asdict(replay.history),
    }
    fields |= {"n": found.last_n, "time": utc_now(), "reader": "", "case": head["case"]}
    line, _ = encode(fields, found.last_check)
    with atomic_path(path) as temporary:
        temporary.write_bytes(line + b"".join(lines[cut:]))
