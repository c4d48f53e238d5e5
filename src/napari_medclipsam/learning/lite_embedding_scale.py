"""What the region heads do on the views held out, and the scale that makes a softmax over texts a probability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from napari_medclipsam.learning.lite_embedding import Taught
from napari_medclipsam.models.lite.regions import RegionHeads

Vectors = dict[str, np.ndarray]

CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "brain tumour kind": {
        "glioma": ("glioma",),
        "meningioma": ("meningioma",),
        "pituitary": ("pituitary tumor",),
    },
    "breast": {
        "benign": ("benign breast tumor",),
        "malignant": ("malignant breast tumor",),
        "normal breast": ("normal breast tissue",),
    },
    "chest structures": {
        "lungs": ("both lungs",),
        "left_lung": ("left lung",),
        "right_lung": ("right lung",),
        "cardiomediastinum": ("heart and mediastinum",),
        "airways": ("airways",),
        "ground_glass_opacities": ("ground-glass opacities",),
        "consolidation": ("consolidation",),
    },
    "tumour or not": {"brain_tumor": ("brain tumor",), "normal brain": ("normal brain tissue",)},
    "polyp or not": {"polyp": ("polyp",), "normal colon": ("normal mucosa",)},
}
"""Questions that a reader would put: concept to the words of the answer."""


@torch.inference_mode()
def embed_views(heads: RegionHeads, taught: Taught, rows: Sequence[int]) -> tuple[np.ndarray, list[int], Vectors]:
    """Return image vectors of `rows`, the numbers of their regions, and of these the vectors f_ROI and f."""
    images, numbers = [], []
    parts: dict[str, list[np.ndarray]] = {"region": [], "both": [], "global": []}
    for row in rows:
        context = heads.context(torch.from_numpy(taught.store.tokens[[row]].astype(np.float32)))
        image = heads.image(torch.from_numpy(taught.store.whole[[row]].astype(np.float32)), context)
        images.append(image[0].numpy())
        mine = taught.by_view[row]
        if mine:
            own = heads.region(torch.from_numpy(taught.store.pooled[mine].astype(np.float32))[None], context)
            parts["region"].append(own[0].numpy())
            parts["both"].append(heads.fused(image, own)[0].numpy())
            parts["global"].append(np.repeat(image.numpy(), len(mine), 0))
            numbers += mine
    return np.stack(images), numbers, {name: np.concatenate(found) for name, found in parts.items()}


def answered(cosines: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows with one true answer among the choices, all others false, and which it is.

    Parameters
    ----------
    cosines, truth : numpy.ndarray
        (n, choices); see `lite_captions.table` for the latter.
    """
    clear = ((truth == 1).sum(1) == 1) & ((truth == 0).sum(1) == truth.shape[1] - 1)
    return cosines[clear], truth[clear].argmax(1)


def balanced(cosines: np.ndarray, classes: np.ndarray) -> float:
    """Balanced accuracy of the choice with the largest cosine."""
    right = cosines.argmax(1) == classes
    return float(np.mean([right[classes == c].mean() for c in np.unique(classes)]))


def calibrate_scale(heads: RegionHeads, taught: Taught, rows: Sequence[int]) -> tuple[float, dict[str, float]]:
    """Set the scale by the likelihood of the right answers on held-out views, each question alike.

    Parameters
    ----------
    heads : RegionHeads
        Trained.
    taught : Taught
        Regions and truths.
    rows : sequence of int
        Views held out.

    Returns
    -------
    scale : float
        For the cosines.
    figures : dict of str to float
        Balanced accuracy of each question by image, region and both, and the likelihood.
    """
    images, numbers, vectors = embed_views(heads, taught, rows)
    drawn = [k for k, n in enumerate(numbers) if taught.store.regions[n].role in ("drawn", "elsewhere")]
    truth = taught.region_truth[np.array(numbers)[drawn]]
    figures: dict[str, float] = {}
    asked: list[tuple[np.ndarray, np.ndarray]] = []
    for question, words in CHOICES.items():
        columns = [taught.names.index(concept) for concept in words]
        texts = _texts(heads, taught, [own[0] for own in words.values()])
        found = answered(images @ texts.T, taught.image_truth[np.array(rows)][:, columns])
        if len(found[1]):
            figures[f"{question}, images"] = balanced(*found)
            asked.append(found)
        for name, own in vectors.items():
            found = answered(own[drawn] @ texts.T, truth[:, columns])
            if not len(found[1]):
                continue
            figures[f"{question}, {name}"] = balanced(*found)
            if name == "both":
                asked.append(found)
    scales = np.geomspace(2, 80, 60)
    losses = [float(np.mean([_unlikelihood(*one, scale) for one in asked])) for scale in scales]
    best = int(np.argmin(losses))
    return float(scales[best]), figures | {"negative log-likelihood": losses[best]}


def _texts(heads: RegionHeads, taught: Taught, texts: list[str]) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(heads.text(torch.from_numpy(taught.encode(texts))).numpy())


def _unlikelihood(cosines: np.ndarray, classes: np.ndarray, scale: float) -> float:
    logits = cosines * scale
    logits = logits - logits.max(1, keepdims=True)
    chosen = logits[np.arange(len(classes)), classes] - np.log(np.exp(logits).sum(1))
    return float(-np.mean([chosen[classes == c].mean() for c in np.unique(classes)]))
