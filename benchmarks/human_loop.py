"""A reader who corrects and accepts, and learners that learn from it between rounds, on a finding lite never saw.

    python benchmarks/human_loop.py DATA MODEL [--learners none instant decoder unet] [--seconds 120] [--shipped-clicks]
                                               [--seed 0] [--train]

MODEL is a folder made by `left_out.py` without brain_mri and lgg: of brains it has seen hippocampi, spinal cords and
lesions simulated on a template, and no mask of a patient's tumour; with --shipped-clicks the click decoder has. Asked
is "brain tumor". Every slice of brain_mri shows one, so presence is passed over where the learner has no word on it.

Five rounds of 20 slices, from four blocks of consecutive numbers each, five slices of a block (see brain_blocks). The
reader looks at the proposal. Below Dice 0.2 he throws it away, which counts as one correction. Then he clicks in the
middle of the largest error until Dice is 0.9, at most ten times, and accepts what there is; below 0.5 he paints it
himself, which counts as one correction more: nobody accepts an empty mask of a tumour. After each round the
learner is fitted again on all that was accepted (the decoder goes on from its last version), and the proposals are
measured on rows at least 26 numbers away from any that teach: test rows, or with --train others, on which choices were
made. Each learner has a reader of its own. The seed chooses the slices and their order. Adds to
benchmarks/results/human_loop.json, of which report.py shows the mean over seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from brain_blocks import NAME, apart_from, example, teaching_rows
from learners import Silent
from left_out import AlwaysAnswers, left_out_model
from napari_medclipsam.evaluation.datasets import Sample, read_sample
from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.learning.contracts import Budget, Example, Label, Settings
from napari_medclipsam.learning.decoder import DecoderLearner
from napari_medclipsam.learning.instant import InstantLearner
from napari_medclipsam.learning.unet import UNetLearner
from napari_medclipsam.models.lite.model import LiteModel
from simulated_reader import Answers, read_slice

RESULTS = Path(__file__).parent / "results"
ROUNDS, BLOCKS_A_ROUND, OF_EACH = 5, 4, 5
A_ROUND = BLOCKS_A_ROUND * OF_EACH


def learnt(name: str, base: LiteModel, known: list[Example], folder: Path, parent: Path | None, asked: Any) -> Answers:
    """Fit a learner on what was accepted so far and return who answers then."""
    settings = Settings("cpu", asked.seed, budget=Budget(asked.seconds))
    if name == "instant":
        said = InstantLearner().learn(base, known, None, folder, settings, Silent())
        print("weight of exemplars", said["exemplars"], flush=True)
        return Answers(InstantLearner().load(folder, base, "cpu"), base)
    if name == "decoder":
        DecoderLearner().learn(base, known, parent, folder, settings, Silent())
        model = DecoderLearner().load(folder, base, "cpu")
        return Answers(model, model)
    UNetLearner().fit(known, None, folder, settings, Silent())
    return Answers(UNetLearner().load(folder, base, "cpu"), base)


def measured(rows: list[Sample], answers: Answers) -> dict[str, float]:
    """Return Dice of the proposals, and the share of slices in which something is proposed."""
    scores, drawn = [], []
    for sample in rows:
        image, truth = read_sample(sample)
        mask = answers.proposal(image, NAME)
        scores.append(dice(mask, truth))
        drawn.append(bool(mask.any()))
    return {"dice": float(np.mean(scores)), "median": float(np.median(scores)), "drawn": float(np.mean(drawn))}


def loop(
    name: str, base: LiteModel, rounds: list[list[Sample]], judged: list[Sample], asked: Any
) -> Iterator[dict[str, Any]]:
    """Yield what a reader with one learner has seen so far, after each round."""
    answers = Answers(AlwaysAnswers(base), base)
    rows: list[dict[str, float]] = []
    start, known = measured(judged, answers), []
    with tempfile.TemporaryDirectory() as temporary:
        parent: Path | None = None
        for number, samples in enumerate(rounds):
            proposed, accepted, corrections = [], [], []
            for sample in samples:
                image, truth = read_sample(sample)
                proposal = answers.proposal(image, NAME)
                mask, n, _ = read_slice(image, truth, proposal, answers.segmenter)
                known.append(example(sample, Label(mask, "drawn" if n else "accepted", proposal & ~mask)))
                proposed.append(dice(proposal, truth))
                accepted.append(dice(mask, truth))
                corrections.append(n)
            row = {
                "corrections": float(np.mean(corrections)),
                "accepted unchanged": float(np.mean([n == 0 for n in corrections])),
                "Dice proposed to the reader": float(np.mean(proposed)),
                "Dice accepted": float(np.mean(accepted)),
                "worst Dice accepted": min(accepted),
            }
            began, cpu_s = time.monotonic(), time.process_time()
            if name != "none":
                folder = Path(temporary) / str(number)
                folder.mkdir()
                answers = learnt(name, base, known, folder, parent, asked)
                parent = folder
                row |= {"fit s": time.monotonic() - began, "fit processor s": time.process_time() - cpu_s}
                row |= measured(judged, answers)
            else:
                row |= start
            rows.append(row)
            print(name, number + 1, {k: round(v, 3) for k, v in row.items()}, flush=True)
            yield {"before": start, "rounds": rows}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--learners", nargs="+", default=["none", "instant", "decoder", "unet"])
    parser.add_argument("--seconds", type=float, default=120.0, help="budget of a fit of the decoder or the U-Net")
    parser.add_argument("--judged", type=int, default=45, help="rows that proposals are measured on")
    parser.add_argument("--shipped-clicks", action="store_true", help="with lite's own click decoder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", action="store_true", help="rows on which choices were made")
    args = parser.parse_args()
    taught = teaching_rows(args.data, ROUNDS * BLOCKS_A_ROUND, OF_EACH, args.seed)
    rounds = [taught[k : k + A_ROUND] for k in range(0, len(taught), A_ROUND)]
    judged = apart_from(taught, args.data, "train" if args.train else "test", args.judged)
    base = left_out_model(args.model, shipped_clicks=args.shipped_clicks)
    path = RESULTS / ("human_loop-train.json" if args.train else "human_loop.json")
    for name in args.learners:
        for curve in loop(name, base, rounds, judged, args):
            found = json.loads(path.read_text("utf-8"))["human_loop"] if path.exists() else {}
            found |= {"n_judged": len(judged), "seconds": args.seconds, "shipped clicks": args.shipped_clicks}
            found.setdefault("learners", {}).setdefault(name, {})[str(args.seed)] = curve
            path.write_text(json.dumps({"human_loop": found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
