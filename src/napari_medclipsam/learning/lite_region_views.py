"""Step 5 of training medclipsam-lite, first half: regions of the stored views, pooled once.

Each view gives its structures, as drawn and drawn carelessly, parts of them, and places where there is none of them.
What the heads need of each is small, so all of it fits into memory and training takes minutes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from napari_medclipsam.files import atomic_path
from napari_medclipsam.learning.lite_samples import STRUCTURES
from napari_medclipsam.learning.lite_views import View, ViewStore
from napari_medclipsam.models.lite.few_tokens import FOLD
from napari_medclipsam.models.lite.preprocess import CANVAS
from napari_medclipsam.models.lite.regions import (
    GLOBAL_NUMBERS,
    PLACES,
    REGION_NUMBERS,
    SEEN,
    TOKENS,
    places,
    pooled,
    tokens,
    whole,
)

SMALLEST = 12
"""Pixels of the canvas: less of a structure is neither there nor not there."""

ELSEWHERE = ""
"""Name of a region without any of the structures that its view was searched for."""


@dataclass(frozen=True)
class Region:
    """One region of a view.

    Parameters
    ----------
    row : int
        Of the view in its store.
    structure : str
        What it shows; `ELSEWHERE` for none.
    role : str
        "drawn", "careless", "part" or "elsewhere".
    area : float
        Share of the picture.
    centre_x : float
        0 at the left edge of the picture, 1 at the right.
    """

    row: int
    structure: str
    role: str
    area: float
    centre_x: float


def regions_of(
    view: View, bits: np.ndarray, canvas: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield (structure, role, bool mask (256, 256)) of a view.

    Parameters
    ----------
    view : View
        What is known of it.
    bits : numpy.ndarray
        uint16 (256, 256), the masks.
    canvas : numpy.ndarray
        uint8 (3, 256, 256), the picture.
    rng : numpy.random.Generator
        Chooses the changes and places.
    """
    drawn = {s: (bits >> STRUCTURES.index(s)) & 1 > 0 for s in view.labelled}
    drawn = {s: m for s, m in drawn.items() if m.sum() >= SMALLEST}
    for structure, mask in drawn.items():
        yield structure, "drawn", mask
        if structure in ("lungs", "left_lung", "right_lung") and rng.random() < 0.5:
            continue
        yield structure, "careless", _careless(mask, rng)
    anything = bits > 0
    body = ndimage.uniform_filter(canvas.mean(0), 9) > 8
    for structure in drawn:
        if structure not in ("left_lung", "right_lung"):
            part = _ellipse_at(drawn[structure], view.inner_yx, rng)
            if part is not None and (part & drawn[structure]).sum() > 0.5 * part.sum():
                yield structure, "part", part
    for _ in range(3):
        place = _ellipse_at(body, view.inner_yx, rng)
        if place is not None and (place & anything).sum() <= 0.02 * place.sum():
            yield ELSEWHERE, "elsewhere", place


def _careless(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask as somebody in a hurry would draw it: larger, smaller, shifted, or as a box."""
    rows, columns = np.nonzero(mask)
    if rng.random() < 0.25:
        box = np.zeros_like(mask)
        box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        return box
    steps = int(rng.integers(1, max(2, int(0.08 * np.sqrt(mask.sum())) + 2)))
    changed = (ndimage.binary_dilation if rng.random() < 0.5 else ndimage.binary_erosion)(mask, iterations=steps)
    changed = np.roll(changed, rng.integers(-steps, steps + 1, 2), (0, 1))
    return changed if changed.sum() >= SMALLEST else mask


def _ellipse_at(where: np.ndarray, inner_yx: tuple[int, int], rng: np.random.Generator) -> np.ndarray | None:
    """An ellipse with its centre somewhere in `where`, inside the picture."""
    rows, columns = np.nonzero(where)
    if not len(rows):
        return None
    k = int(rng.integers(len(rows)))
    radii = np.exp(rng.uniform(np.log(8), np.log(44), 2))
    ys, xs = np.ogrid[:CANVAS, :CANVAS]
    inside = ((ys - rows[k]) / radii[0]) ** 2 + ((xs - columns[k]) / radii[1]) ** 2 < 1
    inside[inner_yx[0] :] = False
    inside[:, inner_yx[1] :] = False
    return inside


class RegionStore:
    """What `pool_views` left: float16 arrays and a list of regions.

    Parameters
    ----------
    folder : pathlib.Path
        Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.regions = [Region(**row) for row in json.loads((folder / "regions.json").read_text(encoding="utf-8"))]
        self.pooled = np.fromfile(folder / "pooled.f16", np.float16).reshape(-1, REGION_NUMBERS)
        self.whole = np.fromfile(folder / "whole.f16", np.float16).reshape(-1, GLOBAL_NUMBERS)
        self.tokens = np.memmap(folder / "tokens.f16", np.float16, "r", shape=(len(self.whole), TOKENS**2, SEEN))


def pool_views(
    store: ViewStore, folder: Path, seed: int, progress: Callable[[int, int], None] | None = None
) -> RegionStore:
    """Pool the regions of all views into `folder`; what is there already is taken.

    Parameters
    ----------
    store : ViewStore
        Encoded views.
    folder : pathlib.Path
        Receives ``regions.json``, ``pooled.f16``, ``whole.f16`` and ``tokens.f16``.
    seed : int
        Chooses regions.
    progress : callable, optional
        Told (done, all).
    """
    if (folder / "regions.json").exists():
        return RegionStore(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Region] = []
    with (
        open(folder / "pooled.f16", "wb") as pooled_file,
        open(folder / "whole.f16", "wb") as whole_file,
        open(folder / "tokens.f16", "wb") as tokens_file,
    ):
        for row, view in enumerate(store.views):
            rng = np.random.default_rng([seed, row])
            canvas = store.canvases[row]
            picture = torch.from_numpy(canvas.astype(np.float32) / 255)[None]
            folded = torch.nn.functional.pixel_unshuffle(picture, FOLD)
            seen = places(torch.cat([torch.from_numpy(store.embeddings[row].astype(np.float32))[None], folded], 1))
            mine = list(regions_of(view, store.bits[row], canvas, rng))
            masks = np.stack([mask for *_, mask in mine]) if mine else np.zeros((0, CANVAS, CANVAS), bool)
            step = CANVAS // PLACES
            weights = masks.reshape(-1, PLACES, step, PLACES, step).mean((2, 4)).astype(np.float32)
            numbers = pooled(seen[0], torch.from_numpy(weights), view.inner_yx).numpy()
            for (structure, role, _), own in zip(mine, numbers, strict=True):
                found.append(Region(row, structure, role, float(own[-2]) ** 2, float(own[-6])))
            numbers.astype(np.float16).tofile(pooled_file)
            whole(seen).numpy().astype(np.float16).tofile(whole_file)
            tokens(seen).numpy().astype(np.float16).tofile(tokens_file)
            if progress:
                progress(row + 1, len(store))
    with atomic_path(folder / "regions.json") as temporary:
        temporary.write_text(json.dumps([asdict(region) for region in found]), encoding="utf-8")
    return RegionStore(folder)
