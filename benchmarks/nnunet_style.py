"""A baseline trained by nnU-Net's rules, as far as a few minutes allow: MONAI's DynUNet, its losses and its changes.

Taken over (Isensee et al. 2021, Nature Methods 18): z-score of each picture, instance norm and leaky ReLU, deep
supervision with halved weights, cross-entropy and Dice, SGD with Nesterov momentum 0.99 from 0.01 down a polynomial of
power 0.9, foreground in a third of each batch (here every slice shows it), and pictures turned, scaled, mirrored,
blurred, coarsened, noisy and of other contrast. Not taken over: the plan from a fingerprint of the data, 250,000 steps,
five folds, and on a CPU neither full size nor full width (128 px and 16 channels doubled to 256, as the learner unet
has them; nnU-Net begins with 32).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from monai.losses import DeepSupervisionLoss, DiceCELoss
from monai.networks.nets import DynUNet
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandSimulateLowResolutiond,
)
from torch.nn import functional as F

from napari_medclipsam.evaluation.datasets import Sample, read_sample
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.lite.preprocess import Fit, from_canvas, to_canvas

SIDE, BATCH = 128, 8
WIDTHS = (16, 32, 64, 128, 256)
_RATE, _MOMENTUM, _POWER, _DECAY = 0.01, 0.99, 0.9, 3e-5
_KEYS = ["image", "mask"]


def trained(samples: list[Sample], seconds: float, seed: int) -> tuple[Callable[[Slice], np.ndarray], int]:
    """Return what draws the mask of a picture, bool (height, width), and how many steps it was trained."""
    torch.manual_seed(seed)
    rng, began, step = np.random.default_rng(seed), time.monotonic(), 0
    rows = [{"image": seen(image), "mask": _on_side(mask)} for image, mask in map(read_sample, samples)]
    network, change = _network().train(), _changes(seed)
    loss = DeepSupervisionLoss(DiceCELoss(sigmoid=True, batch=True))
    optimiser = torch.optim.SGD(network.parameters(), _RATE, _MOMENTUM, weight_decay=_DECAY, nesterov=True)
    while (progress := (time.monotonic() - began) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = _RATE * (1 - progress) ** _POWER
        changed = [change(rows[i]) for i in rng.integers(len(rows), size=BATCH)]
        image, mask = (torch.stack([torch.as_tensor(one[key]) for one in changed]).float() for key in _KEYS)
        value = loss(list(network(image).unbind(1)), mask)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimiser.step()
        step += 1
    network.eval()

    @torch.inference_mode()
    def propose(image: Slice) -> np.ndarray:
        logits = network(torch.from_numpy(seen(image))[None])
        full = F.interpolate(logits.sigmoid(), size=(256, 256), mode="bilinear")[0, 0].numpy()
        return from_canvas(full, Fit.of(image.shape_yx)) > 0.5

    return propose, step


def seen(image: Slice) -> np.ndarray:
    """Return what the network sees, float32 (1, 128, 128): one gray channel, its mean 0 and deviation 1."""
    gray = torch.from_numpy(to_canvas(image.pixels).mean(0))[None, None]
    small = F.interpolate(gray, size=(SIDE, SIDE), mode="area")[0].numpy()
    return np.asarray((small - small.mean()) / (small.std() + 1e-6), np.float32)


def _on_side(mask_yx: np.ndarray) -> np.ndarray:
    canvas = to_canvas((mask_yx * 255).astype(np.uint8)).mean(0)
    small = F.interpolate(torch.from_numpy(canvas)[None, None], size=(SIDE, SIDE), mode="area")[0].numpy()
    return np.asarray(small > 0.5, np.float32)


def _network() -> DynUNet:
    depth = len(WIDTHS)
    strides = [1] + [2] * (depth - 1)
    return DynUNet(2, 1, 1, [3] * depth, strides, strides[1:], WIDTHS, deep_supervision=True, deep_supr_num=depth - 2)


def _changes(seed: int) -> Compose:
    spatial = RandAffined(
        _KEYS,
        prob=0.5,
        rotate_range=np.pi,
        scale_range=(-0.3, 0.4),
        mode=("bilinear", "nearest"),
        padding_mode=("border", "zeros"),
    )
    gray = ["image"]
    return Compose(
        [
            spatial,
            RandGaussianNoised(gray, prob=0.1, std=0.3),
            RandGaussianSmoothd(gray, (0.5, 1.0), (0.5, 1.0), prob=0.2),
            RandScaleIntensityd(gray, factors=0.25, prob=0.15),
            RandSimulateLowResolutiond(gray, prob=0.25, upsample_mode="bicubic", zoom_range=(0.5, 1.0)),
            RandAdjustContrastd(gray, prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
            RandFlipd(_KEYS, prob=0.5, spatial_axis=0),
            RandFlipd(_KEYS, prob=0.5, spatial_axis=1),
        ]
    ).set_random_state(seed)
