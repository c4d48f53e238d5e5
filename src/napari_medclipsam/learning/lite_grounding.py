"""Step 2 of training medclipsam-lite: the grounding head, from stored embeddings, masks and phrases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from napari_medclipsam.learning.lite_samples import GROUPS, STRUCTURE_REGIONS, STRUCTURES, Sample
from napari_medclipsam.learning.lite_schedule import Schedule, Told, train_averaged
from napari_medclipsam.learning.lite_views import View, ViewStore
from napari_medclipsam.models.lite.grounding import GRID, GroundingHead
from napari_medclipsam.models.lite.phrases import PhraseBook

SHARES = {
    "brain_mri": 0.34,
    "breast_us": 0.18,
    "polyps": 0.15,
    "chest_xray": 0.10,
    "chest_structures": 0.07,
    "lgg": 0.06,
    "hippocampus": 0.04,
    "spinal_cord": 0.03,
    "mni": 0.03,
}
"""How much of the training each data set gets: small sets more often than their size."""


@dataclass(frozen=True)
class GroundingSettings(Schedule):
    """How the head is trained; see `Schedule`.

    Parameters
    ----------
    phrases : int
        Asked of each picture.
    """

    steps: int = 3600
    batch: int = 12
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.03
    averaging: float = 0.996
    phrases: int = 2


class Asker:
    """Chooses what to ask of a view: something that is there, something that is not.

    Parameters
    ----------
    book : PhraseBook
        The phrases. Structures that are not in it are never asked for.
    encode : callable
        Phrases to float32 (n, 384); every phrasing is encoded once, here.
    """

    def __init__(self, book: PhraseBook, encode: Callable[[Sequence[str]], np.ndarray]) -> None:
        self.book = book
        texts: list[str] = []
        for structure in book.structures.values():
            texts += structure.phrases
        texts += [*book.unknown, *book.meaningless]
        unique = list(dict.fromkeys(texts))
        framed = [(t, template) for t in unique for template in dict.fromkeys(book.templates)]
        self._place = {pair: row for row, pair in enumerate(framed)}
        self.vectors = encode([template.format(text) for text, template in framed])

    def _vector(self, text: str, rng: np.random.Generator, sentence: bool = False) -> np.ndarray:
        template = "{}" if sentence else str(rng.choice(self.book.templates))
        return self.vectors[self._place[text, template]]

    def present(self, structure: str, kind: str, rng: np.random.Generator) -> np.ndarray:
        """A phrasing of something that is there."""
        entry = self.book.structures[structure]
        if kind in entry.kinds and rng.random() < 0.3:
            return self._vector(str(rng.choice(entry.kinds[kind])), rng)
        if rng.random() < 0.2:
            return self._vector(str(rng.choice(entry.sentences)), rng, sentence=True)
        return self._vector(str(rng.choice(entry.nouns)), rng)

    def absent(self, structure: str, rng: np.random.Generator) -> np.ndarray:
        """A phrasing of a structure that is not there, of any of its kinds."""
        return self._vector(str(rng.choice(self.book.structures[structure].phrases)), rng)

    def untaught(self, rng: np.random.Generator) -> np.ndarray:
        """A phrase that names nothing the model was taught."""
        return self._vector(str(rng.choice(self.book.unknown + self.book.meaningless)), rng)


def known_absent(view: View | Sample, there: set[str]) -> tuple[list[str], list[str]]:
    """Structures certainly not in a view: (of the same body region, of another one)."""
    group = GROUPS[view.dataset]
    near = [s for s in view.labelled if s not in there]
    far = [s for s in STRUCTURES if STRUCTURE_REGIONS[s] != group]
    return near, far


def questions(
    view: View, bits: np.ndarray, asker: Asker, rng: np.random.Generator, count: int = 3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choose phrases for a view: vectors (n, 384), soft masks (n, 128, 128), presence (n,)."""
    areas = {s: int(np.count_nonzero(bits & (1 << STRUCTURES.index(s)))) for s in view.labelled}
    there = [s for s, area in areas.items() if area >= 12]
    # A sliver of a structure is neither there nor not there: it is not asked for.
    absent = known_absent(view, {s for s, area in areas.items() if area > 0})
    near, far = ([s for s in names if s in asker.book.structures] for names in absent)
    vectors, masks, presence = [], [], []
    for turn in range(count):
        if there and (turn == 0 or (turn == 2 and rng.random() < 0.35)):
            structure = str(rng.choice(there))
            vectors.append(asker.present(structure, view.kind, rng))
            mask = ((bits >> STRUCTURES.index(structure)) & 1).astype(np.float32)
            masks.append(mask.reshape(GRID, 2, GRID, 2).mean((1, 3)))
            presence.append(1.0)
            continue
        draw = rng.random()
        if near and draw < (0.5 if there else 0.8):
            vectors.append(asker.absent(str(rng.choice(near)), rng))
        elif draw < (0.7 if there else 0.85):
            vectors.append(asker.untaught(rng))
        else:
            vectors.append(asker.absent(str(rng.choice(far)), rng))
        masks.append(np.zeros((GRID, GRID), np.float32))
        presence.append(0.0)
    return np.stack(vectors), np.stack(masks), np.array(presence, np.float32)


def grounding_loss(
    logits: torch.Tensor,
    presence_logits: torch.Tensor,
    masks: torch.Tensor,
    presence: torch.Tensor,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy per cell, soft Dice where the structure is there, cross-entropy of presence.

    Parameters
    ----------
    logits, masks : torch.Tensor
        (b, n, side, side), of n phrases or structures.
    presence_logits, presence : torch.Tensor
        (b, n).
    weights : torch.Tensor, optional
        (b, n), how much each counts; below a half, its Dice does not. Default: all alike.
    """
    weights = torch.ones_like(presence) if weights is None else weights
    cells = F.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean((2, 3))
    probability = logits.sigmoid()
    overlap = (probability * masks).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + masks.sum((2, 3)) + 1)
    there = (presence > 0.5) & (weights > 0.5)
    seen = F.binary_cross_entropy_with_logits(presence_logits, presence, weights, reduction="sum")
    whole = (2.0 * (cells * weights).sum() + 0.5 * seen) / weights.sum()
    return whole + (dice * there).sum() / there.sum().clamp(min=1)


def train_grounding(store: ViewStore, asker: Asker, settings: GroundingSettings, log: Told) -> GroundingHead:
    """Train the head and return its averaged weights.

    Parameters
    ----------
    store : ViewStore
        Encoded views; those held out for validation are left alone.
    asker : Asker
        Chooses the phrases.
    settings : GroundingSettings
        Steps, rates, seed.
    log : callable
        Told a row of figures now and then.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    head = GroundingHead().to(memory_format=torch.channels_last).train()
    training = store.rows(validation=False)
    drawn = by_share([store.views[i].dataset for i in training], rng)

    def loss() -> torch.Tensor:
        rows = [training[next(drawn)] for _ in range(settings.batch)]
        embeddings, vectors, masks, presence = _batch(store, rows, asker, settings.phrases, rng)
        logits, seen = head(embeddings, vectors)
        return grounding_loss(logits, seen, masks, presence)

    return train_averaged(head, settings, loss, log)


def by_share(datasets: Sequence[str], rng: np.random.Generator) -> Iterator[int]:
    """Yield positions without end: a data set by its share, and its pictures in a new order each time round.

    Parameters
    ----------
    datasets : sequence of str
        The data set of each picture.
    rng : numpy.random.Generator
        Chooses.
    """
    sets = {name: [i for i, dataset in enumerate(datasets) if dataset == name] for name in SHARES}
    names = [name for name, positions in sets.items() if positions]
    shares = np.array(shares_of(names))
    waiting: dict[str, list[int]] = {name: [] for name in names}
    while True:
        name = str(rng.choice(names, p=shares / shares.sum()))
        if not waiting[name]:
            waiting[name] = [int(i) for i in rng.permutation(sets[name])]
        yield waiting[name].pop()


def shares_of(names: Sequence[str]) -> list[float]:
    """Return how much of the training each of some data sets gets: a body region keeps what it has in `SHARES`."""
    whole, left = dict.fromkeys(GROUPS.values(), 0.0), dict.fromkeys(GROUPS.values(), 0.0)
    for name, share in SHARES.items():
        whole[GROUPS[name]] += share
        left[GROUPS[name]] += share if name in names else 0.0
    return [SHARES[name] * whole[GROUPS[name]] / left[GROUPS[name]] for name in names]


def _batch(
    store: ViewStore, rows: list[int], asker: Asker, phrases: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings, phrase vectors, masks and presence of some views."""
    asked = [questions(store.views[i], store.bits[i], asker, rng, phrases) for i in rows]
    embeddings = torch.from_numpy(np.stack([store.embeddings[i] for i in rows]).astype(np.float32))
    vectors, masks, presence = (torch.from_numpy(np.stack(part)) for part in zip(*asked, strict=True))
    # A little noise stands for the phrasings that nobody wrote down.
    vectors = vectors + torch.randn_like(vectors) * 0.015
    return embeddings.contiguous(memory_format=torch.channels_last), vectors, masks, presence
