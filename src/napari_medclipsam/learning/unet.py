"""The U-Net learner: weak supervision, as in both MedCLIP-SAM papers (arXiv 2403.20253, 2409.19483).

Accepted masks, and zero-shot proposals that nobody has accepted, train a residual U-Net from nothing; each label counts
by where it comes from. The learning rate goes in cycles, the weights at the end of each are kept, and their answers are
averaged (Huang et al. 2017, "Snapshot ensembles"). Where they are unsure or disagree the average is near a half: its
entropy ranks slices for review, by way of `saliency.certainty`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_medclipsam.errors import LearningError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.answering import ClassAnswerer, damaged, read_model, weights_path, write_model
from napari_medclipsam.learning.checkpoint import remove_checkpoint
from napari_medclipsam.learning.clock import WORK_CLOCK
from napari_medclipsam.learning.contracts import Example, Settings, Watch
from napari_medclipsam.learning.encoded import require_slices
from napari_medclipsam.learning.extras import require_packages
from napari_medclipsam.learning.fitting import Plan, fit
from napari_medclipsam.learning.pictures import Picture, may_mirror, read_pictures, require_classes
from napari_medclipsam.learning.settings import most_at_once
from napari_medclipsam.learning.tensors import halved, save_tensors
from napari_medclipsam.models.lite.preprocess import Fit, from_canvas, to_canvas

LEAST_SLICES = 3
#: 0.1 MB each at the larger size.
MOST_SLICES = 2000
CYCLES = 3

_RATE = 2e-3
_READING_SHARE = 0.1
#: A class is taken for present when the surest pixels, as many as these of 256×256, are so on average.
_SEEN_PX = 32
_REFUSED_WEIGHT = 3.0


@dataclass(frozen=True)
class Size:
    """How large a network is made for a device.

    Parameters
    ----------
    side : int
        Of the square it sees, in pixels.
    width : int
        Channels at full size.
    batch, most_steps : int
        See `fitting.Plan`.
    slice_bytes : int
        That training takes for each slice of a batch.
    """

    side: int
    width: int
    batch: int
    most_steps: int
    slice_bytes: int


SIZES = {"cpu": Size(128, 16, 8, 3000, 60 << 20), "cuda": Size(256, 32, 16, 10_000, 400 << 20)}


class UNetLearner:
    """See the module."""

    name = "unet"
    unaccepted = True

    def fit(
        self,
        examples: Sequence[Example],
        parent: Path | None,
        folder: Path,
        settings: Settings,
        watch: Watch,
    ) -> Mapping[str, Any]:
        """Learn; see `contracts.Learner.fit`. The network begins anew: a parent's may have other classes."""
        require_packages(self.name, "monai", "lightning_fabric")
        began = WORK_CLOCK.seconds()
        names = require_classes(list(require_slices(examples, LEAST_SLICES)))
        size = SIZES["cpu" if settings.device == "cpu" else "cuda"]
        rng = np.random.default_rng(settings.seed)
        labelled = [e for e in examples if any(name in e.labels for name in names)]
        pictures = read_pictures(
            labelled, names, size.side, MOST_SLICES, rng, lambda part: watch.step(_READING_SHARE * part)
        )
        if not any(picture.bits.any() for picture in pictures):
            raise LearningError(
                f"Every slice with a mask has no contrast, or its mask is smaller than a pixel of {size.side}; accept "
                "slices that show more of it."
            )
        at_once = most_at_once(settings, size.batch, size.slice_bytes)
        left = max(1.0, settings.budget.seconds - (WORK_CLOCK.seconds() - began))
        signature = f"unet {size.side} {size.width} {settings.seed} {names}"
        plan = Plan(settings, left, size.batch, at_once, size.most_steps, CYCLES, _RATE, signature)
        fitted = fit(UNetTask(pictures, len(names), size, may_mirror(names)), plan, folder, watch, _READING_SHARE)
        classes = {name: list(settings.phrases.get(name, ())) for name in names}
        weights = {f"{k}.{key}": v for k, state in enumerate(fitted.snapshots) for key, v in state.items()}
        save_tensors(weights_path(folder, self.name), halved(weights))
        write_model(folder, self.name, classes, side=size.side, width=size.width)
        remove_checkpoint(folder)
        return {
            **fitted.figures,
            "classes": names,
            "slices": len(pictures),
            "networks": len(fitted.snapshots),
            "seconds": round(WORK_CLOCK.seconds() - began, 1),
        }

    def load(self, folder: Path, base: Any, device: str) -> UNetModel:
        """Return the fitted model; see `contracts.Learner.load`."""
        require_packages(self.name, "monai")
        document, weights = read_model(folder, self.name)
        try:
            side, width, classes = int(document["side"]), int(document["width"]), document["classes"]
            networks: list[torch.nn.Module] = []
            while own := {
                k.split(".", 1)[1]: v.float() for k, v in weights.items() if k.startswith(f"{len(networks)}.")
            }:
                network = residual_unet(width, len(classes))
                network.load_state_dict(own)
                networks.append(network.eval().requires_grad_(False).to(device))
            if not networks:
                raise KeyError("networks")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise damaged(folder) from error
        return UNetModel(base, classes, networks, side)


def residual_unet(width: int, n_classes: int) -> torch.nn.Module:
    """Return MONAI's residual U-Net of five levels, (batch, 3, side, side) → logits (batch, n_classes, side, side)."""
    from monai.networks.nets import UNet

    widths = tuple(width * min(2**level, 8) for level in range(5))
    network = UNet(2, 3, width, widths, (2, 2, 2, 2), num_res_units=2, norm=("GROUP", {"num_groups": 4}))
    # The last norm of MONAI's network would make every slice show something, were its outputs the classes.
    return torch.nn.Sequential(network, torch.nn.Conv2d(width, n_classes, 1))


@dataclass(frozen=True, eq=False)
class UNetTask:
    """See `fitting.Task`."""

    pictures: list[Picture]
    n_classes: int
    size: Size
    mirrored: bool
    uneven = False

    def network(self) -> torch.nn.Module:
        """Return an untrained network."""
        return residual_unet(self.size.width, self.n_classes)

    def loss(self, network: torch.nn.Module, n: int, rng: np.random.Generator, progress: float) -> torch.Tensor:
        """Return the mean loss of `n` slices; half of them, on average, show something."""
        drawn = [self._drawn(rng).changed(rng, self.mirrored) for _ in range(n)]
        device = next(network.parameters()).device
        side = self.size.side
        seen = torch.from_numpy(np.stack([one.canvas(side) for one in drawn])).to(device)
        masks = torch.from_numpy(np.stack([one.masks(side) for one in drawn])).to(device)
        refused = torch.from_numpy(np.stack([one.masks(side, refused=True) for one in drawn])).to(device)
        trust = torch.from_numpy(np.stack([one.trust for one in drawn])).to(device)
        whole = torch.from_numpy(np.stack([one.whole for one in drawn])).to(device)
        return weighted_loss(network(seen), masks, refused, trust, whole)

    def _drawn(self, rng: np.random.Generator) -> Picture:
        showing = [one for one in self.pictures if one.bits.any()]
        pool = showing if rng.random() < 0.5 else self.pictures
        return pool[int(rng.integers(len(pool)))]


def weighted_loss(
    logits: torch.Tensor, masks: torch.Tensor, refused: torch.Tensor, trust: torch.Tensor, whole: torch.Tensor
) -> torch.Tensor:
    """Return cross-entropy and soft Dice of what is known, weighted by trust.

    Parameters
    ----------
    logits, masks, refused : torch.Tensor
        (batch, classes, rows, columns).
    trust : torch.Tensor
        (batch, classes); 0 where the class is not known.
    whole : torch.Tensor
        bool (batch, classes): False where only what was refused is known.
    """
    logits = logits.float()
    weights = torch.where(whole[..., None, None], 1 + (_REFUSED_WEIGHT - 1) * refused, refused)
    entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    each = (entropy * weights).sum((2, 3)) / weights.sum((2, 3)).clamp(min=1)
    guessed = logits.sigmoid()
    both = (guessed * masks).sum((2, 3))
    overlap = 1 - (2 * both + 1) / (guessed.sum((2, 3)) + masks.sum((2, 3)) + 1)
    each = each + overlap * (whole & (masks.sum((2, 3)) > 0))
    return (each * trust).sum() / trust.sum().clamp(min=1e-3)


class UNetModel(ClassAnswerer):
    """The mean of some networks.

    Parameters
    ----------
    base, classes
        As `ClassAnswerer`.
    networks : sequence of torch.nn.Module
        On their device.
    side : int
        Of the square they see.
    """

    def __init__(
        self, base: Any, classes: Mapping[str, Sequence[str]], networks: Sequence[torch.nn.Module], side: int
    ) -> None:
        super().__init__(base, classes)
        self._networks, self._side = list(networks), side
        self._last: tuple[Slice | None, np.ndarray] = (None, np.zeros(0))

    @torch.inference_mode()
    def probabilities(self, image: Slice) -> np.ndarray:
        """Return the mean probability of each class, float32 (classes, side, side); the last slice is remembered."""
        if self._last[0] is not image:
            canvas = torch.from_numpy(to_canvas(image.pixels))[None]
            seen = F.avg_pool2d(canvas, canvas.shape[-1] // self._side)
            seen = seen.to(next(self._networks[0].parameters()).device)
            answers = [network(seen)[0].float().sigmoid() for network in self._networks]
            self._last = (image, torch.stack(answers).mean(0).cpu().numpy())
        return self._last[1]

    def _answer(self, image: Slice, place: int) -> tuple[np.ndarray, float]:
        probability = self.probabilities(image)[place]
        fit = Fit.of(image.shape_yx)
        surest = max(1, round(_SEEN_PX * (self._side / 256) ** 2))
        presence = float(np.sort(probability.ravel())[-surest:].mean())
        return np.clip(from_canvas(probability, fit), 0.0, 1.0), presence
