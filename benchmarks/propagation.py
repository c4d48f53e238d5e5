"""A simulated reader on whole volumes: centre slice by text, a few clicks, propagate, then correct the worst slices.

    python benchmarks/propagation.py DATA

DATA holds volumes/lgg. Measured are the last four patients by name (the test split); `--train` takes the other ten, on
which the rule that ends propagation was chosen. Writes benchmarks/results/propagation.json.

The reader starts in the middle slice of the tumour with the text "brain tumor" on FLAIR, then clicks up to three times
in the middle of the largest error (the rule of Kirillov et al. 2023), accepts, propagates and accepts all. In each
further round the reader goes to the slice with the most wrong pixels, clicks up to three times there (a slice without
tumour is cleared, which counts as one click), accepts, and propagates again.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.errors import PromptError
from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.images.io import read_image, read_mask
from napari_medclipsam.learning.lite_clicks import largest_error
from napari_medclipsam.models.registry import load

RESULTS = Path(__file__).parent / "results"
TEXT = "brain tumor"
N_TEST = 4
MOST_CLICKS = 3
GOOD_ENOUGH = 0.95
ROUNDS = 3


class Reader:
    """Somebody who knows the truth and uses the session as the window does."""

    def __init__(self, path: Path, model: Any) -> None:
        image = read_image(path)
        self.truth = read_mask(Path(str(path).replace("_flair", "_tumor")), image) > 0
        self.session = Session(AnnotatedImage.from_volume(image))
        self.model = model
        self.clicks = 0
        self.key = ObjectKey(self.session.classes.add(TEXT).label)

    def correct(self, index: int) -> float:
        """Click until the slice is good or the clicks are used up, and accept it; returns its Dice."""
        session, at = self.session, SliceAt.across(0, index)
        if not self.truth[index].any():
            session.clear(at)
            session.accept(at, [self.key])
            self.clicks += 1
            return 1.0
        for _ in range(MOST_CLICKS):
            mask = self._seen(at)
            error = largest_error(mask, self.truth[index])
            if dice(mask, self.truth[index]) >= GOOD_ENOUGH or error is None:
                break
            (x, y), label = error
            session.add_point(at, x, y, bool(label), self.key)
            self.clicks += 1
            if self.key in session.outdated(at):
                session.apply(session.plan_mask(at, self.key).run(self.model, self.model))
        mask = self._seen(at)
        session.accept(at, [self.key])
        return dice(mask, self.truth[index])

    def propagate(self, index: int) -> float:
        """Propagate from an accepted slice and accept what comes; returns the Dice over the whole volume."""
        at = SliceAt.across(0, index)
        # Between two corrected slices there may be none left to propagate to.
        with suppress(PromptError):
            self.session.apply(self.session.plan_propagation(at, self.key).run(self.model, self.model))
            self.session.accept_proposals(at)
        return dice(self.session.labels == self.key.label, self.truth)

    def worst(self) -> int:
        """Return the slice with the most wrong pixels that was not corrected yet."""
        wrong = ((self.session.labels == self.key.label) != self.truth).sum(axis=(1, 2))
        wrong[self.session.accepted_slices(SliceAt.across(0, 0), self.key)] = -1
        return int(wrong.argmax())

    def _seen(self, at: SliceAt) -> np.ndarray:
        """Return what the reader would accept: the proposal, or else the mask."""
        proposal = self.session.state(at).of(self.key).proposal
        return self.session.object_mask(at, self.key) if proposal is None else proposal.mask.unpacked()


def patient(path: Path, model: Any) -> dict[str, Any]:
    """Return the figures of one volume."""
    reader = Reader(path, model)
    indices = np.flatnonzero(reader.truth.any(axis=(1, 2)))
    centre = int(indices[len(indices) // 2])
    at = SliceAt.across(0, centre)
    started = time.perf_counter()
    outcome = reader.session.plan_text(at, TEXT).run(model, model)
    reader.session.apply(outcome)
    row: dict[str, Any] = {
        "slices": [int(indices[0]), centre, int(indices[-1])],
        "presence": outcome.answers[0].saliency.presence,
        "centre by text": dice(reader._seen(at), reader.truth[centre]),
        "centre corrected": reader.correct(centre),
        "rounds": [],
    }
    index = centre
    for k in range(ROUNDS):
        if k:
            index = reader.worst()
            reader.correct(index)
        row["rounds"].append({"slice": index, "dice": reader.propagate(index), "clicks": reader.clicks})
    row["seconds"] = time.perf_counter() - started
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--train", action="store_true", help="the patients that the stop rule was chosen on")
    args = parser.parse_args()
    paths = sorted((args.data / "volumes" / "lgg").glob("*_flair.nii.gz"))
    chosen = paths[:-N_TEST] if args.train else paths[-N_TEST:]
    model = load("lite")
    rows = {}
    for path in chosen:
        rows[path.name.removesuffix("_flair.nii.gz")] = row = patient(path, model)
        print(path.name, json.dumps(row), flush=True)
    summary = [
        {
            "corrected slices": k + 1,
            "clicks per volume": float(np.mean([row["rounds"][k]["clicks"] for row in rows.values()])),
            "dice": float(np.mean([row["rounds"][k]["dice"] for row in rows.values()])),
            "worst dice": float(np.min([row["rounds"][k]["dice"] for row in rows.values()])),
        }
        for k in range(ROUNDS)
    ]
    print(json.dumps(summary, indent=2))
    RESULTS.mkdir(exist_ok=True)
    name = "propagation-train.json" if args.train else "propagation.json"
    (RESULTS / name).write_text(
        json.dumps({"propagation": {"patients": rows, "mean": summary}}, indent=2) + "\n", "utf-8"
    )


if __name__ == "__main__":
    main()
