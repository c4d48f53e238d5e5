"""Pictures with captions that a tiny encoder can learn in seconds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

PLACES = {
    "upper left": (0, 0),
    "upper right": (0, 1),
    "lower left": (1, 0),
    "lower right": (1, 1),
}
SHAPES = ("square", "stripes", "frame")
CAPTIONS = tuple(f"{shape} in the {place}" for shape in SHAPES for place in PLACES)
HEAD = ("image", "caption", "patient")
_SIDE = 32


def picture_of(caption: str, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 (32, 32)."""
    shape, place = caption.split(" in the ")
    half = _SIDE // 2
    y, x = (part * half for part in PLACES[place])
    pixels = rng.normal(40, 8, (_SIDE, _SIDE))
    inside = pixels[y + 2 : y + half - 2, x + 2 : x + half - 2]
    inside += 150
    if shape == "stripes":
        inside[:, ::4] -= 150
        inside[:, 1::4] -= 150
    elif shape == "frame":
        inside[3:-3, 3:-3] -= 150
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write_pairs(folder: Path, n_patients: int, seed: int = 0) -> Path:
    """Write a table of pairs, every caption once for each patient; returns it."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for patient in range(n_patients):
        for number, caption in enumerate(CAPTIONS):
            name = f"p{patient}_{number}.png"
            Image.fromarray(picture_of(caption, rng)).save(folder / name)
            rows.append((name, caption, f"patient {patient}"))
    return write_table(folder / "pairs.csv", rows)


def write_table(
    path: Path, rows: list[tuple[str, ...]], head: tuple[str, ...] = ("image", "caption", "patient")
) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    return path
