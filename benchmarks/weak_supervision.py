"""No masks at all: proposals of a model that never saw the finding train a U-Net, which may or may not outdo them.

    python benchmarks/weak_supervision.py DATA MODEL [--slices 160] [--seconds 900] [--train]

MODEL is a folder made by `left_out.py` without brain_mri and lgg. What it proposes for "brain tumor" on training rows
of brain_mri, right or wrong, is all that the learner `unet` gets (labels "automatic"; METHODS 1 of MedCLIP-SAM, arXiv
2403.20253 and 2409.19483). Rows come from blocks of 50 consecutive numbers, for the folder has no patient ids.

The gate judges the result as it would in a project: on accepted slices, here the masks of other training rows, whose
blocks stand for patients. Then both are measured on test rows at least 26 numbers away from any that teaches, which
neither the gate nor anybody has looked at; with --train that is left out. Writes
benchmarks/results/weak_supervision.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from brain_blocks import NAME, apart_from, example, teaching_rows
from human_loop import measured
from learners import Silent
from left_out import AlwaysAnswers, BoxesOnly, left_out_model
from napari_medclipsam.evaluation.datasets import Sample, read_sample
from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.learning.contracts import Budget, Example, Label, Settings
from napari_medclipsam.learning.gate import judge
from napari_medclipsam.learning.measuring import measure
from napari_medclipsam.learning.unet import UNetLearner
from simulated_reader import Answers

RESULTS = Path(__file__).parent / "results"


def proposed(samples: list[Sample], answers: Answers) -> tuple[list[Example], float]:
    """Return rows with what is proposed on them, and how good that is; slices without a proposal teach nothing."""
    found, scores = [], []
    for sample in samples:
        image, truth = read_sample(sample)
        mask = answers.proposal(image, NAME)
        scores.append(dice(mask, truth))
        if mask.any():
            found.append(example(sample, Label(mask, "automatic")))
    return found, float(np.mean(scores))


def accepted(samples: list[Sample]) -> list[Example]:
    """Return rows with their masks, as a reader would have accepted them."""
    return [example(s, Label(read_sample(s)[1], "drawn")) for s in samples]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--slices", type=int, default=160)
    parser.add_argument("--seconds", type=float, default=900.0, help="budget of the fit")
    parser.add_argument("--gate", type=int, default=60, help="accepted slices that the gate judges by")
    parser.add_argument("--test", type=int, default=45)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", action="store_true", help="leave the test rows alone")
    args = parser.parse_args()
    base = left_out_model(args.model)
    zero_shot = Answers(AlwaysAnswers(base), BoxesOnly(base))
    taught = teaching_rows(args.data, 20, args.slices // 20, args.seed)
    examples, taught_dice = proposed(taught, zero_shot)
    found: dict[str, Any] = {"slices": len(taught), "with a proposal": len(examples), "seed": args.seed}
    found["Dice of what it learns from"] = taught_dice
    print(json.dumps(found), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        cpu_s, began = time.process_time(), time.monotonic()
        settings = Settings("cpu", args.seed, budget=Budget(args.seconds))
        said = UNetLearner().fit(examples, None, Path(folder), settings, Silent())
        found |= {"steps": said["steps"], "fit s": time.monotonic() - began}
        found["fit processor s"] = time.process_time() - cpu_s
        network = Answers(UNetLearner().load(Path(folder), base, "cpu"), base)
    judged = accepted(apart_from(taught, args.data, "train", args.gate))
    before = (zero_shot.grounder, zero_shot.segmenter)
    pairs = list(measure(judged, before, (network.grounder, network.segmenter), lambda fraction: None))
    verdict = judge(pairs, "held-out patients")
    found["gate"] = {"better": verdict.better, "message": verdict.message}
    print(json.dumps(found), flush=True)
    if not args.train:
        rows = apart_from(taught, args.data, "test", args.test)
        found["test"] = {"n": len(rows), "proposals": measured(rows, zero_shot), "U-Net": measured(rows, network)}
        print(json.dumps(found["test"]), flush=True)
    name = "weak_supervision-train.json" if args.train else "weak_supervision.json"
    (RESULTS / name).write_text(json.dumps({"weak_supervision": found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
