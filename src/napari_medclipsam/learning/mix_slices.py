"""Slices as SAM-Mix learns from them: each in a few views, encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.clock import WORK_CLOCK
from napari_medclipsam.learning.contracts import LearningCancelled
from napari_medclipsam.learning.lite_augment import restyled
from napari_medclipsam.learning.mix_backbone import Stem
from napari_medclipsam.learning.pictures import Picture
from napari_medclipsam.models.embedding_cache import EmbeddingCache, embedding_key
from napari_medclipsam.models.lite.compiled import GaveWayError

#: Views of a slice with masks: as it is, and as other scanners and angles would show it.
LABELLED_VIEWS = 4
MOST_LABELLED = 100
MOST_UNLABELLED = 200


@dataclass(frozen=True, eq=False)
class MixSlice:
    """A slice in some views.

    Parameters
    ----------
    picture : Picture
        The first view, and what is known of the slice.
    stems : list of torch.Tensor
        float16, what a `Stem` makes of each view.
    masks : numpy.ndarray
        float32 (views, classes, side, side), shares of what is drawn; of a slice without masks, zeros of one view: its
        second one has the same geometry.
    """

    picture: Picture
    stems: list[torch.Tensor]
    masks: np.ndarray

    @property
    def is_labelled(self) -> bool:
        """Whether a mask, be it empty, is known."""
        return bool((self.picture.trust * self.picture.whole).any())


def encoded_slices(
    stem: Stem,
    labelled: Sequence[Picture],
    unlabelled: Sequence[Picture],
    side: int,
    seed: int,
    mirrored: bool,
    folder: Path,
    step: Callable[[float], None],
    until: float,
) -> list[MixSlice]:
    """Encode slices: first each with masks, then those without and more views of the first, by turns.

    Parameters
    ----------
    stem : Stem
        Encodes.
    labelled, unlabelled : sequence of Picture
        With and without masks.
    side : int
        Of the masks' square.
    seed : int
        Of the views.
    mirrored : bool
        Whether left may stand for right.
    folder : pathlib.Path
        Encoded views are kept there: a fit that was killed finds them again.
    step : callable
        Told the fraction that is done.
    until : float
        On `WORK_CLOCK`: from then on no more is encoded than each slice with masks once.
    """
    cache = EmbeddingCache(folder, memory_bytes=0)
    found: dict[int, list[tuple[np.ndarray, Picture]]] = {}
    pictures = [*labelled, *unlabelled]
    order = list(_order(len(labelled), len(unlabelled)))
    began = WORK_CLOCK.seconds()
    for number, (place, view) in enumerate(order):
        if number >= len(labelled) and WORK_CLOCK.seconds() > until:
            break
        by_time = (WORK_CLOCK.seconds() - began) / max(1e-3, until - began)
        fraction = min(1.0, max(number / len(order), by_time))
        rng = np.random.default_rng([seed, place, view])
        seen = _view(pictures[place], view, place < len(labelled), rng, mirrored)
        image = Slice(np.ascontiguousarray(seen.pixels))

        def encode(image: Slice = image, fraction: float = fraction) -> np.ndarray:
            return _encode(stem, image, lambda: step(fraction))

        step(fraction)
        kept = cache.get_or_compute(embedding_key(image, stem.key, "mix"), encode)
        found.setdefault(place, []).append((kept, seen))
    return [_slice(stem, views, side) for place, views in found.items() if place < len(labelled) or len(views) > 1]


def _order(n_labelled: int, n_unlabelled: int) -> Iterator[tuple[int, int]]:
    """Yield (slice, view)."""
    yield from ((place, 0) for place in range(n_labelled))
    more = [(place, view) for view in range(1, LABELLED_VIEWS) for place in range(n_labelled)]
    for number in range(max(len(more), n_unlabelled)):
        if number < n_unlabelled:
            yield from ((n_labelled + number, view) for view in (0, 1))
        if number < len(more):
            yield more[number]


def _view(picture: Picture, view: int, is_labelled: bool, rng: np.random.Generator, mirrored: bool) -> Picture:
    if view == 0:
        return picture
    if is_labelled:
        return picture.changed(rng, mirrored)
    pixels = restyled(picture.pixels, rng)
    return replace(picture, pixels=pixels) if pixels.min() < pixels.max() else picture


def _slice(stem: Stem, views: Sequence[tuple[np.ndarray, Picture]], side: int) -> MixSlice:
    first = views[0][1]
    inner = stem.fit((first.bits.shape[0], first.bits.shape[1])).inner_yx
    is_labelled = bool((first.trust * first.whole).any())
    masks = np.stack([seen.masks(side, inner_yx=inner) for _, seen in (views if is_labelled else views[:1])])
    return MixSlice(first, [torch.from_numpy(kept).half() for kept, _ in views], masks)


def _encode(stem: Stem, image: Slice, step: Callable[[], None]) -> np.ndarray:
    """Encode a slice, asking `step` meanwhile."""
    ended: list[LearningCancelled] = []

    def cancelled() -> bool:
        try:
            step()
        except LearningCancelled as error:
            # Raised from here it would leave the encoder at work.
            ended.append(error)
        return bool(ended)

    try:
        return stem(image, cancelled)
    except GaveWayError:
        raise ended[0] from None
