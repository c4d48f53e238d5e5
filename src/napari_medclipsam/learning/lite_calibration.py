"""Step 4 of training medclipsam-lite: thresholds and figures, on the held-out pictures and held-out phrasings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from napari_medclipsam.learning.lite_clicks import SMALLEST_OBJECT, central_pixel, largest_error
from napari_medclipsam.learning.lite_grounding import known_absent
from napari_medclipsam.learning.lite_samples import STRUCTURES
from napari_medclipsam.learning.lite_views import ViewStore
from napari_medclipsam.models.lite.clicks import ClickDecoder
from napari_medclipsam.models.lite.grounding import GRID, GroundingHead
from napari_medclipsam.models.lite.known import PhraseBank
from napari_medclipsam.models.lite.phrases import PhraseBook
from napari_medclipsam.models.lite.preprocess import CANVAS
from napari_medclipsam.models.lite.structures import StructureReader

MOST = 0.975
"""A threshold of presence lies half way between what this share of held-out findings exceeds and what this share of
the questions for something absent falls short of: a scanner that moves both by a little costs neither."""

ENOUGH = 25
"""A structure with so many held-out findings gets a threshold of its own."""

Encode = Callable[[Sequence[str]], np.ndarray]


def held_out(store: ViewStore) -> list[int]:
    """Rows of the validation views."""
    return store.rows(validation=True)


def calibrate_known(bank: PhraseBank, book: PhraseBook, encode: Encode) -> tuple[float, float, dict[str, float]]:
    """Set (least_similarity, least_margin) between held-out phrasings of taught structures and untaught phrases."""
    mine = [p for s in book.structures.values() for p in s.heldout]
    others = [*book.heldout_unknown, *book.heldout_meaningless]
    known = np.array([bank.scores(*pair)[:2] for pair in zip(mine, encode(mine), strict=True)])
    strange = np.array([bank.scores(*pair)[:2] for pair in zip(others, encode(others), strict=True)])
    # The middle between the lowest leads of the known and the highest of the strange, robust to one outlier each.
    margin = float((np.quantile(known[:, 1], 0.03) + np.quantile(strange[:, 1], 0.97)) / 2)
    similarity = float((np.quantile(known[:, 0], 0.02) + np.quantile(strange[:, 0], 0.5)) / 2)
    taken = [(s[:, 0] >= similarity) & (s[:, 1] >= margin) for s in (known, strange)]
    figures = {"known_taken_as_known": float(taken[0].mean()), "strange_taken_as_known": float(taken[1].mean())}
    return similarity, margin, figures


@dataclass
class _Asked:
    """Presence logits by structure, of what is there and of what is not, and Dice of the saliency."""

    present: dict[str, list[float]] = field(default_factory=dict)
    absent: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    dice: dict[str, list[float]] = field(default_factory=dict)


@torch.inference_mode()
def calibrate_presence(
    head: GroundingHead, read: StructureReader, store: ViewStore, bank: PhraseBank, book: PhraseBook, encode: Encode
) -> tuple[float, dict[str, float], dict[str, float]]:
    """Set the presence offsets, for all and for single structures; measure saliency on the held-out pictures.

    The phrasings are held-out ones too. What the body region rules out besides is not counted.
    """
    phrases = {
        name: np.stack([bank.judge(*pair).vector for pair in zip(s.heldout, encode(s.heldout), strict=True)])
        for name, s in book.structures.items()
    }
    asked = _ask(head, read, store, phrases)
    absent: dict[str, list[float]] = {structure: [] for structure in book.structures}
    for (_, structure), logits in asked.absent.items():
        absent[structure] += logits
    offset = _between([x for v in asked.present.values() for x in v], [x for v in absent.values() for x in v])
    enough = [s for s, logits in asked.present.items() if min(len(logits), len(absent[s])) >= ENOUGH]
    own = {s: _between(asked.present[s], absent[s]) for s in enough}
    found = [logit >= own.get(s, offset) for s, logits in asked.present.items() for logit in logits]
    figures = {"presence called, there": float(np.mean(found))}
    for kind in ("same region", "other region"):
        drawn = [x >= own.get(s, offset) for (k, s), logits in asked.absent.items() if k == kind for x in logits]
        if drawn:
            figures[f"presence called, {kind}"] = float(np.mean(drawn))
    figures |= {f"saliency Dice, {k}": float(np.mean(v)) for k, v in sorted(asked.dice.items())}
    return offset, own, figures


def _between(present: list[float], absent: list[float]) -> float:
    return float(np.quantile(present, 1 - MOST) + np.quantile(absent, MOST)) / 2


def _ask(head: GroundingHead, read: StructureReader, store: ViewStore, phrases: dict[str, np.ndarray]) -> _Asked:
    """Ask each held-out view for what is there, what its region could hold and does not, and one thing of another."""
    rng = np.random.default_rng(0)
    asked = _Asked()
    for row in held_out(store):
        view, bits = store.views[row], store.bits[row]
        masks = {s: (bits >> STRUCTURES.index(s)) & 1 for s in view.labelled}
        there = {s for s, m in masks.items() if m.sum() > 0}
        near, far = known_absent(view, there)
        names = [s for s in sorted(there) if masks[s].sum() >= SMALLEST_OBJECT] + near + [str(rng.choice(far))]
        vectors = np.stack([phrases[s][int(rng.integers(len(phrases[s])))] for s in names])
        embedding = torch.from_numpy(store.embeddings[row].astype(np.float32))[None]
        logits, seen = head(embedding, torch.from_numpy(vectors)[None])
        drawn = read.unpacked(read(store.canvases[row].astype(np.float32) / 255))
        logits = torch.stack([drawn.joined_map(s, logits[0, k]) for k, s in enumerate(names)])[None]
        seen = drawn.joined_presences(names, seen[0])[None]
        full = torch.nn.functional.interpolate(logits, scale_factor=CANVAS / GRID, mode="bilinear")[0].numpy()
        for k, structure in enumerate(names):
            if structure in there:
                asked.present.setdefault(structure, []).append(float(seen[0, k]))
                overlap = _dice(full[k] > 0, masks[structure] > 0)
                asked.dice.setdefault(f"{view.dataset}: {structure}", []).append(overlap)
            else:
                kind = "same region" if structure in near else "other region"
                asked.absent.setdefault((kind, structure), []).append(float(seen[0, k]))
    return asked


@torch.inference_mode()
def click_figures(decoder: ClickDecoder, store: ViewStore, datasets: Sequence[str], most: int = 60) -> dict[str, float]:
    """Dice after a true box and after 1, 3 and 5 clicks on held-out pictures, a click in the middle of the error."""
    figures: dict[str, float] = {}
    for dataset in datasets:
        scores: dict[str, list[float]] = {}
        rows = [i for i in held_out(store) if store.views[i].dataset == dataset and store.bits[i].any()][:most]
        for row in rows:
            target = store.bits[row] > 0
            embedding = torch.from_numpy(store.embeddings[row].astype(np.float32))[None]
            canvas = torch.from_numpy(store.canvases[row].astype(np.float32) / 255)[None]
            ys, xs = np.nonzero(target)
            box = [[float(xs.min()), float(ys.min())], [float(xs.max()), float(ys.max())]]
            none = torch.full((1, 1, CANVAS, CANVAS), float("nan"))
            logits = decoder(embedding, canvas, torch.tensor([box]), torch.tensor([[2, 3]]), none)[0]
            scores.setdefault("box", []).append(_dice(logits[0].numpy() > 0, target))
            points, labels, mask = [central_pixel(target)], [1], none
            for clicks in range(1, 6):
                logits = decoder(embedding, canvas, torch.tensor([points]), torch.tensor([labels]), mask)[0]
                drawn = logits[0].numpy() > 0
                if clicks in (1, 3, 5):
                    scores.setdefault(f"{clicks} clicks", []).append(_dice(drawn, target))
                error = largest_error(drawn, target)
                if error is not None:
                    points.append(error[0])
                    labels.append(error[1])
                mask = logits.clamp(-16, 16)[:, None]
        figures |= {f"{dataset}, {k}": float(np.mean(v)) for k, v in scores.items()}
    return figures


def _dice(drawn: np.ndarray, target: np.ndarray) -> float:
    return float(2 * (drawn & target).sum() / max(int(drawn.sum() + target.sum()), 1))
