"""The instant learner: a few accepted slices, a few seconds, and the class is proposed on the next slice.

A kernel over the cells of medclipsam-lite's embedding is fitted for each class, so a phrase that the model has never
heard of is answered like any other. What readers refused counts as what it is not. Where the accepted slices themselves
draw one another better than the kernel does, they have their say as exemplars.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from napari_medclipsam.errors import LearningError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.cells import SIDE, cell_features, cell_shares
from napari_medclipsam.learning.contracts import Example, Settings, Watch
from napari_medclipsam.learning.encoded import (
    canvas_label,
    encode,
    lite_base,
    require_lite,
    require_same_size,
    require_slices,
)
from napari_medclipsam.learning.exemplars import Exemplar, resized, votes, working_gray
from napari_medclipsam.learning.kernel import SliceCells, fit_kernel, slice_cells
from napari_medclipsam.learning.mixing import HeldOut, choose_mix
from napari_medclipsam.learning.settings import most_in_host_memory, seeded
from napari_medclipsam.learning.taught import Taught, read_taught, write_taught
from napari_medclipsam.learning.wrapped import WrappedLite
from napari_medclipsam.models.contracts import SaliencyMap
from napari_medclipsam.models.lite.model import LiteModel
from napari_medclipsam.models.lite.preprocess import Fit, from_canvas

#: Of each class, the best trusted first: more cost time and, for a linear kernel, say little new.
MOST_SLICES = 40
#: The features of all its cells.
_SLICE_BYTES = 20 << 20
_SEEING_SHARE = 0.6
_SMOOTH_CELLS = 0.7


@dataclass(frozen=True, eq=False)
class _Seen:
    """A slice that teaches: its cells, which of the canvas they are, itself (None after a refusal), and whose it is."""

    cells: SliceCells
    inside: np.ndarray
    fit: Fit
    exemplar: Exemplar | None
    patient: str


class InstantLearner:
    """See the module."""

    name = "instant"

    def fit(
        self,
        examples: Sequence[Example],
        parent: Path | None,
        folder: Path,
        settings: Settings,
        watch: Watch,
    ) -> Mapping[str, Any]:
        """Learn; see `contracts.Learner.fit`. Classes of the parent that are not among the examples are kept."""
        require_slices(examples, 1)
        return self.learn(lite_base(settings.base, settings.device), examples, parent, folder, settings, watch)

    def learn(
        self,
        base: LiteModel,
        examples: Sequence[Example],
        parent: Path | None,
        folder: Path,
        settings: Settings,
        watch: Watch,
    ) -> Mapping[str, Any]:
        """Learn with a base model that is loaded already; else as `fit`."""
        started = time.monotonic()
        classes = require_slices(examples, 1)
        rng = np.random.default_rng(settings.seed)
        taught = {} if parent is None else {one.name: one for one in read_taught(parent)}
        losses, fit_s = {}, 0.0
        for number, (name, known) in enumerate(classes.items()):
            share = (number / len(classes), 1 / len(classes))
            chosen = _most_telling(known, name, rng, most_in_host_memory(settings, MOST_SLICES, _SLICE_BYTES))
            seen = _seen(base, name, chosen, _Teller(watch, share, 0.0, _SEEING_SHARE))
            before = time.monotonic()
            step = _Teller(watch, share, _SEEING_SHARE, 1 - _SEEING_SHARE)
            with seeded(settings):
                taught[name] = _fitted(name, tuple(settings.phrases.get(name, ())), seen, rng, step)
            fit_s += time.monotonic() - before
            losses[name] = step.loss
        write_taught(folder, taught.values())
        watch.step(1.0)
        return {
            "classes": sorted(taught),
            "learnt": {name: len(known) for name, known in classes.items()},
            "losses": losses,
            "exemplars": {name: one.mix.weight if one.mix else 0.0 for name, one in taught.items()},
            "seconds": round(time.monotonic() - started, 3),
            "seconds_fit": round(fit_s, 3),
        }

    def load(self, folder: Path, base: Any, device: str) -> InstantModel:
        """Return the fitted model; see `contracts.Learner.load`."""
        return InstantModel(require_lite(base), read_taught(folder))


class InstantModel(WrappedLite):
    """medclipsam-lite that also answers for the classes it was taught.

    Parameters
    ----------
    base : LiteModel
        Answers everything else.
    taught : iterable of Taught
        The classes.
    """

    def __init__(self, base: LiteModel, taught: Iterable[Taught]) -> None:
        super().__init__(base)
        self.taught = tuple(taught)

    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        """Say where a phrase is seen: that of a taught class by its kernel, any other as the base does."""
        taught = self._taught(text)
        if taught is None:
            return self.base.saliency(image, text)
        map_yx, presence, _ = self._answer(image, taught)
        own = taught.mix is not None and taught.mix.draws(image.shape_yx)
        found = SaliencyMap(map_yx, text, presence, presence >= 0.5, nearest_phrase=taught.name, is_outline=own)
        return replace(found, knows_ct=self.knows_ct)

    def find_similar(self, slices: Iterable[tuple[int, Slice]], text: str) -> Iterator[tuple[int, float]]:
        """Yield (slice index, score) as slices come; the highest are most like those that taught the class.

        Raises
        ------
        LearningError
            If no class of this name was taught.
        """
        taught = self._taught(text)
        if taught is None:
            known = ", ".join(one.name for one in self.taught)
            raise LearningError(f'"{text}" was not taught; there are: {known}. Accept a slice of it and learn again.')
        for index, image in slices:
            if image.pixels.min() < image.pixels.max():
                yield index, self._answer(image, taught)[2]

    def _taught(self, text: str) -> Taught | None:
        return next((one for one in self.taught if one.answers(text)), None)

    def _answer(self, image: Slice, taught: Taught) -> tuple[np.ndarray, float, float]:
        """The map at image size, presence, and the score of the slice."""
        features, inside = cell_features(self.base, self.base.embed(image), taught.name)
        logits = taught.kernel.logits(features)
        fit = Fit.of(image.shape_yx)
        map_yx = _kernel_map(logits, inside, fit)
        score = taught.kernel.score(logits)
        if taught.mix is None:
            return map_yx, taught.kernel.verdict.presence(score), score
        voted = votes(working_gray(image), taught.mix.exemplars)
        map_yx = taught.mix.mixed(map_yx, resized(voted, image.shape_yx))
        return map_yx, taught.mix.presence(map_yx), score


def _kernel_map(logits: np.ndarray, inside: np.ndarray, fit: Fit) -> np.ndarray:
    """Return the cells' logits as a map in [0, 1] of the size that `fit` says."""
    planes = np.full((SIDE, SIDE), logits.min(), np.float32)
    planes[inside] = logits
    smooth = ndimage.gaussian_filter(planes, _SMOOTH_CELLS)
    return np.clip(from_canvas(1 / (1 + np.exp(-np.clip(smooth, -30, 30))), fit), 0.0, 1.0)


def _on_grid(fit: Fit, gray: np.ndarray) -> Fit:
    """Return a fit that leads to the working grid instead of the image."""
    return replace(fit, shape_yx=(gray.shape[0], gray.shape[1]))


class _Teller:
    """Tells a watch of a part of the work; remembers the last loss."""

    def __init__(self, watch: Watch, share: tuple[float, float], start: float, size: float) -> None:
        self._watch, self._start, self._size = watch, share[0] + share[1] * start, share[1] * size
        self.loss = 0.0

    def __call__(self, fraction: float, loss: float | None = None) -> None:
        at = self._start + self._size * fraction
        if loss is None:
            self._watch.step(at)
        else:
            self.loss = round(loss, 5)
            self._watch.step(at, loss=loss)


def _most_telling(examples: list[Example], name: str, rng: np.random.Generator, most: int) -> list[Example]:
    """Return at most `most`: half of them, if there are so many, show the structure."""
    mixed = [examples[i] for i in rng.permutation(len(examples))]
    order = ("drawn", "accepted", "refused", "propagated", "automatic")
    mixed.sort(key=lambda e: order.index(e.labels[name].provenance))
    there = [e for e in mixed if e.labels[name].mask_yx.any()]
    others = [e for e in mixed if not e.labels[name].mask_yx.any()]
    half = max(most - most // 2, most - len(others))
    return there[:half] + others[: most - min(len(there), half)]


def _fitted(name: str, phrases: tuple[str, ...], seen: list[_Seen], rng: np.random.Generator, step: _Teller) -> Taught:
    """Fit the kernel, and choose what the exemplars have to say beside it."""
    cells, patients = [one.cells for one in seen], [one.patient for one in seen]
    kernel, held_out = fit_kernel(cells, patients, rng, lambda at, loss: step(0.6 * at, loss))
    slices = [
        HeldOut(one.exemplar, _kernel_map(logits, one.inside, _on_grid(one.fit, one.exemplar.gray)), one.patient)
        for one, logits in zip(seen, held_out, strict=True)
        if one.exemplar is not None
    ]
    return Taught(name, phrases, kernel, choose_mix(slices, lambda at: step(0.6 + 0.4 * at)))


def _seen(base: LiteModel, name: str, examples: list[Example], step: Callable[[float], None]) -> list[_Seen]:
    found = []
    for number, example in enumerate(examples):
        image = example.read()
        require_same_size(example, image)
        embedding = encode(base, image, lambda n=number: step(n / len(examples)))  # type: ignore[misc]
        step((number + 1) / len(examples))
        if embedding is None:
            continue
        features, inside = cell_features(base, embedding, name)
        label = canvas_label(example, name)
        shares = cell_shares(label.mask)[inside]
        rejected = None if label.rejected is None else cell_shares(label.rejected)[inside]
        known = slice_cells(features, shares, rejected, label.trust, is_refusal=label.is_refusal)
        exemplar = None if label.is_refusal else Exemplar.of(image, example.labels[name].mask_yx, label.trust)
        found.append(_Seen(known, inside, Fit.of(image.shape_yx), exemplar, example.patient))
    if not any(one.cells.is_empty is False for one in found):
        raise LearningError(
            f"Every slice with a mask of {name} has no contrast, or the mask is smaller than a pixel of 256; "
            "accept a slice that shows it."
        )
    return found
