"""Step of training medclipsam-lite: the click network, from end to end, with a simulated reader.

Pictures are changed anew each time they are drawn. In a part of them a patch that is none of the taught structures is
made, and asked for: the network is to outline what is clicked on, whatever it is.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from napari_medclipsam.learning.lite_clicks import Turn, first_turn, object_mask, play_round
from napari_medclipsam.learning.lite_grounding import by_share
from napari_medclipsam.learning.lite_samples import Sample
from napari_medclipsam.learning.lite_schedule import Schedule, Told, train_averaged
from napari_medclipsam.learning.lite_structures import freeze_early
from napari_medclipsam.learning.lite_views import on_canvas, seen
from napari_medclipsam.models.lite.click_net import ClickNet
from napari_medclipsam.models.lite.preprocess import CANVAS, to_canvas

_PATCHES = 0.15


@dataclass(frozen=True)
class ClickNetSettings(Schedule):
    """How the network is trained; see `Schedule`.

    Parameters
    ----------
    rounds : tuple of int
        How often objects are prompted, each round a step; one of them is drawn for each batch of objects.
    """

    steps: int = 2600
    batch: int = 16
    learning_rate: float = 7e-4
    weight_decay: float = 0.02
    averaging: float = 0.997
    rounds: tuple[int, ...] = (1, 1, 2, 2, 3, 3, 4, 6)


def train_click_net(
    samples: list[Sample],
    encoder: dict[str, torch.Tensor],
    settings: ClickNetSettings,
    log: Told,
    left_out: Collection[str] = (),
) -> ClickNet:
    """Train the network and return its averaged weights.

    Parameters
    ----------
    samples : list of Sample
        Of the data folder; those held out for validation are left alone.
    encoder : dict of str to torch.Tensor
        Weights to start from, those of a `StructureNet`.
    settings : ClickNetSettings
        Steps, rates, seed.
    log : callable
        Told a row of figures now and then.
    left_out : collection of str
        Data sets that are not to be seen.
    """
    torch.manual_seed(settings.seed)
    taught = [s for s in samples if not s.validation and s.dataset not in left_out]
    net = ClickNet()
    own = net.state_dict()
    net.load_state_dict({k: v for k, v in encoder.items() if k in own and v.shape == own[k].shape}, strict=False)
    net.to(memory_format=torch.channels_last)
    freeze_early(net)
    losses = _losses(net, taught, settings)
    return train_averaged(net, settings, lambda: next(losses), log).requires_grad_(False)


def _losses(net: ClickNet, taught: list[Sample], settings: ClickNetSettings) -> Iterator[torch.Tensor]:
    """Play with one batch of objects after the other; the next is made beside this one's rounds."""
    rng, reader = np.random.default_rng(settings.seed), np.random.default_rng(settings.seed + 1)
    objects = _objects(taught, rng)

    def drawn() -> list[tuple[np.ndarray, Turn]]:
        chosen = [next(objects) for _ in range(settings.batch)]
        return [(canvas, first_turn(target, rng)) for canvas, target in chosen]

    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(drawn)
        while True:
            batch, coming = coming.result(), worker.submit(drawn)
            turns = [turn for _, turn in batch]
            canvas = torch.from_numpy(np.stack([picture for picture, _ in batch]))
            canvas = canvas.contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                early = net.early(canvas)
            predict = functools.partial(_drawn, net, early)
            for _ in range(int(reader.choice(settings.rounds))):
                yield play_round(predict, (canvas, canvas), turns, reader)


def _drawn(
    net: ClickNet, early: tuple[torch.Tensor, torch.Tensor], _: object, canvas: torch.Tensor, *prompts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return net.draw(canvas, *early, *prompts)


def _objects(taught: list[Sample], rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Changed pictures, each with an object of it or a patch made in it; those without one are passed over."""
    for row in by_share([s.dataset for s in taught], rng):
        pixels, bits, _ = seen(taught[row], True, int(rng.integers(2**31)))
        canvas = to_canvas(pixels)
        if rng.random() < _PATCHES:
            yield with_patch(canvas, rng)
            continue
        target = object_mask(on_canvas(bits), rng)
        if target is not None:
            yield canvas, target


def with_patch(canvas: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Make a patch of another brightness and texture in a canvas; return both and the patch's mask.

    Parameters
    ----------
    canvas : numpy.ndarray
        float32 (3, 256, 256) in [0, 1].
    rng : numpy.random.Generator
        Chooses place, shape and look.
    """
    y, x = np.mgrid[:CANVAS, :CANVAS].astype(np.float32)
    ys, xs = np.nonzero(canvas.mean(0) > 0.05)
    at = int(rng.integers(len(ys))) if len(ys) else 0
    cy, cx = (float(ys[at]), float(xs[at])) if len(ys) else (CANVAS / 2, CANVAS / 2)
    turn, size = rng.uniform(0, np.pi), float(np.exp(rng.uniform(np.log(5), np.log(45))))
    along, across = size * rng.uniform(0.8, 1.6), size * rng.uniform(0.5, 1.0)
    u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
    v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
    wobble = _noise(rng, max(size / 2, 2.0)) * rng.uniform(0.0, 0.35)
    mask = np.hypot(u / along, v / across) + wobble < 1
    parts, count = ndimage.label(mask)
    if count > 1:
        mask = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
    if mask.sum() < 20:
        mask = np.hypot(x - cx, y - cy) < 5
    soft = ndimage.gaussian_filter(mask.astype(np.float32), rng.uniform(0.4, 2.0))
    shift = rng.choice([-1, 1]) * rng.uniform(0.08, 0.4) + rng.uniform(-0.05, 0.05, 3)[:, None, None]
    inside = canvas * rng.uniform(0.5, 1.0) + shift + _noise(rng, rng.uniform(0.7, 4.0)) * rng.uniform(0.0, 0.08)
    return np.clip(canvas + soft * (inside - canvas), 0.0, 1.0).astype(np.float32), mask


def _noise(rng: np.random.Generator, sigma: float) -> np.ndarray:
    noise = ndimage.gaussian_filter(rng.standard_normal((CANVAS, CANVAS)).astype(np.float32), sigma)
    return np.asarray(noise / max(float(noise.std()), 1e-6))
