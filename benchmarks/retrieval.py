"""Retrieval by a small CLIP that is trained here, for each contrastive loss.

    python benchmarks/retrieval.py DATA [--steps 112] [--seeds 3]

A vision transformer of three blocks at 48 pixels and a text transformer of two, from random weights, learn what
`medclipsam learn clip` learns, by the same code: 1,200 of the train rows of brain_mri, breast_us, polyps and
chest_xray, evenly, with captions made of their labels, notes and masks ("brain MRI, glioma, large, upper left").
Batches of 64 different captions, τ 0.1 (the 0.6 of the paper is for an encoder that has learnt already; it is one row),
β 0.15.

Recall@1, 5 and 10 on the test rows, once, after the last step. Most test rows share their caption with others: an
image looks for its caption among all different ones; a caption for an image among all, and any image with the same
caption counts. Chance is that of guessing by the same rule. The folder brain_mri has no patient ids, so neighbours of a
test row may be of its patient: the figures are for comparing losses, not encoders. Writes
benchmarks/results/retrieval.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.captions import CaptionedImage
from napari_medclipsam.learning.clip_learner import ClipLearner
from napari_medclipsam.learning.clip_losses import LOSSES, ContrastSettings
from napari_medclipsam.learning.clip_pairs import prepared, vectors
from napari_medclipsam.learning.clip_request import ClipTraining
from napari_medclipsam.learning.contracts import Budget, Settings
from napari_medclipsam.learning.retrieval import chance, recalls
from napari_medclipsam.models.registry import load

RESULTS = Path(__file__).parent / "results"
SIDE = 48
N_LEARNT = 1200
BATCH, TEMPERATURE, RATE = 64, 0.1, 1e-3
CONFIG: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": SIDE, "patch_size": 8, "width": 64, "layers": 3, "head_width": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
}
#: Of the picture, from which on a lesion is large.
LARGE = {"brain_mri": 0.015, "breast_us": 0.06, "polyps": 0.12}
NOTE_WORDS = 10


class Silent:
    """Looks on and says nothing."""

    def step(self, fraction: float, **figures: float) -> None:
        """See `contracts.Watch`."""


def where(folder: Path, name: str) -> str:
    """Return the size and the quarter of what a mask shows; "" where it is empty."""
    mask = np.asarray(Image.open(folder / "masks" / f"{name}.png").convert("L")) > 0
    if not mask.any():
        return ""
    y, x = (places.mean() / side for places, side in zip(np.nonzero(mask), mask.shape, strict=True))
    size = "large" if mask.mean() > LARGE[folder.name] else "small"
    return f"{size}, {'upper' if y < 0.5 else 'lower'} {'left' if x < 0.5 else 'right'}"


def caption(folder: Path, row: dict[str, str]) -> str:
    """Return the caption of a row."""
    if folder.name == "chest_xray":
        note = " ".join(row["clinical_notes"].split()[:NOTE_WORDS])
        return f"chest film, {row['view']}, {row['finding']}, {note}".rstrip(", ")
    what = {
        "brain_mri": f"brain MRI, {row.get('tumor')}",
        "breast_us": f"breast ultrasound, {row.get('finding')}",
        "polyps": "colonoscopy, polyp",
    }[folder.name]
    return f"{what}, {where(folder, row['name'])}".rstrip(", ")


def rows(data: Path, split: str) -> Iterator[CaptionedImage]:
    """Yield the pairs of a split."""
    for folder in (data / name for name in ("brain_mri", "breast_us", "polyps", "chest_xray")):
        with open(folder / "index.csv", newline="", encoding="utf-8") as source:
            for row in csv.DictReader(source):
                if row["split"] == split:
                    key = f"{folder.name} {row['name']}"
                    read = partial(small, folder, row["name"])
                    yield CaptionedImage(key, key, caption(folder, row), key, read)


def small(folder: Path, name: str) -> Slice:
    """Return a picture at the size of the network."""
    path = next(p for p in (folder / "images" / f"{name}{end}" for end in (".jpg", ".png")) if p.exists())
    return Slice(np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)))


def at_hand(pairs: list[CaptionedImage]) -> list[CaptionedImage]:
    """Return pairs whose images are read already: twelve fits read them."""
    found = []
    for pair in pairs:
        image = pair.read()
        found.append(CaptionedImage(pair.place, pair.key, pair.caption, pair.patient, partial(_given, image)))
    return found


def _given(image: Slice) -> Slice:
    return image


def model(folder: Path, seed: int) -> str:
    """Write an untrained model; returns its name."""
    torch.manual_seed(seed)
    network = open_clip.CLIP(**json.loads(json.dumps(CONFIG)))
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=112)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, everything = time.process_time(), list(rows(args.data, "train"))
    learnt = at_hand([everything[i] for i in np.linspace(0, len(everything) - 1, N_LEARNT).round().astype(int)])
    tests = at_hand(list(rows(args.data, "test")))
    ways = [(loss, TEMPERATURE) for loss in LOSSES] + [("dhn-nce", 0.6)]
    found: dict[str, list[dict[str, float]]] = {"not trained": []}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(args.seeds):
            base = load(model(Path(scratch) / str(seed), seed), "cpu")
            ready = prepared(base, tests, Silent().step)
            topics = ready.topics
            found["not trained"].append(_named(recalls(*vectors(base, ready, 64, Silent().step), topics)))
            for loss, temperature in ways:
                training = ClipTraining(
                    loss, "full", BATCH, RATE, ceil(args.steps * BATCH / N_LEARNT), ContrastSettings(temperature)
                )
                folder = Path(scratch) / f"{seed} {loss} {temperature}"
                folder.mkdir()
                settings = Settings("cpu", seed, True, Budget(3600), base.name)
                said = ClipLearner().fit(base, learnt, training, folder, settings, Silent())
                tuned = ClipLearner().load(folder, base, "cpu")
                figures = _named(recalls(*vectors(tuned, ready, 64, Silent().step), topics))
                found.setdefault(f"{loss}, τ {temperature}", []).append(figures)
                print(seed, loss, temperature, said, figures, round(time.process_time() - began), flush=True)
    result = {
        "train pairs": len(learnt),
        "train captions": len({pair.topic for pair in learnt}),
        "test pairs": len(topics),
        "test captions": len(set(topics)),
        "test captions that were learnt": len(set(topics) & {pair.topic for pair in learnt}),
        "steps": said["steps"],
        "batch": said["batch"],
        "processor seconds": round(time.process_time() - began),
        "chance": {name: round(value, 4) for name, value in _named(dict(chance(topics))).items()},
        "recall": found,
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"retrieval": result}, indent=2, ensure_ascii=False)
    (RESULTS / "retrieval.json").write_text(text + "\n", "utf-8")


def _named(figures: dict[tuple[str, int], float]) -> dict[str, float]:
    return {f"{way} @{k}": round(value, 4) for (way, k), value in figures.items()}


if __name__ == "__main__":
    main()
