"""Kill a program that labels, at random moments, and look whether anything is lost.

    python benchmarks/crash.py --rounds 500

In each round a process opens the project, takes up its case and works on it: texts, clicks, strokes, accepts, undo.
After each verb it says how things are. It is killed (SIGKILL) after a random time, also while it opens or compacts. The
next round begins with what it left: everything that was said must be there, and at most one action more (a click is two
records, the prompt and the model's answer).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from napari_medclipsam.annotation.book import Book
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.projects import compaction
from napari_medclipsam.projects.journal import Contents, read_journal
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.replay import Replay
from napari_medclipsam.projects.studies import images_in
from synthetic import Both, picture

N_SLICES = 12
MODEL = Both()


def digest(book: Book) -> str:
    """Return a hash of masks, marks and what is known of each slice."""
    states = sorted((at.index, state.status, str(sorted(state.objects))) for at, state in book.states.items())
    return hashlib.sha256(book.masks.labels.tobytes() + book.masks.marks.tobytes() + repr(states).encode()).hexdigest()


def act(session: Session, rng: random.Random) -> str:
    """Do something at random; returns what."""
    at = SliceAt.across(0, rng.randrange(N_SLICES))
    verb = rng.choice(
        ["text", "text", "accept", "accept", "accept", "click", "paint", "reject", "undo", "redo", "clear"]
    )
    match verb:
        case "text":
            session.apply(session.plan_text(at, rng.choice(["disk", "square; disk"])).run(MODEL, MODEL))
        case "click":
            session.add_point(at, 20, 18, True, ObjectKey(1))
            session.apply(session.plan_mask(at, ObjectKey(1)).run(MODEL, MODEL))
        case "paint":
            y, x = rng.randrange(50), rng.randrange(50)
            box = (slice(at.index, at.index + 1), slice(y, y + 9), slice(x, x + 9))
            session.paint(box, np.full((1, 9, 9), rng.randrange(3), np.uint8))
        case "undo" | "redo" | "accept" | "reject" | "clear":
            told = (getattr(session, verb)() if verb in ("undo", "redo") else getattr(session, verb)(at)).message
            # Said to be on its way only: it may be lost.
            return "" if "disk" in told.split() else verb
    return verb


def work(folder: Path, seed: int, out: BinaryIO) -> None:
    """Label until killed, and say after each verb how things are."""
    rng = random.Random(seed)
    with Project.open(folder, f"reader {seed}") as project, project.open_case("c0001") as case:
        while True:
            verb = act(case.session, rng)
            said = {"n": case.summary().n, "digest": digest(case.session.book), "verb": verb}
            out.write(json.dumps(said).encode() + b"\n")
            out.flush()


def killed_work(folder: Path, seed: int, seconds: float) -> list[dict]:
    """Let a process work for some time and kill it; returns what it said."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            work(folder, seed, os.fdopen(writing, "wb"))
        finally:
            os._exit(1)
    os.close(writing)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    if not os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
        raise RuntimeError("the worker ended by itself")
    with os.fdopen(reading, "rb") as lines:
        return [json.loads(line) for line in lines.read().splitlines(keepends=True) if line.endswith(b"\n")]


def replayed(contents: Contents, up_to: int) -> str:
    """Return the digest of the case as it was after a record."""
    book = Book((N_SLICES, 64, 64), None, 1)
    Replay(book).run(Contents(records=[r for r in contents.records if r["n"] <= up_to]))
    return digest(book)


def check(folder: Path, said: list[dict]) -> tuple[str, int]:
    """Return what is wrong, "" for nothing, and how many records there are beyond what was said."""
    contents = read_journal(folder / "cases" / "c0001" / "journal.jsonl")
    if contents.damages:
        return f"damages: {contents.damages}", 0
    with Project.open(folder, "judge") as project, project.open_case("c0001") as case:
        if case.damages or digest(case.session.book) != replayed(contents, contents.last_n):
            return "opened otherwise than its records say", 0
    if not said:
        return "", 0
    last = said[-1]
    if contents.last_n < last["n"]:
        return f"{last['n'] - contents.last_n} records lost", 0
    if replayed(contents, last["n"]) != last["digest"]:
        return "the records say something else than was done", 0
    beyond = contents.last_n - last["n"]
    return (f"{beyond} records beyond" if beyond > 2 else "", beyond)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--longest", type=float, default=0.4, metavar="SECONDS")
    args = parser.parse_args()
    # Often, so that it is killed while it compacts.
    compaction.MOST_RECORDS, compaction.KEPT_RECORDS = 60, 20
    rng = random.Random(0)
    verbs: Counter[str] = Counter()
    wrong, beyond = [], Counter()
    with tempfile.TemporaryDirectory() as name:
        folder, scan = Path(name) / "project", Path(name) / "scan.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.stack([picture("disk", "square")[0]] * N_SLICES).T, np.eye(4)), scan)
        with Project.create(folder, ["disk", "square"]) as project:
            list(project.add(images_in(scan)))
        for number in range(args.rounds):
            said = killed_work(folder, number, rng.uniform(0, args.longest))
            problem, more = check(folder, said)
            verbs.update(s["verb"] for s in said if s["verb"])
            beyond[more] += 1
            if problem:
                wrong.append(f"round {number}: {problem}")
        size = (folder / "cases" / "c0001" / "journal.jsonl").stat().st_size
    print(f"{args.rounds} kills, {sum(verbs.values())} actions said to be done, of them {verbs['accept']} accepts")
    print(
        f"records beyond what was said, and in how many rounds: {dict(sorted(beyond.items()))}; journal {size:,} bytes"
    )
    print("\n".join(wrong) or "nothing lost; the project opened every time")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
