"""Whether the review queue puts the slices first whose proposals are wrong.

    python benchmarks/review_queue.py DATA

DATA holds volumes/lgg. A project of the last four patients by name (the test split; `--train` takes the other ten,
which medclipsam-lite has seen) is scanned for "brain tumor" on FLAIR, ranked, and compared with the true masks. Writes
benchmarks/results/review_queue.json.

Given are the share of all wrong pixels that lie in the first 10, 20 and 40 % of the queue, beside those of a perfect
order, and for the queue and each of its reasons the AUROC of finding slices whose Dice is below 0.8.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.images.io import read_mask
from napari_medclipsam.models.registry import load
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.queue import QueueItem, ReviewQueue
from napari_medclipsam.projects.scan import scan
from napari_medclipsam.projects.signals import ClassSignals
from napari_medclipsam.projects.studies import images_in

RESULTS = Path(__file__).parent / "results"
TEXT = "brain tumor"
N_TEST = 4
GOOD_ENOUGH = 0.8
SHARES = (0.1, 0.2, 0.4)


def auroc(score: np.ndarray, wrong: np.ndarray) -> float:
    """Return how often a wrong slice scores higher than a right one; ties count half."""
    if wrong.all() or not wrong.any():
        return float("nan")
    above = score[wrong][:, None] - score[~wrong][None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def found(order: np.ndarray, errors: np.ndarray) -> list[float]:
    """Return the share of all errors in the first 10, 20 and 40 % of an order."""
    return [float(errors[order][: round(share * len(order))].sum() / errors.sum()) for share in SHARES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--train", action="store_true")
    args = parser.parse_args()
    paths = sorted((args.data / "volumes" / "lgg").glob("*_flair.nii.gz"))
    paths = paths[:-N_TEST] if args.train else paths[-N_TEST:]
    model = load("lite")
    wrong_px: dict[str, np.ndarray] = {}
    dices: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as name, Project.create(Path(name) / "p", [TEXT], "bench") as project:
        for path in paths:
            list(project.add(images_in(path)))
        for done in scan(project, TEXT, model, model):
            print(done, flush=True)
        for case, path in zip(project.studies, paths, strict=True):
            with project.open_case(case) as opened:
                truth = read_mask(Path(str(path).replace("_flair", "_tumor")), opened.volume) > 0
                turned, proposed = opened.view.to_turned(truth), opened.session.proposed > 0
            wrong_px[case] = (turned ^ proposed).sum(axis=(1, 2))
            dices[case] = np.array([dice(a, b) for a, b in zip(turned, proposed, strict=True)])
        queue = ReviewQueue.of(project)
        items = queue.items()
        tables = [summary.review.tables[1] for summary in project.summaries().values()]
    report(items, ClassSignals.of(tables), wrong_px, dices, args.train)


def report(
    items: list[QueueItem],
    signals: ClassSignals,
    wrong_px: dict[str, np.ndarray],
    dices: dict[str, np.ndarray],
    train: bool,
) -> None:
    """Print and keep the figures."""
    queued_px = np.array([wrong_px[item.case][item.at.index] for item in items])
    queued_wrong = np.array([dices[item.case][item.at.index] < GOOD_ENOUGH for item in items])
    scores = np.array([item.score for item in items])
    bad = np.concatenate(list(dices.values())) < GOOD_ENOUGH
    result = {
        "patients": len(dices),
        "slices": len(items),
        "slices_below_0.8": int(bad.sum()),
        "share_of_wrong_pixels_in_first_10_20_40_percent": {
            "queue": found(np.arange(len(items)), queued_px),
            "perfect_order": found(np.argsort(-queued_px), queued_px),
            "any_order": list(SHARES),
        },
        "auroc": {"queue": auroc(scores, queued_wrong)}
        | {reason: auroc(values, bad) for reason, values in signals.by_reason.items()},
    }
    print(json.dumps(result, indent=2))
    for item in items[:10]:
        told = f"Dice {dices[item.case][item.at.index]:.2f}"
        print(f"{item.score:.2f} {item.case} {item.at.index} {told}: {'; '.join(item.reasons)}")
    if not train:
        (RESULTS / "review_queue.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
