"""Examples as the learners that train on pictures take them: small, in memory, with what is known of every class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from napari_medclipsam.errors import ImageError, LearningError
from napari_medclipsam.learning.contracts import Example
from napari_medclipsam.learning.encoded import TRUST, require_same_size
from napari_medclipsam.learning.lite_augment import augment
from napari_medclipsam.learning.lite_samples import Sample
from napari_medclipsam.models.lite.known import sides
from napari_medclipsam.models.lite.preprocess import CANVAS, Fit, to_canvas

#: Two bits of a pixel are a class: more do not pass through a float64 unchanged.
MOST_CLASSES = 24


@dataclass(frozen=True, eq=False)
class Picture:
    """A slice to learn from, of ``n`` classes.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8 (rows, columns) or (rows, columns, 3).
    bits : numpy.ndarray
        uint64 (rows, columns): bit 2k is the mask of class k, bit 2k + 1 where a reader refused it.
    trust : numpy.ndarray
        float32 (n,): how much the mask of each class counts; 0 where it is not known.
    whole : numpy.ndarray
        bool (n,): False where only what was refused is known.
    present : numpy.ndarray
        float32 (n,): 1 in the slice, 0 not, NaN where that is not known for sure.
    patient : str
        As in `Example`.
    """

    pixels: np.ndarray
    bits: np.ndarray
    trust: np.ndarray
    whole: np.ndarray
    present: np.ndarray
    patient: str = ""

    @property
    def fit(self) -> Fit:
        """How it lies in the canvas, a square of 256 with the picture at its top left."""
        return Fit.of((self.bits.shape[0], self.bits.shape[1]))

    def canvas(self, side: int) -> np.ndarray:
        """Return the picture in a square, float32 (3, side, side) in [0, 1]; `side` divides 256."""
        step = CANVAS // side
        whole = to_canvas(self.pixels)
        return np.asarray(whole.reshape(3, side, step, side, step).mean((2, 4)), np.float32)

    def masks(self, side: int, refused: bool = False, inner_yx: tuple[int, int] | None = None) -> np.ndarray:
        """Return the share of each class in each cell of the square, float32 (n, side, side).

        With `refused`, of what was refused. `inner_yx` is the size on a canvas of 256 where it is not that of `fit`.
        """
        height, width = inner_yx or self.fit.inner_yx
        step = CANVAS // side
        planes = np.zeros((len(self.trust), CANVAS, CANVAS), np.float32)
        for k in range(len(self.trust)):
            plane = (self.bits >> np.uint64(2 * k + refused)) & np.uint64(1)
            if plane.any():
                small = Image.fromarray(plane.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
                planes[k, :height, :width] = np.asarray(small)
        return np.asarray(planes.reshape(-1, side, step, side, step).mean((2, 4)), np.float32)

    def changed(self, rng: np.random.Generator, mirrored: bool) -> Picture:
        """Return it as another scanner and another angle would show it; `mirrored` allows left for right."""
        # The name of a set in which left and right mean something.
        kind = "" if mirrored else "chest_xray"
        pixels, bits = augment(Sample(kind, "", self.pixels, self.bits, frozenset()), rng)
        return replace(self, pixels=pixels, bits=bits) if pixels.min() < pixels.max() else self


def may_mirror(names: Sequence[str]) -> bool:
    """Tell whether a mirrored picture teaches nothing wrong: no class names a side."""
    return not any(sides(name) for name in names)


def require_classes(names: Sequence[str]) -> list[str]:
    """Return the classes in order; raises `LearningError` where they are too many to be learnt at once."""
    if len(names) > MOST_CLASSES:
        raise LearningError(
            f"There are {len(names)} classes with accepted slices, and this learner takes {MOST_CLASSES} at most; "
            "use the learner decoder."
        )
    return sorted(names)


def read_pictures(
    examples: Sequence[Example],
    names: Sequence[str],
    side: int,
    most: int,
    rng: np.random.Generator,
    step: Callable[[float], None],
) -> list[Picture]:
    """Read slices, the best known first.

    Parameters
    ----------
    examples : sequence of Example
        All there are.
    names : sequence of str
        The classes.
    side : int
        Longest side of a picture, in pixels.
    most : int
        As many are read at most; which of equally known ones is left to chance.
    rng : numpy.random.Generator
        Chooses.
    step : callable
        Told the fraction that is done, between any two slices.

    Returns
    -------
    list of Picture
        Without those that have no contrast.

    Raises
    ------
    LearningError
        If a mask is not of the size of its slice.
    """
    mixed = [examples[i] for i in rng.permutation(len(examples))]
    mixed.sort(key=lambda e: -max((TRUST[e.labels[n].provenance] for n in names if n in e.labels), default=0.0))
    found = []
    for number, example in enumerate(mixed[:most]):
        step(number / min(most, len(mixed)))
        try:
            image = example.read()
        except ImageError:
            continue
        require_same_size(example, image)
        if image.pixels.min() < image.pixels.max():
            found.append(_picture(example, image.pixels, names, side))
    return found


def _picture(example: Example, pixels: np.ndarray, names: Sequence[str], side: int) -> Picture:
    shape = pixels.shape[:2]
    scale = min(1.0, side / max(shape))
    size = (max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale)))
    bits = np.zeros(shape, np.uint64)
    trust, whole = np.zeros(len(names), np.float32), np.ones(len(names), bool)
    present = np.full(len(names), np.nan, np.float32)
    for k, name in enumerate(names):
        if name in example.present:
            present[k] = example.present[name]
        label = example.labels.get(name)
        if label is None:
            continue
        trust[k], whole[k] = TRUST[label.provenance], label.provenance != "refused"
        if label.provenance not in ("refused", "automatic"):
            present[k] = label.mask_yx.any()
        bits |= label.mask_yx.astype(np.uint64) << np.uint64(2 * k)
        if label.rejected_yx is not None:
            bits |= label.rejected_yx.astype(np.uint64) << np.uint64(2 * k + 1)
    small = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BILINEAR)
    return Picture(np.asarray(small), _thinned(bits, (size[1], size[0])), trust, whole, present, example.patient)


def _thinned(bits: np.ndarray, shape_yx: tuple[int, int]) -> np.ndarray:
    """Return bit masks at another size: each bit where it covers at least half of a pixel."""
    if bits.shape == shape_yx:
        return bits
    small = np.zeros(shape_yx, np.uint64)
    for k in range(int(bits.max()).bit_length()):
        plane = (bits >> np.uint64(k)) & np.uint64(1)
        if plane.any():
            image = Image.fromarray(plane.astype(np.float32)).resize(shape_yx[::-1], Image.Resampling.BILINEAR)
            small |= (np.asarray(image) >= 0.5).astype(np.uint64) << np.uint64(k)
    return small
