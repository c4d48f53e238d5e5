"""What is practised: names with the grounding head, clicks with the click decoder; see `practice`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.learning.encoded import CanvasLabel
from napari_medclipsam.learning.lite_clicks import (
    SMALLEST_OBJECT,
    Turn,
    central_pixel,
    first_turn,
    largest_error,
    pack,
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

_RECENT = 40


class Course(ABC):
    """A part of the model, and how it practises.

    Parameters
    ----------
    part : torch.nn.Module
        On its device.
    rate : float
        Of learning.

    Attributes
    ----------
    batch : int
        Slices that are in memory at once.
    most_steps : int
        It ends there, whatever the budget.
    recent : collections.deque of float
        Dice of its last answers, each before it was learnt from.
    """

    most_steps: int
    batch = 1

    def __init__(self, part: torch.nn.Module, rate: float) -> None:
        self.part = part.eval()
        self.recent: deque[float] = deque(maxlen=_RECENT)
        self._device = next(part.parameters()).device
        self._trained = {name: p for name, p in part.named_parameters() if p.requires_grad}
        self._optimiser = torch.optim.AdamW(self._trained.values(), rate, weight_decay=0.0)

    def is_needed(self, tell: Told) -> bool:
        """Tell, before the first step, whether there is something to learn."""
        return True

    @abstractmethod
    def step(self, rng: np.random.Generator, progress: float, tell: Told) -> float:
        """Learn from a few slices, at a progress in [0, 1]; returns the loss."""

    def taught(self) -> dict[str, torch.Tensor]:
        """Return the weights that come of it: the newest, where a course does not know better."""
        return self.part.state_dict()

    def state(self) -> dict[str, torch.Tensor]:
        """Return what `take_up` goes on from; the optimiser's memory of gradients is made anew."""
        return self.part.state_dict()

    def take_up(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from a `state`; raises `KeyError` or `RuntimeError` where it is of something else."""
        self.part.load_state_dict(state)

    def _follow(self) -> None:
        torch.nn.utils.clip_grad_norm_(self._trained.values(), 1.0)
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
        super().__init__(head, self._RATE)
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
            self.recent.append(dice((logits > 0).numpy(force=True), (shares > 0.5).numpy(force=True)))
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

    With weights pulled back to where they began (L2-SP, Li et al. 2018, "Explicit inductive bias for transfer
    learning"). What comes of it lies three quarters of the way from there to their mean over the course (Izmailov et
    al. 2018, "Averaging weights leads to wider optima"; Wortsman et al. 2022, "Robust fine-tuning of zero-shot
    models"), which a few slices lead astray less than the newest weights. After five passes over them
    longer practice gains nothing.

    Where most slices are answered well from the start there is nothing to learn: their masks are what the decoder
    itself has drawn, and learning from one's own faults makes them worse.
    """

    _RATE, _PULL, _ROUNDS = 2e-4, 5e-4, (1, 2, 2, 3, 3, 5)
    _PASSES, _LONGEST = 5, 400
    _WAY = 0.75
    #: Well answered: this Dice within so many clicks; most: such a share of up to so many slices.
    _GOOD, _FEW_CLICKS, _MOST, _ASKED = 0.9, 3, 0.75, 24

    def __init__(self, decoder: ClickDecoder, slices: list[PracticeSlice], batch: int) -> None:
        super().__init__(decoder, self._RATE)
        self._decoder, self.batch = decoder, batch
        self._anchor, self._mean = ({k: p.detach().clone() for k, p in self._trained.items()} for _ in range(2))
        self._followed = 0
        self._known = [(s, one) for s in slices for one in s.labels.values() if has_object(one)]
        self.most_steps = min(self._LONGEST, self._PASSES * len(self._known))

    def is_needed(self, tell: Told) -> bool:
        """See `Course`."""
        asked = self._known[:: math.ceil(len(self._known) / self._ASKED)]
        with torch.inference_mode():
            return sum(self._is_soon_good(s, one.mask, tell) for s, one in asked) < self._MOST * len(asked)

    def _is_soon_good(self, one: PracticeSlice, target: np.ndarray, tell: Told) -> bool:
        """Tell whether a few clicks of the simulated reader are answered well."""
        turn, seen = Turn(target, [central_pixel(target)], [1]), pictures([one], self._device)
        for _ in range(self._FEW_CLICKS):
            tell(0.0)
            logits = self._decoder(*seen, *(part.to(self._device) for part in pack([turn])))[0][0].numpy(force=True)
            error = largest_error(logits > 0, target)
            if error is None or dice(logits > 0, target) >= self._GOOD:
                return True
            turn.points_xy.append(error[0])
            turn.labels.append(error[1])
            turn.mask = np.clip(logits, -16, 16)
        return False

    def step(self, rng: np.random.Generator, progress: float, tell: Told) -> float:
        """See `Course`: a few rounds of clicks."""
        chosen = [self._known[int(i)] for i in rng.integers(len(self._known), size=self.batch)]
        targets = [some_part(label.mask, rng) for _, label in chosen]
        turns = [first_turn(target, rng) for target in targets]
        seen = pictures([s for s, _ in chosen], self._device)
        weights = torch.tensor([label.trust for _, label in chosen], device=self._device)
        loss = 0.0
        for _ in range(int(rng.choice(self._ROUNDS))):
            tell(loss)
            value = play_round(self._decoder, seen, turns, rng, weights)
            self.recent.extend(dice(t.mask > 0, t.target) for t in turns if t.mask is not None)
            loss = float(value.detach())
            tell(loss)
            value.backward()
            self._follow()
        return loss

    def taught(self) -> dict[str, torch.Tensor]:
        """See `Course`."""
        return super().taught() | {k: start.lerp(self._mean[k], self._WAY) for k, start in self._anchor.items()}

    def state(self) -> dict[str, torch.Tensor]:
        """See `Course`."""
        mean = {f"mean.{name}": value for name, value in self._mean.items()}
        return {**super().state(), **mean, "followed": torch.tensor(self._followed)}

    def take_up(self, state: dict[str, torch.Tensor]) -> None:
        """See `Course`."""
        self._followed = int(state["followed"])
        self._mean = {name: state[f"mean.{name}"] for name in self._mean}
        super().take_up({k: v for k, v in state.items() if k != "followed" and not k.startswith("mean.")})

    def _follow(self) -> None:
        super()._follow()
        self._followed += 1
        with torch.no_grad():
            for name, value in self._trained.items():
                value.lerp_(self._anchor[name], self._PULL)
                self._mean[name].lerp_(value, 1 / (self._followed + 1))


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
