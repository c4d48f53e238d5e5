"""SAM-Mix beside a U-Net on brain tumours: a few slices with masks, of the others only which kind of tumour they show.

    python benchmarks/learners_few.py DATA [--minutes 4] [--labelled 5 50 100] [--test 40] [--device cpu]
                                                [--methods unet sam-mix nnunet]

Slices with masks are drawn from the training rows of brain_mri, evenly over the kinds. The folder has no patient ids,
so blocks of 25 consecutive numbers are held apart: test rows within 25 of a number that is learnt from are left out.
SAM-Mix gets the three kinds as classes, the masks of the few, and the kinds of 60 more slices; the U-Net, and a network
trained by nnU-Net's rules (nnunet_style.py), the same masks of one class, tumour. All propose without being told the
kind; Dice of all that is drawn with the tumour. Beside them what lite proposes for "brain tumor" (it has learnt from
the training rows of this folder, all of them with masks).

The budget is wall-clock time on a machine that others use too. The seed chooses the rows that teach, and so which rows
of the test split are far enough away. Writes benchmarks/results/learners_few.json; report.py shows the mean over seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.evaluation.datasets import Sample, open_dataset, read_sample
from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.contracts import Budget, Example, Label, Settings
from napari_medclipsam.learning.sam_mix import SamMixLearner
from napari_medclipsam.learning.unet import UNetLearner
from napari_medclipsam.models.registry import load
from napari_medclipsam.pipeline import segment_slice

PATH = Path(__file__).parent / "results" / "learners_few.json"
KINDS = ("glioma", "meningioma", "pituitary tumor")
APART = 25
N_ONLY_KINDS = 60


class Counter:
    """Looks on; remembers the longest time between two steps."""

    def __init__(self) -> None:
        self.longest_s, self._last = 0.0, time.monotonic()

    def step(self, fraction: float, **figures: float) -> None:
        """Note the time."""
        now = time.monotonic()
        self.longest_s, self._last = max(self.longest_s, now - self._last), now


def kind_of(sample: Sample) -> str:
    """Return the class of a row."""
    return next(kind for kind in KINDS if kind.startswith(sample.columns["tumor"].split()[0].lower()))


def mixed(samples: list[Sample], rng: np.random.Generator) -> list[Sample]:
    """Return rows in a random order in which the kinds take turns."""
    queues = {kind: [s for s in samples if kind_of(s) == kind] for kind in KINDS}
    orders = {kind: list(rng.permutation(len(queue))) for kind, queue in queues.items()}
    found = []
    while any(orders.values()):
        for kind in KINDS:
            if orders[kind]:
                found.append(queues[kind][orders[kind].pop()])
    return found


def picture(sample: Sample) -> Slice:
    """Return the image of a row."""
    return read_sample(sample)[0]


def by_kind(sample: Sample, with_mask: bool) -> Example:
    """Return a row as SAM-Mix gets it."""
    labels: dict[str, Label] = {}
    if with_mask:
        mask = read_sample(sample)[1]
        labels = {kind: Label(mask if kind == kind_of(sample) else np.zeros_like(mask), "drawn") for kind in KINDS}
    present = {kind: kind == kind_of(sample) for kind in KINDS}
    return Example(sample.name, (None, None), sample.name, partial(picture, sample), labels, present)


def as_tumour(sample: Sample) -> Example:
    """Return a row as the U-Net gets it."""
    label = Label(read_sample(sample)[1], "drawn")
    return Example(sample.name, (None, None), sample.name, partial(picture, sample), {"tumour": label})


def measured(samples: list[Sample], propose: Callable[[Slice], np.ndarray]) -> dict[str, float]:
    """Return mean Dice, its spread over slices, and the share of slices in which something is drawn."""
    scores, drawn = [], []
    for sample in samples:
        image, truth = read_sample(sample)
        mask = propose(image)
        scores.append(dice(mask, truth))
        drawn.append(bool(mask.any()))
    return {"dice": float(np.mean(scores)), "sd": float(np.std(scores)), "drawn": float(np.mean(drawn))}


def union(model: Any, names: str, image: Slice) -> np.ndarray:
    """Return all that is drawn for some names."""
    found = segment_slice(image, names, model, model.base)
    return np.logical_or.reduce([one.mask_yx for one in found.structures])


def main() -> None:
    """Measure."""
    # Other benchmarks take rows from here and have no use for monai, which loads slowly.
    import nnunet_style

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--labelled", type=int, nargs="+", default=[5, 50, 100])
    parser.add_argument("--test", type=int, default=40, help="test rows that are measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--methods", nargs="+", default=["unet", "sam-mix", "nnunet"], help="of others, rows stay")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    training = mixed(list(open_dataset(args.data / "brain_mri", "train").samples), rng)
    used = training[: max(args.labelled) + N_ONLY_KINDS]
    numbers = np.array([int(s.name) for s in used])
    rows = mixed(list(open_dataset(args.data / "brain_mri", "test").samples), np.random.default_rng(0))
    test = [s for s in rows if abs(numbers - int(s.name)).min() > APART][: args.test]
    base = load("lite", args.device)
    settings = Settings(args.device, args.seed, budget=Budget(60 * args.minutes))
    asked = {"minutes": args.minutes, "device": args.device, "n_test": len(test)}
    results = json.loads(PATH.read_text("utf-8"))["learners_few"] if PATH.exists() else {}
    # The most that is labelled decides, too, which test rows are far enough away.
    group = f"up to {max(args.labelled)} labelled"
    if {key: results.get(group, {}).get(key) for key in asked} != asked:
        results[group] = asked | {"seeds": {}}
    found = results[group]["seeds"].setdefault(str(args.seed), {})

    def keep(name: str, row: dict[str, Any]) -> None:
        """Add a row to the results, at once: each fit takes minutes."""
        found[name] = row
        print(name, json.dumps(row), flush=True)
        PATH.write_text(json.dumps({"learners_few": results}, indent=1) + "\n", encoding="utf-8")

    keep(
        "lite, brain tumor",
        measured(test, lambda image: segment_slice(image, "brain tumor", base, base).structures[0].mask_yx),
    )
    for count in args.labelled:
        chosen, others = training[:count], training[count : count + N_ONLY_KINDS]
        mix = [by_kind(s, True) for s in chosen] + [by_kind(s, False) for s in others]
        plain = [as_tumour(s) for s in chosen]
        fits: list[tuple[str, Any, list[Example], str]] = [
            ("unet", UNetLearner(), plain, "tumour"),
            ("sam-mix", SamMixLearner(), mix, "; ".join(KINDS)),
        ]
        for name, learner, examples, text in fits:
            if name not in args.methods:
                continue
            with tempfile.TemporaryDirectory() as folder:
                watch = Counter()
                said = dict(learner.fit(examples, None, Path(folder), replace(settings), watch))
                model = learner.load(Path(folder), base, args.device)
            row = measured(test, partial(union, model, text)) | said | {"longest_step_s": watch.longest_s}
            keep(f"{name}, {count} labelled", row)
        if "nnunet" in args.methods:
            propose, steps = nnunet_style.trained(chosen, 60 * args.minutes, args.seed)
            keep(f"nnU-Net style, {count} labelled", measured(test, propose) | {"steps": steps})


if __name__ == "__main__":
    main()
