"""The learners against masks: how well a class is proposed after 1 to 10 accepted slices, and clicks before and after.

    python benchmarks/learners.py DATA [--train] [--part hippocampus|lgg|unnamed|decoder]

DATA holds volumes/hippocampus and volumes/lgg. Measured are the test splits (the last 40 volumes and the last four
patients by name); `--train` takes others, on which everything was chosen. Writes benchmarks/results/learners.json.

A simulated reader accepts the true masks of slices of one volume. Proposed is from the class's name alone, with the
whole pipeline: saliency, prompts, outline. Slices are judged that show the structure, and Dice is over all their pixels
together; for the false alarms, those of the same volume that do not.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.learning.clock import WORK_CLOCK
from napari_medclipsam.learning.contracts import Budget, Example, Settings
from napari_medclipsam.learning.decoder import DecoderLearner
from napari_medclipsam.learning.examples import volume_examples
from napari_medclipsam.learning.instant import InstantLearner
from napari_medclipsam.models.registry import load
from napari_medclipsam.pipeline import segment_slice
from simulated_reader import Answers, read_slice

RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
CURVE = (1, 2, 3, 5, 10)
FEWEST_PX = 12
NEW_NAME = "structure 1"


class Silent:
    """Looks on and says nothing."""

    def step(self, fraction: float, **figures: float) -> None:
        """Go on."""


def tick() -> None:
    """Let the time in which this process is held not count as work."""
    while True:
        WORK_CLOCK.tick()
        time.sleep(0.02)


def hippocampus(data: Path, train: bool) -> list[list[Example]]:
    """Coronal slices, in which the hippocampus is read, of some volumes; every second slice."""
    names = sorted((data / "volumes" / "hippocampus" / "images").glob("*.nii.gz"))
    rng = np.random.default_rng(0)
    names = [names[:-40][i] for i in rng.permutation(len(names) - 40)[:4]] if train else names[-40::10]
    return [
        list(volume_examples(p, p.parent.parent / "labels" / p.name, "hippocampus", patient=p.name, plane="coronal"))
        for p in names
    ]


def lgg(data: Path, train: bool) -> list[list[Example]]:
    """Axial FLAIR slices of some patients."""
    names = sorted((data / "volumes" / "lgg").glob("*_flair.nii.gz"))
    names = names[:4] if train else names[-4:]
    return [
        list(volume_examples(p, Path(str(p).replace("_flair", "_tumor")), "brain tumor", patient=p.name)) for p in names
    ]


def thinned(examples: list[Example], most_there: int, most_empty: int) -> tuple[list[Example], list[Example]]:
    """Return slices with and without the structure, evenly over the volume: encoding all of them takes long."""
    there = [e for e in examples if area(e) > FEWEST_PX]
    empty = [e for e in examples if area(e) == 0 and (e.read().pixels > 20).mean() > 0.1]
    return _evenly(there, most_there), _evenly(empty, most_empty)


def _evenly(examples: list[Example], most: int) -> list[Example]:
    places = np.linspace(0, len(examples) - 1, min(most, len(examples))).round().astype(int)
    return [examples[i] for i in places]


def area(example: Example) -> int:
    """Pixels of its mask."""
    (label,) = example.labels.values()
    return int(label.mask_yx.sum())


def pooled_dice(
    examples: list[Example], propose: Callable[[Example], tuple[np.ndarray, np.ndarray]]
) -> tuple[float, float]:
    """Dice over all pixels of some slices together, of what is proposed and of the map alone."""
    both, sizes = np.zeros(2), np.zeros(2)
    for example in examples:
        (label,) = example.labels.values()
        masks = propose(example)
        both += [int((mask & label.mask_yx).sum()) for mask in masks]
        sizes += [int(mask.sum() + label.mask_yx.sum()) for mask in masks]
    found = 2 * both / np.maximum(sizes, 1)
    return float(found[0]), float(found[1])


def instant_row(
    volumes: list[list[Example]], name: str, base: Any, asked: argparse.Namespace, n_there: int, n_empty: int
) -> dict[str, Any]:
    """Learning curve: each volume teaches in turn; within it and in the next two volumes."""
    split = [thinned(v, n_there, n_empty) for v in volumes]
    rows: dict[str, Any] = {}
    for count in asked.counts:
        found: dict[str, list[float]] = {}
        for seed in asked.seeds:
            rng = np.random.default_rng(seed)
            for number, (there, empty) in enumerate(split):
                chosen = sorted(rng.permutation(len(there))[:count])
                taught = [there[i] for i in chosen] + [empty[int(rng.integers(len(empty)))]]
                with tempfile.TemporaryDirectory() as folder:
                    told = InstantLearner().learn(base, taught, None, Path(folder), Settings(seed=seed), Silent())
                    model = InstantLearner().load(Path(folder), base, "cpu")

                def propose(example: Example, model: Any = model) -> tuple[np.ndarray, np.ndarray]:
                    found = segment_slice(example.read(), name, model, model).structures[0]
                    return found.mask_yx, found.saliency.values_yx > 0.5

                others = [e for k in (1, 2) for e in _evenly(split[(number + k) % len(split)][0], 5)]
                left = [e for i, e in enumerate(there) if i not in chosen]
                unseen = [e for e in empty if e not in taught]
                figures = {"seconds": told["seconds_fit"], "weight of exemplars": told["exemplars"][name]}
                figures |= {"drawn on empty slices": np.nan}
                for where, examples in (("same volume", left), ("other volumes", others)):
                    dices = pooled_dice(examples, propose) if examples else (np.nan, np.nan)
                    figures |= {where: dices[0], f"{where}, map alone": dices[1]}
                if unseen:
                    figures["drawn on empty slices"] = float(np.mean([propose(e)[0].any() for e in unseen]))
                print(name, count, seed, number, {k: round(float(v), 3) for k, v in figures.items()}, flush=True)
                for key, value in figures.items():
                    found.setdefault(key, []).append(value)
        rows[str(count)] = {key: float(np.nanmean(values)) for key, values in found.items()}
        print(name, count, {k: round(v, 3) for k, v in rows[str(count)].items()}, flush=True)
    return rows


def decoder_row(volumes: list[list[Example]], base: Any, seeds: list[int], seconds: float) -> dict[str, Any]:
    """What slices cost before and after practice on 20 slices of all volumes but the last two, which are read.

    Clicked on from nothing, and corrected from what is proposed for a name that lite has never heard.
    """
    taught = [e for v in volumes[:-2] for e in thinned(v, 20 // (len(volumes) - 2), 0)[0]]
    asked = [e for v in volumes[-2:] for e in thinned(v, 8, 0)[0]]
    rows: dict[str, list[float]] = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(seed=seed, budget=Budget(seconds))
            told = DecoderLearner().learn(base, taught, None, Path(folder), settings, Silent())
            model = DecoderLearner().load(Path(folder), base, "cpu")
        for when, one in (("before", base), ("after", model)):
            for key, value in effort(asked, one).items():
                rows.setdefault(f"{key} {when}", []).append(value)
        rows.setdefault("steps", []).append(float(told["decoder_steps"]))
        print(f"decoder, seed {seed}", {k: round(v[-1], 3) for k, v in rows.items()}, flush=True)
    mean: dict[str, Any] = {key: float(np.mean(values)) for key, values in rows.items()}
    for key in ("clicks", "corrections"):
        mean[f"fewer {key}"] = 1 - mean[f"{key} after"] / mean[f"{key} before"]
    return mean | {"slices taught": len(taught), "slices asked": len(asked), "budget s": seconds, "by seed": rows}


def effort(examples: list[Example], model: Any) -> dict[str, float]:
    """Return the clicks of a reader to whom nothing is proposed, and the corrections of one who begins at proposals."""
    found: dict[str, list[float]] = {}
    for example in examples:
        image, ((name, label),) = example.read(), example.labels.items()
        proposed = Answers(model, model).proposal(image, name)
        _, clicks, first = read_slice(image, label.mask_yx, np.zeros_like(label.mask_yx), model)
        _, corrections, _ = read_slice(image, label.mask_yx, proposed, model)
        row = {"clicks": clicks, "Dice of the first click": first, "corrections": corrections}
        for key, value in (row | {"Dice proposed": dice(proposed, label.mask_yx)}).items():
            found.setdefault(key, []).append(value)
    return {key: float(np.mean(values)) for key, values in found.items()}


def renamed(volumes: list[list[Example]], name: str) -> list[list[Example]]:
    """The same slices, with the structure under another name."""
    return [
        [Example(e.case, e.position, e.patient, e.read, {name: next(iter(e.labels.values()))}) for e in v]
        for v in volumes
    ]


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--train", action="store_true", help="volumes on which choices were made")
    parser.add_argument("--part", choices=("hippocampus", "lgg", "unnamed", "decoder"), action="append")
    parser.add_argument("--counts", type=int, nargs="+", default=list(CURVE), help="accepted slices to learn from")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="of the slices that teach")
    parser.add_argument("--seconds", type=float, default=300.0, help="budget of a fit of the decoder")
    args = parser.parse_args()
    parts = args.part or ["hippocampus", "lgg", "unnamed", "decoder"]
    base = load("lite")
    threading.Thread(target=tick, daemon=True).start()
    path = RESULTS / ("learners-train.json" if args.train else "learners.json")

    def keep(name: str, rows: dict[str, Any]) -> None:
        """Add rows to what is there: the parts take long, and are run one by one."""
        results = json.loads(path.read_text("utf-8"))["learners"] if path.exists() else {}
        results.setdefault(name, {}).update(rows)
        RESULTS.mkdir(exist_ok=True)
        path.write_text(json.dumps({"learners": results}, indent=2) + "\n", "utf-8")

    started = time.perf_counter()
    if "hippocampus" in parts:
        volumes = hippocampus(args.data, args.train)
        keep("instant, hippocampus", instant_row(volumes, "hippocampus", base, args, 12, 3))
    if "unnamed" in parts:
        volumes = renamed(hippocampus(args.data, args.train), NEW_NAME)
        keep(f'instant, hippocampus as "{NEW_NAME}"', instant_row(volumes, NEW_NAME, base, args, 12, 3))
    if "lgg" in parts:
        keep("instant, LGG FLAIR", instant_row(lgg(args.data, args.train), "brain tumor", base, args, 12, 3))
    if "decoder" in parts:
        volumes = renamed(hippocampus(args.data, args.train), NEW_NAME)
        keep("decoder, hippocampus", decoder_row(volumes, base, args.seeds, args.seconds))
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
