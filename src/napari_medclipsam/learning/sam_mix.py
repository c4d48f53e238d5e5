"""The SAM-Mix learner: a few slices with masks, and of the others only which classes are in them, or nothing."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_medclipsam.errors import LearningError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.answering import ClassAnswerer, damaged, read_model, weights_path, write_model
from napari_medclipsam.learning.checkpoint import remove_checkpoint
from napari_medclipsam.learning.clock import WORK_CLOCK
from napari_medclipsam.learning.contracts import Example, Settings, Watch
from napari_medclipsam.learning.encoded import require_slices
from napari_medclipsam.learning.extras import require_packages
from napari_medclipsam.learning.fitting import Plan, fit
from napari_medclipsam.learning.mix_backbone import Backbone, Stem, backbone_of
from napari_medclipsam.learning.mix_network import MixNetwork, cam_boxes, class_loss, map_loss, outline_loss, pooled
from napari_medclipsam.learning.mix_slices import MOST_LABELLED, MOST_UNLABELLED, MixSlice, encoded_slices
from napari_medclipsam.learning.pictures import Picture, may_mirror, read_pictures, require_classes
from napari_medclipsam.learning.settings import most_at_once
from napari_medclipsam.learning.tensors import save_tensors
from napari_medclipsam.models.lite.preprocess import CANVAS, from_canvas
from napari_medclipsam.prompting.from_saliency import box_with_margin

LEAST_SLICES = 1

_RATE = 1e-3
_MOST_STEPS = {"cpu": 1500, "cuda": 5000}
_BATCH = {"cpu": 2, "cuda": 8}
#: Until then the classifier learns alone, from embeddings that are computed once: an outline in a wrong box teaches
#: nothing, and on a CPU twenty such steps take the time of one with the encoder.
_ALONE_UNTIL = 0.35
_MOST_EMBEDDED = 400
_READING_SHARE, _ENCODING_SHARE = 0.05, 0.35
_LABELLED_SHARE = 0.6
#: A box drawn by hand is off by so much of its own size.
_BOX_SHAKE = 0.1
#: What a slice without masks is taught by itself: where the first view is sure, from this progress on in full.
_SURE = 0.3
_FULL_AT = 0.6
_SEEN = 0.8
_MOST_BOXES = 4


class SamMixLearner:
    """See the module and `mix_network`."""

    name = "sam-mix"
    unaccepted = True

    def fit(
        self,
        examples: Sequence[Example],
        parent: Path | None,
        folder: Path,
        settings: Settings,
        watch: Watch,
    ) -> Mapping[str, Any]:
        """Learn; see `contracts.Learner.fit`. It begins at the base model: a parent may have other classes."""
        require_packages(self.name, "peft", "lightning_fabric")
        require_slices(examples, LEAST_SLICES)
        from napari_medclipsam.models.registry import load

        return self.learn(load(settings.base, settings.device), examples, folder, settings, watch)

    def learn(
        self, base: Any, examples: Sequence[Example], folder: Path, settings: Settings, watch: Watch
    ) -> Mapping[str, Any]:
        """Learn with a base model that is loaded already; else as `fit`."""
        require_packages(self.name, "peft", "lightning_fabric")
        began = WORK_CLOCK.seconds()
        names = require_classes(list(require_slices(examples, LEAST_SLICES)))
        torch.manual_seed(settings.seed)
        stem, backbone = backbone_of(base, settings.device)
        slices = self._slices(stem, backbone, names, examples, folder, settings, watch, began)
        kind = "cpu" if settings.device == "cpu" else "cuda"
        batch = _BATCH[kind]
        signature = f"sam-mix {getattr(base, 'name', '')} {settings.seed} {names}"
        left = max(1.0, settings.budget.seconds - (WORK_CLOCK.seconds() - began))
        at_once = most_at_once(settings, batch, backbone.slice_bytes)
        plan = Plan(settings, left, batch, at_once, _MOST_STEPS[kind], 1, _RATE, signature)
        task = MixTask(MixNetwork(backbone, len(names)).eval(), slices)
        fitted = fit(task, plan, folder, watch, _ENCODING_SHARE)
        classes = {name: list(settings.phrases.get(name, ())) for name in names}
        save_tensors(weights_path(folder, self.name), fitted.snapshots[-1])
        write_model(folder, self.name, classes)
        remove_checkpoint(folder)
        shutil.rmtree(_stems(folder), ignore_errors=True)
        n_labelled = sum(one.is_labelled for one in slices)
        figures = {"labelled": n_labelled, "unlabelled": len(slices) - n_labelled}
        return {**fitted.figures, **figures, "classes": names, "seconds": round(WORK_CLOCK.seconds() - began, 1)}

    def _slices(
        self,
        stem: Stem,
        backbone: Backbone,
        names: Sequence[str],
        examples: Sequence[Example],
        folder: Path,
        settings: Settings,
        watch: Watch,
        began: float,
    ) -> list[MixSlice]:
        """Read and encode; at most a third of the budget goes into it, but for slices with masks."""
        known = [e for e in examples if any(n in e.labels and e.labels[n].provenance not in _GUESSED for n in names)]
        labelled = _read(known, names, stem, MOST_LABELLED, settings, watch)
        others = [e for e in examples if e not in known]
        unlabelled = _read(_without_masks(others), names, stem, MOST_UNLABELLED, settings, watch)
        if not any(one.bits.any() for one in labelled):
            raise LearningError("Every slice with a mask has no contrast, or its mask is too small to be seen.")
        until = float("inf") if settings.deterministic else began + _ENCODING_SHARE * settings.budget.seconds
        return encoded_slices(
            stem,
            labelled,
            unlabelled,
            backbone.side,
            settings.seed,
            may_mirror(names),
            _stems(folder),
            lambda part: watch.step(_READING_SHARE + (_ENCODING_SHARE - _READING_SHARE) * part),
            until,
        )

    def load(self, folder: Path, base: Any, device: str) -> SamMixModel:
        """Return the fitted model; see `contracts.Learner.load`."""
        require_packages(self.name, "peft")
        document, weights = read_model(folder, self.name)
        stem, backbone = backbone_of(base, device)
        network = MixNetwork(backbone, len(document["classes"]))
        trained = {name for name, value in network.named_parameters() if value.requires_grad}
        if trained != set(weights):
            raise damaged(folder)
        try:
            network.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            raise damaged(folder) from error
        return SamMixModel(base, document["classes"], stem, network.eval().requires_grad_(False).to(device))


_GUESSED = ("automatic", "refused")


def _without_masks(examples: Sequence[Example]) -> list[Example]:
    """Return slices of which no mask is trusted, without the guesses at one."""
    return [Example(e.case, e.position, e.patient, e.read, {}, e.present) for e in examples]


def _read(
    examples: Sequence[Example], names: Sequence[str], stem: Stem, most: int, settings: Settings, watch: Watch
) -> list[Picture]:
    rng = np.random.default_rng(settings.seed)
    return read_pictures(
        examples, names, stem.picture_side, most, rng, lambda part: watch.step(_READING_SHARE * part / 2)
    )


def _stems(folder: Path) -> Path:
    return folder / "checkpoint-slices"


@dataclass(frozen=True, eq=False)
class _Drawn:
    """One slice of a batch: a view of it, the class to outline, a box (None: from Grad-CAM), its masks."""

    one: MixSlice
    view: int
    place: int
    box: tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class MixTask:
    """See `fitting.Task`."""

    start: MixNetwork
    slices: list[MixSlice]
    uneven = True
    _embedded: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)

    def network(self) -> torch.nn.Module:
        """Return a copy of the network to begin with."""
        return copy.deepcopy(self.start)

    def loss(self, network: torch.nn.Module, n: int, rng: np.random.Generator, progress: float) -> torch.Tensor:
        """Return focal loss of the classes, plus that of outlines: drawn ones, or those of the slice's other view."""
        drawn = [self._drawn(rng) for _ in range(n)]
        device = next(network.parameters()).device
        if progress < _ALONE_UNTIL:
            maps = network(self._embeddings(network, drawn, device), are_embedded=True)[0]
            return self._class_losses(maps, drawn)
        places, boxes = [d.place for d in drawn], [d.box for d in drawn]
        weights = np.array([1.0 if d.one.is_labelled else 0.0 for d in drawn])
        masks = np.stack([d.one.masks[d.view if d.one.is_labelled else 0][d.place] for d in drawn])
        sure = np.ones_like(masks)
        for number, d in enumerate(drawn):
            if not d.one.is_labelled:
                guess = self._taught(network, d, device)
                if guess is not None:
                    places[number], masks[number], sure[number] = guess
                    weights[number] = min(1.0, (progress - _ALONE_UNTIL) / (_FULL_AT - _ALONE_UNTIL))
            elif not masks[number].any():
                weights[number] = 0.0
        stems = torch.stack([d.one.stems[d.view] for d in drawn]).to(device).float()
        maps, logits = network(stems, places, boxes)
        outlines = outline_loss(logits, torch.from_numpy(masks).to(device), torch.from_numpy(sure).to(device))
        total: torch.Tensor = (outlines * torch.from_numpy(weights).to(device).float()).mean()
        return total + self._class_losses(maps, drawn)

    def _embeddings(self, network: torch.nn.Module, drawn: Sequence[_Drawn], device: torch.device) -> torch.Tensor:
        """Return what the encoder makes of slices before it is trained; the first ones are remembered."""
        found = []
        for d in drawn:
            key = (id(d.one), d.view)
            embedding = self._embedded.get(key)
            if embedding is None:
                with torch.no_grad():
                    embedding = _bare(network).backbone.embed(d.one.stems[d.view][None].to(device).float())[0].half()
                if len(self._embedded) < _MOST_EMBEDDED:
                    self._embedded[key] = embedding
            found.append(embedding)
        return torch.stack(found).float()

    def _class_losses(self, maps: torch.Tensor, drawn: Sequence[_Drawn]) -> torch.Tensor:
        """Focal loss of what is in the slices; where masks are known, Grad-CAM learns from them too.

        Of a class that is in every slice the labels alone say nothing.
        """
        present = torch.from_numpy(np.stack([d.one.picture.present for d in drawn])).to(maps.device)
        grid = maps.shape[-1]
        known = torch.from_numpy(np.stack([d.one.picture.trust * d.one.picture.whole for d in drawn])).to(maps.device)
        shares = [
            _shrunk(d.one.masks[d.view], grid) if d.one.is_labelled else np.zeros(maps.shape[1:], np.float32)
            for d in drawn
        ]
        losses = map_loss(maps, torch.from_numpy(np.stack(shares)).to(maps.device))
        return class_loss(maps, present) + (losses * known).sum() / known.sum().clamp(min=1e-3) / 2

    def _drawn(self, rng: np.random.Generator) -> _Drawn:
        labelled = [one for one in self.slices if one.is_labelled]
        others = [one for one in self.slices if not one.is_labelled]
        if others and rng.random() > _LABELLED_SHARE:
            one = others[int(rng.integers(len(others)))]
            return _Drawn(one, 1, 0, None)
        one = labelled[int(rng.integers(len(labelled)))]
        view = int(rng.integers(len(one.stems)))
        there = np.flatnonzero(one.masks[view].any((1, 2)))
        place = int(rng.choice(there)) if len(there) else 0
        by_hand = len(there) and rng.random() < 0.5
        return _Drawn(one, view, place, _shaken_box(one.masks[view][place], rng) if by_hand else None)

    @torch.no_grad()
    def _taught(
        self, network: torch.nn.Module, drawn: _Drawn, device: torch.device
    ) -> tuple[int, np.ndarray, np.ndarray] | None:
        """Return class, outline and sure pixels of the plain view; None where nothing is there for sure."""
        stems = drawn.one.stems[0][None].to(device).float()
        bare = _bare(network)
        embeddings = bare.backbone.embed(stems)
        maps = bare.head(embeddings)
        present = drawn.one.picture.present
        seen = pooled(maps)[0].sigmoid().cpu().numpy()
        seen = np.where(np.isnan(present), np.where(seen > _SEEN, seen, 0), np.where(present > 0, 1 + seen, 0))
        place = int(seen.argmax())
        if seen[place] == 0:
            return None
        box = cam_boxes(maps[0, place].float().sigmoid().cpu().numpy(), 1)
        logits = bare.backbone.decode(embeddings, torch.tensor(box, dtype=torch.float32, device=device))
        guess = logits[0].float().sigmoid().cpu().numpy()
        return place, (guess > 0.5).astype(np.float32), (abs(guess - 0.5) > _SURE).astype(np.float32)


def _bare(network: Any) -> Any:
    """Return the network itself, out of the wrappers of Fabric and of several processes."""
    while hasattr(network, "module"):
        network = network.module
    return network


def _shrunk(masks: np.ndarray, grid: int) -> np.ndarray:
    step = masks.shape[-1] // grid
    return np.asarray(masks.reshape(len(masks), grid, step, grid, step).mean((2, 4)), np.float32)


def _shaken_box(mask: np.ndarray, rng: np.random.Generator) -> tuple[float, ...]:
    """Return the box of a mask, off by as much as one drawn by hand, in pixels of a canvas of 256."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    step = CANVAS / mask.shape[0]
    x0, y0 = columns[0] * step, rows[0] * step
    x1, y1 = (columns[-1] + 1) * step - 1, (rows[-1] + 1) * step - 1
    size = np.array([x1 - x0, y1 - y0] * 2)
    corners = np.array([x0, y0, x1, y1]) + rng.normal(0, _BOX_SHAKE / 2, 4) * size
    shaken = (*np.minimum(corners[:2], corners[2:]), *np.maximum(corners[:2], corners[2:]))
    return box_with_margin(shaken, (CANVAS, CANVAS), 0.0)


class SamMixModel(ClassAnswerer):
    """Grad-CAM, boxes around it, and an outline in each.

    Parameters
    ----------
    base, classes
        As `ClassAnswerer`.
    stem : Stem
        The frozen part.
    network : MixNetwork
        On its device.
    """

    def __init__(self, base: Any, classes: Mapping[str, Sequence[str]], stem: Stem, network: MixNetwork) -> None:
        super().__init__(base, classes)
        self._stem, self._network = stem, network
        self._last: tuple[Slice | None, Any] = (None, None)

    def _seen(self, image: Slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Embedding and maps of a slice; the last one is remembered, as classes come in rows."""
        if self._last[0] is not image:
            device = next(self._network.parameters()).device
            stems = torch.from_numpy(self._stem(image))[None].to(device)
            embeddings = self._network.backbone.embed(stems)
            self._last = (image, (embeddings, self._network.head(embeddings)))
        seen: tuple[torch.Tensor, torch.Tensor] = self._last[1]
        return seen

    @torch.inference_mode()
    def _answer(self, image: Slice, place: int) -> tuple[np.ndarray, float]:
        embeddings, maps = self._seen(image)
        presence = float(pooled(maps)[0, place].sigmoid())
        boxes = cam_boxes(maps[0, place].sigmoid().cpu().numpy(), _MOST_BOXES)
        corners = torch.tensor(boxes, dtype=torch.float32, device=maps.device)
        logits = self._network.backbone.decode(embeddings.expand(len(boxes), -1, -1, -1), corners)
        values = logits.amax(0).sigmoid().cpu().numpy()
        return np.clip(from_canvas(values, self._stem.fit(image.shape_yx)), 0.0, 1.0), presence
