"""How often the gate promotes what is worse, and refuses what is better.

    python benchmarks/gate.py

Dice tables are simulated: a patient is easy or hard, a candidate's gain differs from patient to patient and from slice
to slice, and now and then one of the two models finds a structure that the other misses. 200 candidates, half of them
worse (true gain −0.10 to 0) and half better by 2 to 10 points (0.02 to 0.10); the true gain is that over 20,000 other
patients of the same kind. Harder than the target, beside them: equal to the model in use, and better by 2 points only.
Three levels of noise; bounds by the t-test of the gate, by a percentile bootstrap over
patients, and by the t-test over slices that takes them for independent. Writes benchmarks/results/gate.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from napari_medclipsam.learning.gate import MARGIN_DICE, Pair, bounds, judge

RESULTS = Path(__file__).parent / "results"
#: Limits of the true gain, and how many candidates.
KINDS = {
    "worse": (-0.10, 0.0, 100),
    "better": (0.02, 0.10, 100),
    "equal": (0.0, 0.0, 400),
    "2 points": (0.02, 0.02, 200),
}
N_CHECKED = 3
SIZES = ((3, 5), (3, 20), (5, 10), (8, 10), (12, 10), (12, 20), (20, 10), (20, 20), (30, 20))
N_TRUTH = 20_000
LEVEL, PATIENT_SD, SLICE_SD = 0.72, 0.10, 0.12


@dataclass(frozen=True)
class Noise:
    """How far gains scatter: over patients, over slices of one, and how often one model alone finds a structure."""

    patient_sd: float
    slice_sd: float
    flips: float


NOISE = {"little": Noise(0.01, 0.03, 0.002), "usual": Noise(0.02, 0.06, 0.01), "much": Noise(0.04, 0.10, 0.04)}


def tables(
    rng: np.random.Generator, gain: float, noise: Noise, n_patients: int, n_slices: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return Dice of the model in use and of the candidate, float (patients, slices)."""
    level = LEVEL + rng.normal(0, PATIENT_SD, (n_patients, 1)) + rng.normal(0, SLICE_SD, (n_patients, n_slices))
    # Heavy tails: a few slices change a lot.
    scatter = noise.slice_sd * rng.standard_t(4, (n_patients, n_slices)) / np.sqrt(2)
    after = level + gain + rng.normal(0, noise.patient_sd, (n_patients, 1)) + scatter
    before, after = np.clip(level, 0, 0.98), np.clip(after, 0, 0.98)
    lost = rng.random((2, n_patients, n_slices)) < noise.flips
    return np.where(lost[0], 0.0, before), np.where(lost[1], 0.0, after)


def by_gate(before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether the gate promotes: what `judge` does with one class, without its figures."""
    gains = (after - before).mean(axis=1)
    lower, _ = bounds(gains)
    return lower is not None and lower > 0 and gains.mean() > -MARGIN_DICE


def by_judge(before: np.ndarray, after: np.ndarray) -> bool:
    """Return what `judge` itself says."""
    pairs = [
        Pair(str(patient), (patient, place), "x", "text", b, a)
        for patient, row in enumerate(zip(before, after, strict=True))
        for place, (b, a) in enumerate(zip(*row, strict=True))
    ]
    return bool(judge(pairs, "held-out patients").better)


def by_bootstrap(before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether the 5 % quantile of 500 resamplings of the patients is above zero."""
    gains = (after - before).mean(axis=1)
    drawn = np.random.default_rng(0).integers(len(gains), size=(500, len(gains)))
    return bool(np.quantile(gains[drawn].mean(axis=1), 0.05) > 0)


def by_slices(before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether the bound is above zero when all slices are taken for independent."""
    lower, _ = bounds((after - before).ravel())
    return lower is not None and lower > 0


RULES: dict[str, Callable[[np.ndarray, np.ndarray], bool]] = {
    "gate": by_gate,
    "bootstrap": by_bootstrap,
    "slices as independent": by_slices,
}


@cache
def true_gains(noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """Return gains that are aimed at, and what is left of each after clipping, over many patients."""
    grid = np.linspace(-0.14, 0.14, 15)
    many = [tables(np.random.default_rng(1), gain, noise, N_TRUTH, 1) for gain in grid]
    return grid, np.array([(after - before).mean() for before, after in many])


def promoted(noise: Noise, kind: str, n_patients: int, n_slices: int) -> dict[str, float]:
    """Return the share of candidates of a kind that each rule promotes."""
    low, high, n = KINDS[kind]
    rng = np.random.default_rng(n_patients * 1000 + n_slices)
    grid, true = true_gains(noise)
    found = dict.fromkeys(RULES, 0)
    for number, gain in enumerate(np.interp(rng.uniform(low, high, n), true, grid)):
        before, after = tables(rng, gain, noise, n_patients, n_slices)
        answers = {rule: decide(before, after) for rule, decide in RULES.items()}
        if number < N_CHECKED and answers["gate"] != by_judge(before, after):
            raise RuntimeError("the gate decides otherwise")
        for rule, answer in answers.items():
            found[rule] += answer
    return {rule: k / n for rule, k in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.parse_args()
    rows = []
    for name, noise in NOISE.items():
        for n_patients, n_slices in SIZES:
            row: dict[str, object] = {"noise": name, "patients": n_patients, "slices of each": n_slices}
            for kind in KINDS:
                for rule, share in promoted(noise, kind, n_patients, n_slices).items():
                    row[f"{kind}, {rule}"] = share
            rows.append(row)
            print(row, flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "gate.json").write_text(json.dumps({"gate": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
