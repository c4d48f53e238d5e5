"""Questions about regions and slices: how often medclipsam-lite answers, and how often it is right when it does.

    python benchmarks/questions.py DATA [--every N] [--split validation]

Kinds and properties are asked about the drawn mask, presence about the slice. An image of another organ must be
answered "no" to presence, and "can't tell" to a property that it does not have. Limits were chosen with ``--split
validation`` (rows of `learning.lite_samples` that were held out), which prints and writes nothing; the test rows were
measured once. Writes benchmarks/results/questions.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from napari_medclipsam.asking.answering import Asked
from napari_medclipsam.asking.answers import CANT_TELL, Answer
from napari_medclipsam.evaluation.datasets import open_dataset, read_sample
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.lite_samples import STRUCTURES, collect
from napari_medclipsam.models.registry import load

RESULTS = Path(__file__).parent / "results"
SETS = {"brain_mri": "brain_tumor", "breast_us": "breast_lesion", "polyps": "polyp", "chest_xray": "lungs"}
NOUNS = {"brain_mri": "brain tumor", "breast_us": "breast lesion", "polyps": "polyp"}
KINDS = {"glioma": "glioma", "meningioma": "meningioma", "pituitary": "pituitary tumor"}
WHICH = f"which of these: {', '.join(KINDS.values())}"
NAMES = {
    **KINDS,
    "benign": "benign breast lesion",
    "malignant": "malignant breast lesion",
    "polyps": "polyp",
    "chest_xray": "lungs",
}
BINS = 10


@dataclass(frozen=True)
class Row:
    """A picture with what is known of it."""

    dataset: str
    image: Slice
    mask_yx: np.ndarray
    kind: str


def test_rows(data: Path, every: int = 1, first: int = 0) -> Iterator[Row]:
    """Yield the test rows of every set, or every so many of them."""
    for name in SETS:
        for sample in open_dataset(data / name, "test").samples[first::every]:
            image, mask = read_sample(sample)
            kind = sample.columns.get("tumor") or sample.columns.get("finding", "")
            yield Row(name, image, mask, kind if name in ("brain_mri", "breast_us") else "")


def validation_rows(data: Path) -> Iterator[Row]:
    """Yield the pictures that were held out of training."""
    for sample in collect(data, 0):
        if sample.validation and sample.dataset in SETS:
            mask = sample.bits >> STRUCTURES.index(SETS[sample.dataset]) & 1
            yield Row(sample.dataset, Slice(sample.pixels), mask.astype(bool), sample.kind)


def asked_of(asked: Asked, row: Row) -> Iterator[tuple[str, Answer, str]]:
    """Yield (set of questions, answer, right answer) for a picture."""
    if row.dataset == "brain_mri":
        yield "which kind of brain tumour", asked.answer(row.image, row.mask_yx, WHICH), KINDS[row.kind]
        yield (
            "benign or malignant, of another organ",
            asked.answer(row.image, row.mask_yx, "is this malignant?"),
            CANT_TELL,
        )
    if row.kind in ("benign", "malignant"):
        right = "yes" if row.kind == "malignant" else "no"
        yield "is this breast lesion malignant", asked.answer(row.image, row.mask_yx, "is this malignant?"), right
        yield "which kind, of another organ", asked.answer(row.image, row.mask_yx, WHICH), CANT_TELL
    if row.mask_yx.any():
        right = NAMES.get(row.kind) or NAMES[row.dataset]
        yield "what is this, of seven names", asked.name(row.image, row.mask_yx, list(NAMES.values())), right
    for dataset, noun in NOUNS.items():
        right = "yes" if dataset == row.dataset and row.mask_yx.any() else "no"
        asked_after = "is there a …, own organ" if dataset == row.dataset else "is there a …, another organ"
        yield asked_after, asked.answer(row.image, None, f"is there a {noun}?"), right


def figures(found: list[tuple[Answer, str]]) -> dict[str, Any]:
    """Return how often it was answered, how often rightly at each confidence, and the calibration error."""
    told = [(a, right) for a, right in found if a.is_told]
    row: dict[str, Any] = {"n": len(found), "answered": len(told) / len(found)}
    row["right of those answered"] = float(np.mean([a.verdict == right for a, right in told])) if told else None
    for word in ("sure", "likely", "unsure"):
        own = [a.verdict == right for a, right in told if a.confidence == word]
        row[word] = {"n": len(own), "right": float(np.mean(own)) if own else None}
    row["calibration error"] = calibration_error(
        np.array([a.score for a, _ in told]), np.array([a.verdict == right for a, right in told])
    )
    return row


def calibration_error(scores: np.ndarray, right: np.ndarray) -> float | None:
    """Expected calibration error over ten bins of equal width (Naeini et al. 2015); None without answers."""
    if not len(scores):
        return None
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    return float(sum(abs(scores[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in set(bins)))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth test row")
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    args = parser.parse_args()
    asked = Asked.of(load("lite"))
    found: dict[str, list[tuple[Answer, str]]] = {}
    rows = test_rows(args.data, args.every) if args.split == "test" else validation_rows(args.data)
    for row in tqdm(rows, unit=" pictures"):
        for name, answer, right in asked_of(asked, row):
            found.setdefault(name, []).append((answer, right))
    told = {name: figures(own) for name, own in found.items()}
    if args.split == "test":
        path = RESULTS / "questions.json"
        path.write_text(json.dumps({"questions": told}, indent=1) + "\n", encoding="utf-8")
    else:
        print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
