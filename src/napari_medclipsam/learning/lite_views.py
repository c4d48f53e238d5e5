"""Step 1 of training medclipsam-lite: every picture, clean or changed, encoded once and kept on disk.

The encoder is frozen and dear; the parts trained on it are cheap. So the pictures go through it once, and training
reads the stored embeddings. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from napari_medclipsam.files import atomic_path
from napari_medclipsam.learning.lite_augment import augment
from napari_medclipsam.learning.lite_samples import STRUCTURES, Sample, collect
from napari_medclipsam.models.lite.preprocess import CANVAS, Fit, to_canvas

EMBEDDING_SHAPE = (256, 64, 64)

REPEATS = {"brain_mri": 0.75, "breast_us": 1.5, "chest_xray": 2.0, "chest_structures": 2.6, "spinal_cord": 1.6}
"""How often a data set's pictures are seen; small sets more often, in changed forms. Others: once."""


@dataclass(frozen=True)
class View:
    """One encoded form of a sample; see `Sample` for the fields."""

    dataset: str
    name: str
    labelled: tuple[str, ...]
    kind: str
    validation: bool
    augmented: bool
    inner_yx: tuple[int, int]
    seed: int


def on_canvas(bits: np.ndarray) -> np.ndarray:
    """The masks where `to_canvas` puts the picture: uint16 (256, 256)."""
    inner = Fit.of(bits.shape).inner_yx
    canvas = np.zeros((CANVAS, CANVAS), np.uint16)
    planes = Image.fromarray(bits.astype(np.int32)).resize((inner[1], inner[0]), Image.Resampling.NEAREST)
    canvas[: inner[0], : inner[1]] = np.asarray(planes).astype(np.uint16)
    return canvas


def plan(samples: list[Sample], seed: int) -> list[tuple[int, bool, int]]:
    """Choose the views: (sample, augmented?, seed) in a fixed order.

    First the pictures of patients, each as often as `REPEATS` says, shuffled; then the template slices; then the
    pictures that the first draw left out, once each.
    """
    rng = np.random.default_rng(seed)
    template = [i for i, sample in enumerate(samples) if sample.dataset == "mni"]
    drawn: list[tuple[int, bool, int]] = []
    for index, sample in enumerate(samples):
        if sample.dataset == "mni":
            continue
        repeats = 1.0 if sample.validation else REPEATS.get(sample.dataset, 1.0)
        count = int(repeats) + int(rng.random() < repeats % 1)
        for copy in range(count):
            changed = not sample.validation and (copy > 0 or rng.random() < 0.6)
            drawn.append((index, changed, int(rng.integers(2**31))))
    shuffled = [drawn[i] for i in rng.permutation(len(drawn))]
    left_out = sorted(set(range(len(samples))) - {index for index, *_ in drawn} - set(template))
    late = [*template, *(int(i) for i in rng.permutation(left_out))]
    return shuffled + [(i, bool(rng.random() < 0.6), int(rng.integers(2**31))) for i in late]


def seen(sample: Sample, changed: bool, seed: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Pixels and bits of a view, and whether they were changed: a change that leaves nothing to see is not made."""
    if changed:
        pixels, bits = augment(sample, np.random.default_rng(seed))
        if pixels.min() < pixels.max():
            return pixels, bits, True
    return sample.pixels, sample.bits, False


class ViewStore:
    """Embeddings (float16), canvases (uint8) and masks (bits) of all views, memory-mapped.

    Parameters
    ----------
    folder : pathlib.Path
        Where the arrays are.
    left_out : collection of str
        Data sets that are not to be seen: no row of `rows` is theirs.
    """

    def __init__(self, folder: Path, left_out: Collection[str] = ()) -> None:
        self.folder, self.left_out = folder, frozenset(left_out)
        self.views = [View(**row) for row in json.loads((folder / "views.json").read_text(encoding="utf-8"))]
        shape = (self._planned(), *EMBEDDING_SHAPE)
        self.embeddings = np.memmap(folder / "embeddings.f16", np.float16, "r", shape=shape)
        self.canvases = np.memmap(folder / "canvases.u8", np.uint8, "r", shape=(shape[0], 3, CANVAS, CANVAS))
        self.bits = np.memmap(folder / "bits.u16", np.uint16, "r", shape=(shape[0], CANVAS, CANVAS))

    def _planned(self) -> int:
        return (self.folder / "bits.u16").stat().st_size // (2 * CANVAS * CANVAS)

    def __len__(self) -> int:
        return len(self.views)

    def rows(self, *, validation: bool) -> list[int]:
        """Return the rows that teach, or those held out to watch it."""
        return [i for i, v in enumerate(self.views) if v.validation == validation and v.dataset not in self.left_out]

    def shown(self) -> set[str]:
        """Return the structures that a mask of some row that teaches shows (reads all masks)."""
        seen = np.bitwise_or.reduce(
            [np.bitwise_or.reduce(self.bits[i], axis=None) for i in self.rows(validation=False)]
        )
        return {name for position, name in enumerate(STRUCTURES) if seen >> position & 1}


def encode_views(
    data: Path,
    folder: Path,
    encode: Callable[[np.ndarray], np.ndarray],
    seed: int,
    most: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Encode all training pictures into `folder`; a stopped run is taken up again.

    Parameters
    ----------
    data : pathlib.Path
        The data folder.
    folder : pathlib.Path
        Receives ``embeddings.f16``, ``canvases.u8``, ``bits.u16`` and ``views.json``.
    encode : callable
        float32 (3, 256, 256) → float32 (256, 64, 64).
    seed : int
        Chooses slices and changes.
    most : int, optional
        Encode only the first so many views of the shuffled plan.
    progress : callable, optional
        Told (done, all).
    """
    folder.mkdir(parents=True, exist_ok=True)
    samples = list(collect(data, seed))
    views = plan(samples, seed + 1)[:most]
    mode: Literal["r+", "w+"] = "r+" if (folder / "embeddings.f16").exists() else "w+"
    embeddings = np.memmap(folder / "embeddings.f16", np.float16, mode, shape=(len(views), *EMBEDDING_SHAPE))
    canvases = np.memmap(folder / "canvases.u8", np.uint8, mode, shape=(len(views), 3, CANVAS, CANVAS))
    masks = np.memmap(folder / "bits.u16", np.uint16, mode, shape=(len(views), CANVAS, CANVAS))
    index = folder / "views.json"
    rows = json.loads(index.read_text(encoding="utf-8")) if index.exists() else []
    for position in range(len(rows), len(views)):
        which, changed, view_seed = views[position]
        sample = samples[which]
        pixels, bits, changed = seen(sample, changed, view_seed)
        canvas = to_canvas(pixels)
        embeddings[position] = encode(canvas)
        canvases[position] = np.rint(canvas * 255)
        masks[position] = on_canvas(bits)
        inner = Fit.of(bits.shape).inner_yx
        view = View(sample.dataset, sample.name, tuple(sorted(sample.labelled)), sample.kind, sample.validation,
                    changed, inner, view_seed)  # fmt: skip
        rows.append(asdict(view))
        if position % 50 == 49 or position + 1 == len(views):
            with atomic_path(index) as temporary:
                temporary.write_text(json.dumps(rows), encoding="utf-8")
        if progress:
            progress(position + 1, len(views))
