"""Fit the reading of the body region: logistic regression on what the stored embeddings are like on the whole."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from napari_medclipsam.learning.lite_samples import GROUPS
from napari_medclipsam.learning.lite_views import ViewStore
from napari_medclipsam.models.lite.region import LEAST_PROBABILITY, REGIONS, RegionProbe, summary

_DECAY = 0.003
"""Keeps the reading doubtful on pictures unlike any it was fitted on."""


def fit_region(store: ViewStore, probe: RegionProbe, iterations: int = 60) -> dict[str, float]:
    """Fit `probe` in place on the training views; return how it does on those held out.

    Parameters
    ----------
    store : ViewStore
        Encoded views.
    probe : RegionProbe
        Receives the weights.
    iterations : int
        Of L-BFGS.
    """
    rows = sorted(store.rows(validation=False) + store.rows(validation=True))
    features = torch.cat([summary(torch.from_numpy(store.embeddings[i].astype("float32"))[None]) for i in rows])
    regions = torch.tensor([REGIONS.index(GROUPS[store.views[i].dataset]) for i in rows])
    held = torch.tensor([store.views[i].validation for i in rows])
    probe.centre.copy_(features[~held].mean(0))
    probe.spread.copy_(features[~held].std(0).clamp(min=1e-3))
    # Each region counts the same, however many pictures it has.
    weights = 1 / torch.bincount(regions[~held], minlength=len(REGIONS)).clamp(min=1)
    optimiser = torch.optim.LBFGS(probe.read.parameters(), max_iter=iterations, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        wrong = F.cross_entropy(probe.judge(features[~held]), regions[~held], weight=weights)
        value = wrong + _DECAY * (probe.read.weight**2).sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimiser.step(loss)
    chances = probe.judge(features[held]).detach().softmax(1)
    own = chances[torch.arange(len(chances)), regions[held]]
    return {
        "region right": float((chances.argmax(1) == regions[held]).float().mean()),
        "own region too improbable": float((own < LEAST_PROBABILITY).float().mean()),
        "other region probable enough": float((chances >= LEAST_PROBABILITY).float().sum(1).sub(1).clamp(min=0).mean()),
    }
