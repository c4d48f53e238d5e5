"""Step 5 of training medclipsam-lite, second half: the heads that put pictures, regions and texts into one space.

Two losses on everything: DHN-NCE with captions and region names (arXiv 2403.20253), and a softmax between the concept
that is true of a picture or region and those that are certainly false of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from napari_medclipsam.learning.clip_losses import ContrastSettings, contrastive_loss
from napari_medclipsam.learning.lite_captions import Concepts, caption, table
from napari_medclipsam.learning.lite_grounding import SHARES
from napari_medclipsam.learning.lite_region_views import RegionStore
from napari_medclipsam.learning.lite_schedule import Schedule, Told, train_averaged
from napari_medclipsam.learning.lite_views import View
from napari_medclipsam.models.lite.regions import SEEN, RegionHeads, Standard

Encode = Callable[[Sequence[str]], np.ndarray]

HELD_OUT_FILMS = (18, 40)
"""The films of chest_structures, which has no test split, that are kept out, by their place in the order of names."""


@dataclass(frozen=True)
class EmbeddingSettings(Schedule):
    """How the heads are trained; see `Schedule`.

    Parameters
    ----------
    regions : int
        Of each picture.
    loss : str
        Contrastive loss of captions and names; see `clip_losses.LOSSES`.
    temperature : float
        Of that loss.
    concepts, contrast, names : float
        Weights of the softmax between concepts and of the contrastive loss; λ, that of region names in the latter.
    sharpness : float
        What cosines are multiplied with in the softmax of concepts.
    """

    steps: int = 1000
    batch: int = 48
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    averaging: float = 0.995
    regions: int = 3
    loss: str = "dhn-nce"
    temperature: float = 0.1
    concepts: float = 1.0
    contrast: float = 0.1
    names: float = 1.0
    sharpness: float = 14.0


class Taught:
    """Everything that the training asks, in arrays: regions by view, truths, captions and the vectors of all texts.

    Parameters
    ----------
    store : RegionStore
        Pooled regions.
    views : list of View
        Those of the view store.
    concepts : Concepts
        What can be true.
    encode : callable
        Texts to float32 (n, 384).
    """

    def __init__(self, store: RegionStore, views: list[View], concepts: Concepts, encode: Encode) -> None:
        self.store, self.views, self.concepts, self.encode = store, views, concepts, encode
        self.names = list(concepts.phrases)
        self.by_view: list[list[int]] = [[] for _ in views]
        for number, region in enumerate(store.regions):
            self.by_view[region.row].append(number)
        drawn = [[store.regions[k] for k in own if store.regions[k].role == "drawn"] for own in self.by_view]
        present = [{region.structure for region in own} for own in drawn]
        pairs = zip(views, present, strict=True)
        self.image_truth = table(concepts, [concepts.of_image(view, there) for view, there in pairs])
        self.region_truth = table(concepts, [concepts.of_region(views[r.row], r) for r in store.regions])
        self.captions = [caption(view, own, concepts.films) for view, own in zip(views, drawn, strict=True)]
        said = dict.fromkeys(text for own in self.captions for text in own)
        phrased = [text for own in concepts.phrases.values() for text in own]
        framed = [frame.format(text) for frame in FRAMES for text in (*phrased, *concepts.distractors)]
        texts = list(dict.fromkeys((*said, *framed)))
        self.place = {text: k for k, text in enumerate(texts)}
        self.vectors = torch.from_numpy(np.asarray(encode(texts), np.float32))

    def drawn_names(self, rng: np.random.Generator) -> torch.Tensor:
        """Vectors of one phrasing of each concept, then of some distractors."""
        chosen = [str(rng.choice(own)) for own in self.concepts.phrases.values()]
        chosen += [str(text) for text in rng.choice(self.concepts.distractors, 24, replace=False)]
        return self.vectors[[self.place[str(rng.choice(FRAMES)).format(text)] for text in chosen]]

    def said_of(self, row: int, rng: np.random.Generator) -> int:
        """Return the place of one phrasing of a view's caption."""
        return self.place[str(rng.choice(self.captions[row]))]


FRAMES = ("{}", "{}", "the {}", "image showing {}", "{} in this image", "is this {}?")


def held_films(views: list[View]) -> set[str]:
    """Names of the chest_structures films that are kept out."""
    names = sorted({view.name for view in views if view.dataset == "chest_structures"})
    return set(names[slice(*HELD_OUT_FILMS)])


def parted(views: list[View]) -> tuple[list[int], list[int]]:
    """Rows to train on, and rows held out: validation views, and films kept out as they are."""
    films = held_films(views)
    kept = [v.validation or (v.dataset == "chest_structures" and v.name in films) for v in views]
    return [i for i, out in enumerate(kept) if not out], [i for i, out in enumerate(kept) if out]


def measure(heads: RegionHeads, store: RegionStore, rows: Sequence[int]) -> None:
    """Set what the heads' inputs are like on the whole."""
    mine = {*rows}
    regions = [k for k, region in enumerate(store.regions) if region.row in mine]
    some = torch.from_numpy(store.tokens[sorted(mine)[:: max(1, len(mine) // 300)]].astype(np.float32)).flatten(0, 1)
    for part, numbers in (
        (heads.of_region, torch.from_numpy(store.pooled[regions].astype(np.float32))),
        (heads.of_whole, torch.from_numpy(store.whole[sorted(mine)].astype(np.float32))),
        (heads.of_token, some),
    ):
        assert isinstance(part, Standard)
        part.centre.copy_(numbers.mean(0))
        part.spread.copy_(numbers.std(0).clamp(min=1e-3))


def concept_loss(similarities: torch.Tensor, truth: torch.Tensor, sharpness: float) -> torch.Tensor:
    """Softmax between each true concept and those that are certainly false, averaged over items with both.

    Parameters
    ----------
    similarities : torch.Tensor
        Cosines (items, concepts).
    truth : torch.Tensor
        int8 of the same shape: 1 true, 0 false, -1 not known.
    sharpness : float
        What the cosines are multiplied with.
    """
    logits = similarities * sharpness
    others = logits.masked_fill(truth != 0, -torch.inf).logsumexp(1, keepdim=True)
    each = F.softplus(others - logits)
    true = truth == 1
    per_item = (each * true).sum(1) / true.sum(1).clamp(min=1)
    return per_item[true.any(1)].mean()


@dataclass(frozen=True)
class Batch:
    """Pictures with some regions each, what is true of them, and the places of their captions."""

    whole: torch.Tensor
    tokens: torch.Tensor
    regions: torch.Tensor
    image_truth: torch.Tensor
    region_truth: torch.Tensor
    captions: list[int]
    lesions: list[int]
    """Of each picture, which of its regions the caption names; -1 for none."""


def make_batch(taught: Taught, rows: Sequence[int], count: int, rng: np.random.Generator) -> Batch:
    """Choose `count` regions of each view in `rows`, a drawn one first where there is one."""
    chosen, lesions = [], []
    for row in rows:
        mine = taught.by_view[row]
        first = [k for k in mine if taught.store.regions[k].role in ("drawn", "careless")]
        pick = [int(rng.choice(first))] if first else []
        pick += [int(k) for k in rng.choice(mine, count - len(pick))] if mine else [0] * (count - len(pick))
        lesions.append(0 if first and taught.store.regions[pick[0]].structure in _LESIONS else -1)
        chosen.append(pick)
    truth = taught.region_truth[np.array(chosen)].copy()
    numbers = taught.store.pooled[np.array(chosen)].astype(np.float32)
    overall = taught.store.whole[rows].astype(np.float32)
    for place, row in enumerate(rows):
        if not taught.by_view[row]:
            truth[place] = -1
        if rng.random() < WHOLE_SHARE:
            truth[place, -1] = taught.image_truth[row]
            numbers[place, -1] = np.concatenate([overall[place], overall[place, :SEEN], _WHOLE_FORM])
    return Batch(
        torch.from_numpy(overall),
        torch.from_numpy(taught.store.tokens[rows].astype(np.float32)),
        torch.from_numpy(numbers),
        torch.from_numpy(taught.image_truth[rows]),
        torch.from_numpy(truth),
        [taught.said_of(row, rng) for row in rows],
        lesions,
    )


WHOLE_SHARE = 0.15
"""How many pictures have the whole of themselves as their last region."""

_WHOLE_FORM = np.array([0.5, 0.5, 12**-0.5, 12**-0.5, 0, 1, 1], np.float32)
"""What `pooled` says of the place and shape of a region that is everything."""

_LESIONS = ("brain_tumor", "breast_lesion", "polyp")


def _distinct(keys: Sequence[object]) -> list[int]:
    """Return the places where a key is there for the first time: a caption twice would be its own negative."""
    return list({key: place for place, key in reversed(list(enumerate(keys)))}.values())


def batch_loss(
    heads: RegionHeads, taught: Taught, batch: Batch, settings: EmbeddingSettings, rng: np.random.Generator
) -> torch.Tensor:
    """Return the whole loss of a batch."""
    context = heads.context(batch.tokens)
    image = heads.image(batch.whole, context)
    region = heads.region(batch.regions, context)
    fused = heads.fused(image, region)
    vectors = taught.drawn_names(rng)
    names = heads.text(vectors + 0.01 * torch.randn_like(vectors))
    extra = len(names) - len(taught.names)
    image_truth = F.pad(batch.image_truth, (0, extra), value=0)
    region_truth = F.pad(batch.region_truth.flatten(0, 1), (0, extra), value=0)
    loss = concept_loss(image @ names.T, image_truth, settings.sharpness)
    for vectors_of in (region, fused):
        loss = loss + concept_loss(vectors_of.flatten(0, 1) @ names.T, region_truth, settings.sharpness)
    said = heads.text(taught.vectors[batch.captions])
    contrast = ContrastSettings(settings.temperature)
    keys = [frozenset(np.flatnonzero(t == 1).tolist()) for t in batch.region_truth[:, 0].numpy()]
    texts = _distinct(batch.captions)
    total = contrastive_loss(image[texts], said[texts], settings.loss, contrast)
    named = [k for k in texts if batch.lesions[k] == 0]
    if len(named) > 1:
        total = total + contrastive_loss(fused[named, 0], said[named], settings.loss, contrast)
    true = [(k, np.flatnonzero(batch.region_truth[k, 0].numpy() == 1)) for k in _distinct(keys)]
    pairs = [(k, int(rng.choice(own))) for k, own in true if len(own)]
    pairs = [pairs[k] for k in _distinct([concept for _, concept in pairs])]
    if len(pairs) > 1:
        places, concepts = map(list, zip(*pairs, strict=True))
        named_loss = contrastive_loss(region[places, 0], names[concepts], settings.loss, contrast)
        total = total + settings.names * named_loss
    return settings.concepts * loss + settings.contrast * total


def train_embedding(taught: Taught, rows: Sequence[int], settings: EmbeddingSettings, log: Told) -> RegionHeads:
    """Train the heads on the views in `rows` and return their averaged weights.

    Parameters
    ----------
    taught : Taught
        Regions, truths and texts.
    rows : sequence of int
        Views to train on.
    settings : EmbeddingSettings
        Steps, rates, seed.
    log : callable
        Told a row of figures now and then.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    heads = RegionHeads().train()
    measure(heads, taught.store, rows)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in heads.parameters() if p.ndim > 1]},
        {"params": [p for p in heads.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    weights = view_weights(taught, rows)

    def loss() -> torch.Tensor:
        chosen = [int(row) for row in rng.choice(rows, settings.batch, p=weights)]
        return batch_loss(heads, taught, make_batch(taught, chosen, settings.regions, rng), settings, rng)

    return train_averaged(heads, settings, loss, log, every=50, groups=groups).requires_grad_(False)


def view_weights(taught: Taught, rows: Sequence[int]) -> np.ndarray:
    """How often each view is drawn: data sets by `SHARES`, kinds within a data set alike."""
    kinds = [(taught.views[i].dataset, taught.views[i].kind) for i in rows]
    many = {kind: kinds.count(kind) for kind in set(kinds)}
    within = {d: sum(1 for kind in many if kind[0] == d) for d, _ in many}
    weights = np.array([SHARES[d] / within[d] / many[d, k] for d, k in kinds])
    return np.asarray(weights / weights.sum())
