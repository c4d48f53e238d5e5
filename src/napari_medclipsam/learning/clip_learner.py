"""The learner `clip`: fine-tunes a text-image encoder on image-caption pairs, in full or by LoRA.

The loss compares every pair of a batch with every other one, so a batch can't be made of small ones by adding up their
gradients: the negatives would be missing. Where it does not fit into memory it is seen twice, a few pairs at a time:
first without gradients, for the vectors and the loss of the whole batch, then again, each vector passing its gradient
on (GradCache, Gao et al. 2021). The sum is the gradient of the whole batch at once.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.answering import damaged, weights_path
from napari_medclipsam.learning.captions import CaptionedImage
from napari_medclipsam.learning.checkpoint import remove_checkpoint
from napari_medclipsam.learning.clip_losses import contrastive_loss
from napari_medclipsam.learning.clip_network import ClipNetwork, merged, pair_bytes, trainable
from napari_medclipsam.learning.clip_pairs import Prepared, prepared
from napari_medclipsam.learning.clip_request import ClipTraining, Way
from napari_medclipsam.learning.contracts import Settings, Watch
from napari_medclipsam.learning.extras import require_packages
from napari_medclipsam.learning.fitting import Plan, fit
from napari_medclipsam.learning.settings import most_at_once
from napari_medclipsam.learning.tensors import save_tensors
from napari_medclipsam.models.clip import OpenClipEncoder

_READING_SHARE = 0.05


class ClipLearner:
    """See the module."""

    name = "clip"

    def fit(
        self,
        base: OpenClipEncoder,
        pairs: Sequence[CaptionedImage],
        training: ClipTraining,
        folder: Path,
        settings: Settings,
        watch: Watch,
    ) -> Mapping[str, Any]:
        """Learn, beginning at the base, and write the model; goes on from a checkpoint in `folder`.

        Parameters
        ----------
        base : OpenClipEncoder
            Is left as it is.
        pairs : sequence of CaptionedImage
            All are for learning.
        training : ClipTraining
            How.
        folder, settings, watch
            As for `contracts.Learner.fit`.

        Raises
        ------
        LearningError
            If fewer than two captions differ, the encoder lacks what LoRA needs, or the memory is too small for a pair.
        LearningCancelled
            If the watch says so; a checkpoint is written before.
        """
        require_packages(self.name, "lightning_fabric", *(("peft",) if training.way == "lora" else ()))
        if settings.n_devices != 1:
            raise LearningError("The learner clip compares all pairs of a batch on one device; leave --devices at 1.")
        began = time.monotonic()
        torch.manual_seed(settings.seed)
        network = trainable(base, training.way)
        ready = prepared(base, pairs, lambda part: watch.step(_READING_SHARE * part))
        n_topics = len(set(ready.topics))
        if n_topics < 2:
            raise LearningError(
                f"Pairs are learnt by comparing each with others, and only {n_topics} different captions are left to "
                "learn from, without those that are held out. Add pairs of other patients."
            )
        batch = min(training.batch, n_topics)
        task = ClipTask(network, ready, training)
        n_steps = training.epochs * ceil(len(ready) / batch)
        left = max(1.0, settings.budget.seconds - (time.monotonic() - began))
        images, tokens = ready.some(range(2))
        at_once = most_at_once(settings, batch, pair_bytes(network, images, tokens))
        signature = f"clip {base.name} {settings.seed} {asdict(training)} {ready.mark}"
        plan = Plan(settings, left, batch, at_once, n_steps, 1, training.rate, signature)
        fitted = fit(task, plan, folder, watch, _READING_SHARE)
        save_tensors(weights_path(folder, self.name), fitted.snapshots[-1], {"way": training.way})
        remove_checkpoint(folder)
        figures = {"pairs": len(ready), "captions": n_topics, "batch": batch, "asked_batch": training.batch}
        return {
            **fitted.figures,
            **figures,
            "cut": ready.n_cut,
            "unreadable": list(ready.unreadable),
            "seconds": round(time.monotonic() - began, 1),
        }

    def load(self, folder: Path, base: OpenClipEncoder, device: str) -> OpenClipEncoder:
        """Return the fine-tuned encoder; see `contracts.Learner.load`."""
        way, weights = _stored(folder, self.name)
        if way == "lora":
            require_packages(self.name, "peft")
        network = trainable(base, way)
        if {name for name, value in network.named_parameters() if value.requires_grad} != set(weights):
            raise damaged(folder)
        try:
            network.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            raise damaged(folder) from error
        clip = merged(network) if way == "lora" else network.clip.eval().requires_grad_(False)
        return base.with_network(clip.to(device))


def _stored(folder: Path, learner: str) -> tuple[Way, dict[str, torch.Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(weights_path(folder, learner)), "pt") as file:
            way = (file.metadata() or {})["way"]
            if way not in ("full", "lora"):
                raise damaged(folder)
            return way, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, KeyError, SafetensorError) as error:
        raise damaged(folder) from error


@dataclass(frozen=True, eq=False)
class ClipTask:
    """See `fitting.Task`."""

    start: ClipNetwork
    ready: Prepared
    training: ClipTraining
    uneven = False

    def network(self) -> torch.nn.Module:
        """Return the network to begin with."""
        return copy.deepcopy(self.start)

    def loss(self, network: torch.nn.Module, n: int, rng: np.random.Generator, progress: float) -> torch.Tensor:
        """Return the loss of one batch, all of it at once."""
        images, tokens = self._moved(network, self.ready.drawn(n, rng))
        return self._loss(*network(images, tokens))

    def gradients(
        self,
        network: torch.nn.Module,
        n: int,
        at_once: int,
        rng: np.random.Generator,
        backward: Callable[[torch.Tensor], None],
        between: Callable[[], None],
    ) -> float:
        """Add the gradients of a batch of `n`, with `at_once` pairs in memory, and return its loss."""
        if at_once >= n:
            loss = self.loss(network, n, rng, 0.0)
            backward(loss)
            return float(loss.detach())
        drawn = self.ready.drawn(n, rng)
        parts = [drawn[first : first + at_once] for first in range(0, n, at_once)]
        with torch.no_grad():
            found = []
            for part in parts:
                found.append(network(*self._moved(network, part)))
                between()
        vectors = [torch.cat(side).detach().requires_grad_() for side in zip(*found, strict=True)]
        loss = self._loss(vectors[0], vectors[1])
        wanted = torch.autograd.grad(loss, vectors)
        for number, part in enumerate(parts):
            rows = slice(number * at_once, number * at_once + len(part))
            images, texts = network(*self._moved(network, part))
            # Its gradient with respect to a vector is the one that the loss of the whole batch has.
            backward((images * wanted[0][rows]).sum() + (texts * wanted[1][rows]).sum())
            between()
        return float(loss.detach())

    def _loss(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        return contrastive_loss(images, texts, self.training.loss, self.training.contrast)

    def _moved(self, network: torch.nn.Module, which: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        device = next(network.parameters()).device
        images, tokens = self.ready.some(which)
        return images.to(device), tokens.to(device)
