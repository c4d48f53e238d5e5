"""Step 3 of training medclipsam-lite: a decoder that understands clicks, from stored embeddings and masks.

LiteMedSAM's prompt encoder and mask decoder were trained with boxes alone. Here they meet a simulated reader: a first
click or box (tight, loose, or drawn around a saliency map), then clicks in the middle of the largest error with the
previous mask as a prompt, up to eight rounds (the protocol of Kirillov et al. 2023, "Segment Anything", appendix A).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from napari_medclipsam.learning.lite_samples import STRUCTURES
from napari_medclipsam.learning.lite_schedule import Schedule, Told, train_averaged
from napari_medclipsam.learning.lite_views import ViewStore
from napari_medclipsam.models.lite.clicks import ClickDecoder
from napari_medclipsam.models.lite.preprocess import CANVAS

Predict = Callable[..., tuple[torch.Tensor, torch.Tensor]]

SMALLEST_OBJECT = 20
"""Objects of fewer canvas pixels are not used for training."""


@dataclass(frozen=True)
class ClickSettings(Schedule):
    """How the decoder is trained; see `Schedule`.

    Parameters
    ----------
    rounds : tuple of int
        How often objects are prompted, each round a step; one of them is drawn for each batch of objects.
    """

    steps: int = 1900
    batch: int = 4
    learning_rate: float = 1.5e-4
    weight_decay: float = 0.01
    averaging: float = 0.995
    # Most objects need few clicks; now and then a long correction is played through.
    rounds: tuple[int, ...] = (1,) * 7 + (2,) * 10 + (3,) * 7 + (8,)


@dataclass
class Turn:
    """One simulated object and the prompts given for it so far (canvas coordinates)."""

    target: np.ndarray
    points_xy: list[tuple[float, float]]
    labels: list[int]
    box_xyxy: tuple[float, float, float, float] | None = None
    mask: np.ndarray | None = None


def object_mask(bits: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Choose a structure of a view, mostly one connected part of it; None where there is none."""
    present = [k for k in range(len(STRUCTURES)) if np.count_nonzero(bits & (1 << k)) >= SMALLEST_OBJECT]
    if not present:
        return None
    return some_part(((bits >> int(rng.choice(present))) & 1).astype(bool), rng)


def some_part(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a mask, or mostly one connected part of it."""
    if rng.random() < 0.75:
        parts, _ = ndimage.label(mask)
        sizes = np.bincount(parts.ravel())[1:]
        large = np.flatnonzero(sizes >= SMALLEST_OBJECT)
        if len(large):
            mask = parts == int(rng.choice(large, p=sizes[large] / sizes[large].sum())) + 1
    return mask


def central_pixel(region: np.ndarray, rng: np.random.Generator | None = None) -> tuple[float, float]:
    """The (x, y) deepest inside a region, or with `rng` one that is at least half as deep."""
    padded = np.pad(region, 1)
    depth = ndimage.distance_transform_edt(padded)[1:-1, 1:-1]
    if rng is None:
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        return float(x), float(y)
    ys, xs = np.nonzero(depth >= 0.5 * depth.max())
    k = int(rng.integers(len(ys)))
    return float(xs[k]), float(ys[k])


def largest_error(
    predicted: np.ndarray, target: np.ndarray, rng: np.random.Generator | None = None
) -> tuple[tuple[float, float], int] | None:
    """A click on the largest connected error: ((x, y), 1 missed / 0 wrongly drawn); None if there is no error."""
    best: tuple[int, np.ndarray, int] | None = None
    for wrong, label in ((target & ~predicted, 1), (predicted & ~target, 0)):
        parts, count = ndimage.label(wrong)
        if count:
            sizes = np.bincount(parts.ravel())[1:]
            k = int(sizes.argmax())
            if best is None or sizes[k] > best[0]:
                best = (int(sizes[k]), parts == k + 1, label)
    return None if best is None else (central_pixel(best[1], rng), best[2])


def _box(target: np.ndarray, loose: float, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Box of a mask, each side moved outwards (mostly) by up to `loose` of the box's size."""
    ys, xs = np.nonzero(target)
    x0, x1, y0, y1 = xs.min(), xs.max(), ys.min(), ys.max()
    wide, high = max(x1 - x0, 4), max(y1 - y0, 4)
    move = rng.uniform(-0.25, 1.0, 4) * loose
    box = np.array([x0 - move[0] * wide, y0 - move[1] * high, x1 + move[2] * wide, y1 + move[3] * high])
    low = np.clip(box, 0, CANVAS - 1)
    return float(low[0]), float(low[1]), float(max(low[2], low[0] + 1)), float(max(low[3], low[1] + 1))


def saliency_like(target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Logits such as a saliency map would give for a mask: coarse, too large or too small, a little off."""
    grown = target
    steps = int(rng.integers(-2, 4))
    if steps > 0:
        grown = ndimage.binary_dilation(target, iterations=steps)
    elif steps < 0 and ndimage.binary_erosion(target, iterations=-steps).any():
        grown = ndimage.binary_erosion(target, iterations=-steps)
    moved = np.roll(grown, tuple(rng.integers(-2, 3, 2)), (0, 1)).astype(np.float32)
    soft = ndimage.gaussian_filter(moved, rng.uniform(1.0, 4.0))
    bumps = ndimage.gaussian_filter(rng.standard_normal(target.shape).astype(np.float32), 6)
    soft += bumps / max(float(bumps.std()), 1e-6) * rng.uniform(0.0, 0.12)
    return ((np.clip(soft, 0.02, 0.98) - 0.5) * rng.uniform(8, 16)).astype(np.float32)


def first_turn(target: np.ndarray, rng: np.random.Generator) -> Turn:
    """The first prompt: a click (half of the time), a tight box, a loose box, or a box with a saliency map."""
    draw = rng.random()
    if draw < 0.5:
        return Turn(target, [central_pixel(target, rng)], [1])
    if draw < 0.68:
        return Turn(target, [], [], _box(target, 0.03, rng))
    if draw < 0.8:
        return Turn(target, [], [], _box(target, 0.25, rng))
    return Turn(target, [], [], _box(target, 0.12, rng), saliency_like(target, rng))


def pack(turns: list[Turn]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prompts of a batch as tensors: points (b, n, 2), labels (b, n; -1 is padding, 2 and 3 box corners), masks."""
    rows = []
    for turn in turns:
        row = [(x, y, float(label)) for (x, y), label in zip(turn.points_xy, turn.labels, strict=True)]
        if turn.box_xyxy is not None:
            x0, y0, x1, y1 = turn.box_xyxy
            row += [(x0, y0, 2.0), (x1, y1, 3.0)]
        rows.append(row)
    longest = max(len(row) for row in rows)
    packed = torch.tensor([row + [(0.0, 0.0, -1.0)] * (longest - len(row)) for row in rows])
    masks = torch.full((len(turns), 1, CANVAS, CANVAS), float("nan"))
    for k, turn in enumerate(turns):
        if turn.mask is not None:
            masks[k, 0] = torch.from_numpy(turn.mask)
    return packed[..., :2], packed[..., 2].long(), masks


def click_loss(
    logits: torch.Tensor, estimated: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Soft Dice, cross-entropy weighted towards the object, and the error of the estimated IoU; `weights` (batch,)."""
    probability = logits.sigmoid()
    overlap = (probability * targets).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (probability.sum((1, 2)) + targets.sum((1, 2)) + 1)
    # Focal weighting (Lin et al. 2017), gamma 2, keeps the many easy background pixels from drowning the edge.
    plain = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    focal = (plain * (probability - targets).abs() ** 2).sum((1, 2)) / targets.sum((1, 2)).clamp(min=50)
    drawn, wanted = logits > 0, targets > 0.5
    iou = (drawn & wanted).sum((1, 2)) / (drawn | wanted).sum((1, 2)).clamp(min=1)
    each = dice + focal + 0.5 * (estimated - iou) ** 2
    return each.mean() if weights is None else (each * weights).mean()


def train_clicks(store: ViewStore, decoder: ClickDecoder, settings: ClickSettings, log: Told) -> ClickDecoder:
    """Fine-tune LiteMedSAM's part of a decoder and return its averaged weights.

    Parameters
    ----------
    store : ViewStore
        Encoded views; those held out for validation are left alone.
    decoder : ClickDecoder
        Starts from LiteMedSAM's weights.
    settings : ClickSettings
        Steps, rates, rounds, seed.
    log : callable
        Told a row of figures now and then.
    """
    torch.manual_seed(settings.seed)
    # The click network learns apart, from the pictures themselves.
    decoder.eval().requires_grad_(True).net.requires_grad_(False)
    losses = _losses(store, decoder, settings)
    return train_averaged(decoder, settings, lambda: next(losses), log).requires_grad_(False)


def _losses(store: ViewStore, decoder: ClickDecoder, settings: ClickSettings) -> Iterator[torch.Tensor]:
    """Play with one batch of objects after the other."""
    rng = np.random.default_rng(settings.seed)
    objects = _objects(store, rng)

    def predict(embeddings: torch.Tensor, _: torch.Tensor, *prompts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return decoder.decode(embeddings, *prompts)

    while True:
        chosen = [next(objects) for _ in range(settings.batch)]
        turns = [first_turn(target, rng) for _, target in chosen]
        pictures = _pictures(store, [row for row, _ in chosen])
        for _ in range(int(rng.choice(settings.rounds))):
            yield play_round(predict, pictures, turns, rng)


def _objects(store: ViewStore, rng: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """Training rows in a new order each time round, each with an object of it; rows without one are passed over."""
    training = store.rows(validation=False)
    while True:
        for row in rng.permutation(training):
            target = object_mask(store.bits[row], rng)
            if target is not None:
                yield int(row), target


def _pictures(store: ViewStore, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and canvases of some views."""
    embeddings = np.stack([store.embeddings[i] for i in rows]).astype(np.float32)
    canvases = np.stack([store.canvases[i] for i in rows]).astype(np.float32) / 255
    return torch.from_numpy(embeddings), torch.from_numpy(canvases)


def play_round(
    predict: Predict,
    pictures: tuple[torch.Tensor, torch.Tensor],
    turns: list[Turn],
    rng: np.random.Generator,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Predict, and let the simulated reader correct each object; returns the loss.

    Parameters
    ----------
    predict : callable
        Embeddings, canvases, points, labels and masks to logits and estimated IoU, as `ClickDecoder`.
    pictures : tuple of torch.Tensor
        Embeddings (batch, 256, 64, 64) and canvases (batch, 3, 256, 256).
    turns : list of Turn
        Get the next click.
    rng : numpy.random.Generator
        Of the reader.
    weights : torch.Tensor, optional
        (batch,): how much each counts.
    """
    embeddings, canvases = pictures
    device = embeddings.device
    targets = torch.from_numpy(np.stack([t.target for t in turns]).astype(np.float32)).to(device)
    logits, estimated = predict(embeddings, canvases, *(part.to(device) for part in pack(turns)))
    drawn = logits.detach().cpu().numpy()
    for turn, values in zip(turns, drawn, strict=True):
        click = largest_error(values > 0, turn.target, rng)
        if click is not None:
            turn.points_xy.append(click[0])
            turn.labels.append(click[1])
        # A reader who clicks again keeps the mask there is; sometimes only the clicks are kept.
        turn.mask = np.clip(values, -16, 16) if rng.random() < 0.9 else None
    return click_loss(logits, estimated, targets, weights)
