"""Practice of the click decoder and the grounding head on the slices of a project; see `decoder`."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_medclipsam.errors import LearningError
from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.learning.clock import WORK_CLOCK
from napari_medclipsam.learning.contracts import Example, Settings, Watch
from napari_medclipsam.learning.encoded import TRUST, CanvasLabel, canvas_label, encode, require_same_size
from napari_medclipsam.learning.lite_clicks import (
    SMALLEST_OBJECT,
    central_pixel,
    first_turn,
    largest_error,
    play_round,
    some_part,
)
from napari_medclipsam.learning.lite_grounding import grounding_loss
from napari_medclipsam.learning.settings import most_at_once, most_in_host_memory
from napari_medclipsam.learning.tensors import save_tensors
from napari_medclipsam.models.lite.clicks import ClickDecoder
from napari_medclipsam.models.lite.few_tokens import CHANNELS, FOLD
from napari_medclipsam.models.lite.grounding import GRID, GroundingHead
from napari_medclipsam.models.lite.model import LiteModel
from napari_medclipsam.models.lite.preprocess import CANVAS

CHECKPOINT_S = 30.0
#: Kept in memory; the best trusted first.
MOST_SLICES = 120

_SLICE_BYTES = 5 << 19

_RATE = 4e-5
_PULL = 2e-3
_MOST_STEPS = 400
_LOOK_EVERY = 20
_PATIENCE = 4
_ROUNDS = (1, 2, 2, 3, 3, 5)
_BATCH = {"cpu": 1, "mps": 4, "cuda": 8}
#: What an object takes on the device while clicks on it are learnt from.
_PLAYED_BYTES = 400 << 20
_HELD_SHARE = 0.2
_MOST_LOOKED_AT = 12


@dataclass(frozen=True, eq=False)
class PracticeSlice:
    """An encoded slice: features float16 (304, 64, 64), what is known of each class, and if it is kept aside."""

    features: np.ndarray
    labels: dict[str, CanvasLabel]
    is_held: bool


def practice_slices(
    base: LiteModel, examples: Sequence[Example], names: set[str], settings: Settings, watch: Watch
) -> list[PracticeSlice]:
    """Encode the examples of some classes; about a fifth is kept aside, by patient, or else by a block of slices."""
    rng = np.random.default_rng(settings.seed)
    most = most_in_host_memory(settings, MOST_SLICES, _SLICE_BYTES)
    order = rng.permutation(len(examples))
    ranked = sorted(order, key=lambda i: -max((_trust(examples[i], n) for n in names), default=0.0))
    chosen = [examples[i] for i in sorted(ranked[:most])]
    chosen = [e for e in chosen if any(n in e.labels and e.labels[n].provenance != "refused" for n in names)]
    held = _held(chosen, rng)
    found = []
    for number, example in enumerate(chosen):
        image = example.read()
        require_same_size(example, image)
        embedding = encode(base, image, lambda n=number: watch.step(0.2 * n / len(chosen)))  # type: ignore[misc]
        if embedding is not None:
            labels = {n: canvas_label(example, n) for n in names & set(example.labels)}
            labels = {n: one for n, one in labels.items() if not one.is_refusal}
            found.append(PracticeSlice(embedding.features.astype(np.float16), labels, number in held))
    return found


def _trust(example: Example, name: str) -> float:
    """How much a label of an example counts; 0 where there is none."""
    return TRUST[example.labels[name].provenance] if name in example.labels else 0.0


def _held(examples: list[Example], rng: np.random.Generator) -> set[int]:
    """Which examples are kept aside to see when to stop."""
    patients = sorted({e.patient for e in examples})
    if len(patients) >= 3:
        away = set(rng.permutation(patients)[: max(1, round(_HELD_SHARE * len(patients)))])
        return {i for i, e in enumerate(examples) if e.patient in away}
    # Neighbouring slices are alike: a block at the end of each case.
    found: set[int] = set()
    for case in sorted({e.case for e in examples}):
        places = [i for i, e in enumerate(examples) if e.case == case]
        found |= set(places[len(places) - round(_HELD_SHARE * len(places)) :])
    return found


class Practice:
    """A fit, new or gone on with.

    Parameters
    ----------
    head, decoder : torch.nn.Module
        The parent's.
    slices : list of PracticeSlice
        What to learn from.
    vectors : dict of str to numpy.ndarray
        Class → vector of its name.
    folder : pathlib.Path
        Of the checkpoint.
    settings, watch
        As `contracts.Learner.fit`.
    """

    def __init__(
        self,
        head: GroundingHead,
        decoder: ClickDecoder,
        slices: list[PracticeSlice],
        vectors: dict[str, np.ndarray],
        folder: Path,
        settings: Settings,
        watch: Watch,
    ) -> None:
        self._device = torch.device(settings.device)
        self._parts = torch.nn.ModuleDict({"head": head, "decoder": decoder}).to(self._device).eval()
        self._parts.requires_grad_(True)
        # What tells the body's regions apart and places a click is not to be learnt from a few slices.
        head.region.requires_grad_(False)
        self._head, self._decoder = head, decoder
        self._anchor = [p.detach().clone() for p in self._parts.parameters()]
        self._best = copy.deepcopy(self._parts.state_dict())
        self._slices, self._vectors = slices, vectors
        self._training = [
            (s, name) for s in slices if not s.is_held for name, one in s.labels.items() if _has_object(one)
        ]
        self._looked_at = [one for s in slices if s.is_held for one in s.labels.items() if _has_object(one[1])]
        self._path, self._settings, self._watch = folder / "checkpoint.safetensors", settings, watch
        self._rng = np.random.default_rng(settings.seed)
        self._batch = most_at_once(settings, _BATCH.get(self._device.type, 1), _PLAYED_BYTES)
        self._state: dict[str, Any] = {"steps": 0, "seconds": 0.0, "best": -1.0, "start": -1.0, "worse": 0}
        if not self._training:
            raise LearningError("Every mask is too small to practise clicks on; accept slices that show more of it.")
        self._take_up()

    def run(self) -> dict[str, Any]:
        """Practise until it gets no better, or the budget is used up; returns figures."""
        optimiser = torch.optim.AdamW([p for p in self._parts.parameters() if p.requires_grad], _RATE, weight_decay=0.0)
        began, saved, loss = WORK_CLOCK.seconds() - self._state["seconds"], time.monotonic(), 0.0
        if self._state["start"] < 0:
            self._state["start"] = self._state["best"] = self._look()
        while self._state["steps"] < _MOST_STEPS and self._state["worse"] < _PATIENCE:
            self._state["seconds"] = WORK_CLOCK.seconds() - began
            if self._state["seconds"] >= self._settings.budget.seconds:
                break
            paused = WORK_CLOCK.seconds()
            self._tell(loss)
            # Pauses do not count.
            began += WORK_CLOCK.seconds() - paused
            loss = self._step(optimiser)
            self._state["steps"] += 1
            if self._state["steps"] % _LOOK_EVERY == 0:
                self._compare()
            if time.monotonic() - saved > CHECKPOINT_S:
                self._checkpoint()
                saved = time.monotonic()
        if self._state["steps"] % _LOOK_EVERY:
            self._compare()
        self._checkpoint()
        names = ("steps", "seconds", "start", "best")
        return {k: round(float(self._state[k]), 4) for k in names} | {"held_out_slices": len(self._looked_at)}

    def best(self) -> tuple[GroundingHead, ClickDecoder]:
        """Return the parts as they were when the slices kept aside were answered best."""
        self._parts.load_state_dict(self._best)
        return self._head.cpu(), self._decoder.cpu()

    def tidy(self) -> None:
        """Remove the checkpoint; what it was for is written."""
        with suppress(OSError):
            self._path.unlink()

    def _tell(self, loss: float) -> None:
        share = max(self._state["steps"] / _MOST_STEPS, self._state["seconds"] / self._settings.budget.seconds)
        figures = {"loss": loss} if loss else {}
        if self._looked_at:
            figures["dice"] = self._state["best"]
        self._watch.step(0.2 + 0.8 * min(share, 1.0), **figures)

    def _step(self, optimiser: torch.optim.Optimizer) -> float:
        try:
            return self._played(optimiser) if self._rng.random() < 0.7 else self._grounded(optimiser)
        except torch.OutOfMemoryError as error:
            if self._batch == 1:
                raise LearningError(
                    f"The memory of the {self._device.type} is too small for one slice; close other programs, or "
                    "learn on the CPU."
                ) from error
            self._batch //= 2
            optimiser.zero_grad()
            torch.cuda.empty_cache()
            return self._step(optimiser)

    def _drawn(self) -> list[tuple[PracticeSlice, str]]:
        return [self._training[int(i)] for i in self._rng.integers(len(self._training), size=self._batch)]

    def _played(self, optimiser: torch.optim.Optimizer) -> float:
        """Play a few rounds of clicks."""
        chosen = self._drawn()
        labels = [s.labels[name] for s, name in chosen]
        targets = [some_part(one.mask, self._rng) for one in labels]
        turns = [first_turn(target, self._rng) for target in targets]
        pictures = self._pictures([s for s, _ in chosen])
        weights = torch.tensor([one.trust for one in labels], device=self._device)
        loss = 0.0
        for number in range(int(self._rng.choice(_ROUNDS))):
            if number:
                self._tell(loss)
            value = play_round(self._decoder, pictures, turns, self._rng, weights)
            self._tell(float(value.detach()))
            loss = self._follow(optimiser, value)
        return loss

    def _grounded(self, optimiser: torch.optim.Optimizer) -> float:
        """Ask for a class by its name, where it is or where it is known not to be."""
        known = [(s, name) for s in self._slices if not s.is_held for name in s.labels]
        chosen = [known[int(i)] for i in self._rng.integers(len(known), size=self._batch)]
        masks = np.stack([_shares(s.labels[name].mask) for s, name in chosen])[:, None]
        presence = torch.from_numpy((masks.sum((2, 3)) > 0).astype(np.float32)).to(self._device)
        vectors = torch.from_numpy(np.stack([self._vectors[name] for _, name in chosen])[:, None]).to(self._device)
        embeddings, _ = self._pictures([s for s, _ in chosen])
        logits, seen = self._head(embeddings, vectors)
        trust = float(np.mean([s.labels[name].trust for s, name in chosen]))
        value = trust * grounding_loss(logits, seen, torch.from_numpy(masks).to(self._device), presence)
        self._tell(float(value.detach()))
        return self._follow(optimiser, value)

    def _follow(self, optimiser: torch.optim.Optimizer, loss: torch.Tensor) -> float:
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parts.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            for value, anchor in zip(self._parts.parameters(), self._anchor, strict=True):
                if value.grad is not None:
                    value.lerp_(anchor, _PULL)
        return float(loss.detach())

    def _pictures(self, slices: list[PracticeSlice]) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.from_numpy(np.stack([s.features for s in slices])).to(self._device).float()
        return features[:, :CHANNELS].contiguous(), F.pixel_shuffle(features[:, CHANNELS:], FOLD)

    def _compare(self) -> None:
        score = self._look()
        better = score > self._state["best"] or not self._looked_at
        if better:
            self._state["best"] = score
            self._best = copy.deepcopy(self._parts.state_dict())
        self._state["worse"] = 0 if better else self._state["worse"] + 1

    @torch.inference_mode()
    def _look(self) -> float:
        """Dice of the slices kept aside, mean of after one and after three clicks; 0 where none is kept."""
        scores = []
        aside = [s for s in self._slices if s.is_held]
        pairs = [(s, one.mask) for s in aside for one in s.labels.values() if _has_object(one)]
        for s, target in pairs[:: max(1, len(pairs) // _MOST_LOOKED_AT)][:_MOST_LOOKED_AT]:
            pictures = self._pictures([s])
            points, labels = [central_pixel(target)], [1]
            mask = torch.full((1, 1, CANVAS, CANVAS), float("nan"), device=self._device)
            for clicks in (1, 2, 3):
                self._tell(0.0)
                prompts = (torch.tensor([points], device=self._device), torch.tensor([labels], device=self._device))
                logits = self._decoder(*pictures, *prompts, mask)[0]
                drawn = (logits[0] > 0).cpu().numpy()
                scores += [dice(drawn, target)] if clicks != 2 else []
                error = largest_error(drawn, target)
                if error is not None:
                    points.append(error[0])
                    labels.append(error[1])
                mask = logits.clamp(-16, 16)[:, None]
        return float(np.mean(scores)) if scores else 0.0

    def _checkpoint(self) -> None:
        state = {f"now.{k}": v for k, v in self._parts.state_dict().items()}
        state |= {f"best.{k}": v for k, v in self._best.items()}
        save_tensors(self._path, state, {"state": json.dumps(self._state)})

    def _take_up(self) -> None:
        """Go on from a checkpoint, if there is one. The optimiser's memory of gradients is made anew."""
        from safetensors import SafetensorError, safe_open

        if not self._path.exists():
            return
        try:
            with safe_open(str(self._path), "pt", device=str(self._device)) as stored:
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a dict
                state = json.loads(stored.metadata()["state"])
            parts = {
                kind: {k.removeprefix(f"{kind}."): v for k, v in tensors.items() if k.startswith(f"{kind}.")}
                for kind in ("now", "best")
            }
            self._parts.load_state_dict(parts["now"])
            self._best = parts["best"]
            self._state |= {key: state[key] for key in self._state}
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise LearningError(
                f"The checkpoint in {self._path.parent} is damaged; delete {self._path.name} to learn from the start."
            ) from error
        # Not the same slices again.
        self._rng = np.random.default_rng([self._settings.seed, int(self._state["steps"])])


def load_parts(path: Path, head: GroundingHead, decoder: ClickDecoder) -> None:
    """Put stored weights into both parts.

    Raises
    ------
    LearningError
        If they are damaged or gone.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = {key: value.float() for key, value in load_file(path).items()}
        for prefix, part in (("head.", head), ("decoder.", decoder)):
            part.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise LearningError(f"The weights {path} are damaged or gone; go back a version, or learn again.") from error


def _has_object(label: CanvasLabel) -> bool:
    return int(label.mask.sum()) >= SMALLEST_OBJECT


def _shares(mask: np.ndarray) -> np.ndarray:
    step = CANVAS // GRID
    return np.asarray(mask.reshape(GRID, step, GRID, step).mean((1, 3)), np.float32)
