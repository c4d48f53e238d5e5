"""What is practised: names with the grounding head, clicks with the click decoder; see `practice`."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.learning.encoded import CanvasLabel
from napari_medclipsam.learning.lite_clicks import (
    SMALLEST_OBJECT,
    central_pixel,
    first_turn,
    largest_error,
    play_round,
    some_part,
)
from napari_medclipsam.learning.lite_grounding import grounding_loss
from napari_medclipsam.learning.pictures import may_mirror
from napari_medclipsam.learning.practice_slices import PracticeSlice
from napari_medclipsam.models.lite.clicks import ClickDecoder
from napari_medclipsam.models.lite.few_tokens import CHANNELS, FOLD
from napari_medclipsam.models.lite.grounding import GRID, GroundingHead
from napari_medclipsam.models.lite.preprocess import CANVAS

Told = Callable[[float], None]
"""Is told a loss, or 0, between any two parts of the work; may hold it, or end it by raising."""

_MOST_LOOKED_AT = 12


class Course(ABC):
    """A part of the model, and how it practises.

    Parameters
    ----------
    part : torch.nn.Module
        On its device.
    slices : list of PracticeSlice
        What to learn from; each course says what is done with those that are kept aside.

    Attributes
    ----------
    batch : int
        Slices that are in memory at once.
    most_steps : int
        It ends there, whatever the budget.
    patience : int
        It ends when so many looks in a row were no better.
    kept : dict of str to torch.Tensor
        Of the weights looked at so far, those to keep; see `is_better`.
    """

    most_steps: int
    patience = 1
    batch = 1

    def __init__(self, part: torch.nn.Module, slices: list[PracticeSlice], rate: float) -> None:
        self.part, self._slices = part.eval(), slices
        self.kept = copy.deepcopy(part.state_dict())
        self._device = next(part.parameters()).device
        self._trained = [p for p in part.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(self._trained, rate, weight_decay=0.0)

    @abstractmethod
    def step(self, rng: np.random.Generator, progress: float, tell: Told) -> float:
        """Learn from a few slices, at a progress in [0, 1]; returns the loss."""

    def answers(self, tell: Told) -> Iterator[float]:
        """Yield how well slices that it does not learn from are answered, each in [0, 1]; none by default."""
        yield from ()

    def is_better(self, now: Sequence[float], kept: Sequence[float]) -> bool:
        """Tell by their `answers` if some weights are to be kept instead of others; the newest are by default."""
        return True

    def look(self, tell: Told) -> list[float]:
        """Return the `answers` now."""
        with torch.inference_mode():
            return list(self.answers(tell))

    def taught(self) -> dict[str, torch.Tensor]:
        """Return the weights that come of it."""
        return self.kept

    def _follow(self) -> None:
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad()


class Words(Course):
    """The grounding head is asked for classes by name, where they are and where they are known not to be.

    Only the classes that were learnt are answered by what comes of it, so it may go far from where it began. So that it
    does not learn a few slices by heart, each is seen moved a little and with some of its channels missing. All slices
    teach, and the last weights are kept: few slices are the bottleneck, and the gate judges by others what comes of it.
    """

    _RATE, _AT_ONCE, _PASSES, _MOST = 1e-3, 4, 30, 600
    _MOVED_CELLS, _MISSING = 8, 0.15

    def __init__(self, head: GroundingHead, slices: list[PracticeSlice], vectors: dict[str, np.ndarray]) -> None:
        # What tells the body's regions apart is not to be learnt from a few slices.
        head.region.requires_grad_(False)
        super().__init__(head, slices, self._RATE)
        self._head, self._vectors = head, {n: torch.from_numpy(v).to(self._device) for n, v in vectors.items()}
        self._known = [(s, name) for s in slices for name in s.labels]
        self._mirrored = may_mirror(list(vectors))
        self.most_steps = min(self._MOST, math.ceil(self._PASSES * len(self._known) / self._AT_ONCE))

    def step(self, rng: np.random.Generator, progress: float, tell: Told) -> float:
        """See `Course`; the rate falls along a cosine. Slices go one by one, so that a pause has not long to wait."""
        total = 0.0
        for group in self._optimiser.param_groups:
            group["lr"] = self._RATE * (0.02 + 0.49 * (1 + math.cos(math.pi * min(progress, 1.0))))
        for place in rng.integers(len(self._known), size=self._AT_ONCE):
            one, name = self._known[int(place)]
            label, mirrored = one.labels[name], self._mirrored and bool(rng.random() < 0.5)
            shares = torch.from_numpy(_shares(label.mask))[None, None].to(self._device)
            embedding, _ = pictures([one], self._device)
            if mirrored:
                shares, embedding = shares.flip(-1), embedding.flip(-1)
            embedding, shares = self._changed(embedding, shares, rng)
            logits, presence = self._head(embedding, self._vectors[name][None, None])
            there = (shares.sum((2, 3)) > 0).float()
            loss = label.trust * grounding_loss(logits, presence, shares, there) / self._AT_ONCE
            total += float(loss.detach())
            tell(total)
            loss.backward()
            tell(total)
        self._follow()
        return total

    def _changed(
        self, embedding: torch.Tensor, shares: torch.Tensor, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both moved by up to `_MOVED_CELLS` each way, and the embedding without some channels."""
        down, right = (int(n) for n in rng.integers(-self._MOVED_CELLS, self._MOVED_CELLS + 1, size=2))
        fine = GRID // embedding.shape[-1]
        shares = shares.roll((fine * down, fine * right), (-2, -1))
        kept = (rng.random((1, CHANNELS, 1, 1)) >= self._MISSING).astype(np.float32) / (1 - self._MISSING)
        return embedding.roll((down, right), (-2, -1)) * torch.from_numpy(kept).to(self._device), shares


class Clicks(Course):
    """The click decoder meets the simulated reader that it was trained with.

    With weights pulled back to where they began, and only half of the way gone in the end (Wortsman et al. 2022,
    "Robust fine-tuning of zero-shot models"): clicks on anything else go through it, too. Slices kept aside say which
    weights are kept.
    """

    most_steps, patience = 400, 8
    _RATE, _PULL, _ROUNDS = 2e-4, 5e-4, (1, 2, 2, 3, 3, 5)
    _WAY = 0.5

    def __init__(self, decoder: ClickDecoder, slices: list[PracticeSlice], batch: int) -> None:
        super().__init__(decoder, slices, self._RATE)
        self._decoder, self.batch = decoder, batch
        self._anchor = [p.detach().clone() for p in self._trained]
        self._names = [name for name, p in decoder.named_parameters() if p.requires_grad]
        self._training = [(s, one) for s in slices if not s.is_held for one in s.labels.values() if has_object(one)]

    def step(self, rng: np.random.Generator, progress: float, tell: Told) -> float:
        """See `Course`: a few rounds of clicks."""
        chosen = [self._training[int(i)] for i in rng.integers(len(self._training), size=self.batch)]
        targets = [some_part(label.mask, rng) for _, label in chosen]
        turns = [first_turn(target, rng) for target in targets]
        seen = pictures([s for s, _ in chosen], self._device)
        weights = torch.tensor([label.trust for _, label in chosen], device=self._device)
        loss = 0.0
        for _ in range(int(rng.choice(self._ROUNDS))):
            tell(loss)
            value = play_round(self._decoder, seen, turns, rng, weights)
            loss = float(value.detach())
            tell(loss)
            value.backward()
            self._follow()
        return loss

    def is_better(self, now: Sequence[float], kept: Sequence[float]) -> bool:
        """Keep the best: what clicks are answered by must not get worse."""
        return not now or float(np.mean(now)) > float(np.mean(kept))

    def _follow(self) -> None:
        super()._follow()
        with torch.no_grad():
            for value, anchor in zip(self._trained, self._anchor, strict=True):
                value.lerp_(anchor, self._PULL)

    def taught(self) -> dict[str, torch.Tensor]:
        """See `Course`."""
        half = {k: start.lerp(self.kept[k], self._WAY) for k, start in zip(self._names, self._anchor, strict=True)}
        return self.kept | half

    def _aside(self) -> list[tuple[PracticeSlice, str, CanvasLabel]]:
        """Some of the slices kept aside that show a class, evenly over all."""
        found = [(s, name, one) for s in self._slices if s.is_held for name, one in s.labels.items()]
        found = [one for one in found if has_object(one[2])]
        return found[:: max(1, len(found) // _MOST_LOOKED_AT)][:_MOST_LOOKED_AT]

    def answers(self, tell: Told) -> Iterator[float]:
        """Yield Dice after one and after three clicks."""
        for one, _, label in self._aside():
            seen, target = pictures([one], self._device), label.mask
            points, labels = [central_pixel(target)], [1]
            mask = torch.full((1, 1, CANVAS, CANVAS), float("nan"), device=self._device)
            for clicks in (1, 2, 3):
                tell(0.0)
                prompts = (torch.tensor([points], device=self._device), torch.tensor([labels], device=self._device))
                logits = self._decoder(*seen, *prompts, mask)[0]
                drawn = (logits[0] > 0).cpu().numpy()
                if clicks != 2:
                    yield dice(drawn, target)
                error = largest_error(drawn, target)
                if error is not None:
                    points.append(error[0])
                    labels.append(error[1])
                mask = logits.clamp(-16, 16)[:, None]


def pictures(slices: list[PracticeSlice], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return embeddings (n, 256, 64, 64) and canvases (n, 3, 256, 256) of slices."""
    features = torch.from_numpy(np.stack([s.features for s in slices])).to(device).float()
    return features[:, :CHANNELS].contiguous(), F.pixel_shuffle(features[:, CHANNELS:], FOLD)


def has_object(label: CanvasLabel) -> bool:
    """Tell whether a label shows something that can be clicked on."""
    return int(label.mask.sum()) >= SMALLEST_OBJECT


def _shares(mask: np.ndarray) -> np.ndarray:
    step = CANVAS // GRID
    return np.asarray(mask.reshape(GRID, step, GRID, step).mean((1, 3)), np.float32)
