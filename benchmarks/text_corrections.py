"""What it takes to correct the mask of a text, with the box of the text kept beside the clicks and without.

    python benchmarks/text_corrections.py DATA [--train] [--rows 60]

Asked for is what each data set shows, of medclipsam-lite. A simulated reader (see simulated_reader) corrects every
proposal that is below Dice 0.9: as in the window, where his first click takes over from the text, and as it was before,
with the boxes of the text as prompts beside his clicks. On test rows; with --train on those on which it was chosen.
Writes benchmarks/results/text_corrections.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from napari_medclipsam.annotation.prompts import NO_PROMPTS
from napari_medclipsam.annotation.requests import given_prompts
from napari_medclipsam.evaluation.datasets import open_dataset, read_sample
from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.models.registry import load
from napari_medclipsam.pipeline import segment_slice
from simulated_reader import ENOUGH, read_slice

RESULTS = Path(__file__).parent / "results"
TEXTS = {"brain_mri": "brain tumor", "breast_us": "breast tumor", "polyps": "polyp"}


def main() -> None:
    """Measure each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--train", action="store_true", help="rows on which it was chosen")
    parser.add_argument("--rows", type=int, default=60, help="of each data set, drawn at random")
    args = parser.parse_args()
    lite = load("lite")
    results = {}
    for folder, text in TEXTS.items():
        rows = open_dataset(args.data / folder, "train" if args.train else "test").samples
        chosen = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[: args.rows]]
        found: dict[str, list[float]] = {"Dice proposed": [], "box kept": [], "first click takes over": []}
        for sample in chosen:
            image, truth = read_sample(sample)
            proposed = segment_slice(image, text, lite, lite).structures[0]
            if not truth.any() or not proposed.mask_yx.any() or dice(proposed.mask_yx, truth) >= ENOUGH:
                continue
            found["Dice proposed"].append(dice(proposed.mask_yx, truth))
            for way, prompts in (("box kept", given_prompts(proposed)), ("first click takes over", NO_PROMPTS)):
                found[way].append(read_slice(image, truth, proposed.mask_yx, lite, prompts)[1])
        results[folder] = {"slices": len(found["box kept"])} | {k: float(np.mean(v)) for k, v in found.items()}
        print(folder, results[folder], flush=True)
    name = "text_corrections-train" if args.train else "text_corrections"
    (RESULTS / f"{name}.json").write_text(json.dumps({"text_corrections": results}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
