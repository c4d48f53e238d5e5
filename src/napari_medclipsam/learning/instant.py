"""The instant learner: a few accepted slices, a few seconds, and the class is proposed on the next slice.

A kernel over the cells of medclipsam-lite's embedding is fitted for each class, so a phrase that the model has never
heard of is answered like any other. What readers refused counts as what it is not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from napari_medclipsam.errors import LearningError
from napari_medclipsam.files import atomic_path
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning import cells
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
from napari_medclipsam.learning.kernel import Kernel, SliceCells, fit_kernel, slice_cells
from napari_medclipsam.learning.wrapped import WrappedLite
from napari_medclipsam.models.contracts import SaliencyMap
from napari_medclipsam.models.lite.model import LiteModel
from napari_medclipsam.models.lite.preprocess import Fit, from_canvas

_FORMAT = "medclipsam-instant"
_VERSION = 1
_FILE, _WEIGHTS = "instant.json", "instant.safetensors"
#: Of each class, the best trusted first: more cost time and, for a linear kernel, say little new.
MOST_SLICES = 40
_SEEING_SHARE = 0.6
_SMOOTH_CELLS = 0.7


@dataclass(frozen=True, eq=False)
class Taught:
    """A class that was learnt: its name, the other texts for it, and its kernel."""

    name: str
    phrases: tuple[str, ...]
    kernel: Kernel

    def answers(self, text: str) -> bool:
        """Tell whether a text asks for it; capitals and spaces do not matter."""
        return _plain(text) in {_plain(phrase) for phrase in (self.name, *self.phrases)}


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
            seen = _seen_cells(base, name, _most_telling(known, name, rng), _Teller(watch, share, 0.0, _SEEING_SHARE))
            before = time.monotonic()
            step = _Teller(watch, share, _SEEING_SHARE, 1 - _SEEING_SHARE)
            kernel = fit_kernel(seen, rng, step)
            fit_s += time.monotonic() - before
            taught[name] = Taught(name, tuple(settings.phrases.get(name, ())), kernel)
            losses[name] = step.loss
        write_taught(folder, taught.values())
        watch.step(1.0)
        return {
            "classes": sorted(taught),
            "learnt": {name: len(known) for name, known in classes.items()},
            "losses": losses,
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
        logits_yx, score = self._answer(image, taught)
        values = 1 / (1 + np.exp(-np.clip(logits_yx, -30, 30)))
        map_yx = np.clip(from_canvas(values, Fit.of(image.shape_yx)), 0.0, 1.0)
        presence = taught.kernel.presence(score)
        return SaliencyMap(map_yx, text, presence, presence >= 0.5, nearest_phrase=taught.name)

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
                yield index, self._answer(image, taught)[1]

    def _taught(self, text: str) -> Taught | None:
        return next((one for one in self.taught if one.answers(text)), None)

    def _answer(self, image: Slice, taught: Taught) -> tuple[np.ndarray, float]:
        """Logits of the cells, (64, 64), and the score of the slice."""
        features, inside = cell_features(self.base, self.base.embed(image), taught.name)
        logits = taught.kernel.logits(features)
        planes = np.full((SIDE, SIDE), logits.min(), np.float32)
        planes[inside] = logits
        return np.asarray(ndimage.gaussian_filter(planes, _SMOOTH_CELLS)), taught.kernel.score(logits)


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


def _most_telling(examples: list[Example], name: str, rng: np.random.Generator) -> list[Example]:
    """Return at most `MOST_SLICES`: half of them, if there are so many, show the structure."""
    mixed = [examples[i] for i in rng.permutation(len(examples))]
    order = ("drawn", "accepted", "refused", "propagated", "automatic")
    mixed.sort(key=lambda e: order.index(e.labels[name].provenance))
    there = [e for e in mixed if e.labels[name].mask_yx.any()]
    others = [e for e in mixed if not e.labels[name].mask_yx.any()]
    half = max(MOST_SLICES // 2, MOST_SLICES - len(others))
    return there[:half] + others[: MOST_SLICES - min(len(there), half)]


def _seen_cells(base: LiteModel, name: str, examples: list[Example], step: Callable[[float], None]) -> list[SliceCells]:
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
        found.append(slice_cells(features, shares, rejected, label.trust, is_refusal=label.is_refusal))
    if not any(one.is_empty is False for one in found):
        raise LearningError(
            f"Every slice with a mask of {name} has no contrast, or the mask is smaller than a pixel of 256; "
            "accept a slice that shows it."
        )
    return found


def write_taught(folder: Path, taught: Iterable[Taught]) -> None:
    """Write the classes: weights as safetensors, the rest as JSON. The JSON comes last: with it the model is whole.

    Raises
    ------
    OutputError
        If that is not possible, as when the disk is full.
    """
    from safetensors.numpy import save_file

    listed = list(taught)
    with atomic_path(folder / _WEIGHTS) as temporary:
        save_file({str(n): one.kernel.weights for n, one in enumerate(listed)}, temporary)
    rows = []
    for one in listed:
        kernel = {k: v for k, v in asdict(one.kernel).items() if k != "weights"}
        rows.append({"name": one.name, "phrases": list(one.phrases), **kernel})
    document = {"format": _FORMAT, "version": _VERSION, "features": cells.VERSION, "classes": rows}
    with atomic_path(folder / _FILE) as temporary:
        temporary.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")


def read_taught(folder: Path) -> list[Taught]:
    """Read the classes.

    Raises
    ------
    LearningError
        If they are damaged, gone, or from another version of this program.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        document = json.loads((folder / _FILE).read_text("utf-8"))
        if document["format"] != _FORMAT or document["version"] != _VERSION or document["features"] != cells.VERSION:
            raise LearningError(
                f"The model in {folder} was learnt by another version of this program; let it learn again."
            )
        tensors = load_file(folder / _WEIGHTS)
        found = []
        for number, row in enumerate(document["classes"]):
            name, phrases = row.pop("name"), tuple(row.pop("phrases"))
            weights = tensors[str(number)]
            if weights.ndim != 1 or not np.isfinite(weights).all():
                raise ValueError("weights that are no numbers")
            found.append(Taught(name, phrases, Kernel(weights, **row)))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise LearningError(f"The model in {folder} is damaged or gone; go back a version, or learn again.") from error
    return found


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
