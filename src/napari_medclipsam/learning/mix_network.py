"""SAM-Mix (arXiv 2412.08575): a classifier on image-level labels, its Grad-CAM as a box, and SAM with LoRA in it.

The classifier is two convolutions on the encoder's embedding, a linear layer in every cell and the log-sum-exp over the
cells (Pinheiro and Collobert 2015). Grad-CAM of such a network is the rectified linear layer's own answer, times a
constant, so no second pass is needed for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from napari_medclipsam.learning.mix_backbone import Backbone
from napari_medclipsam.models.lite.preprocess import CANVAS
from napari_medclipsam.prompting.from_saliency import box_with_margin
from napari_medclipsam.saliency.coarse import components

_HIDDEN = 64
#: How near the log-sum-exp is to a maximum: a lesion in one cell of a hundred must count.
_SHARPNESS = 4.0
_BOX_MARGIN = 0.05
_MIN_SHARE = 0.1


class ClassHead(nn.Module):
    """Embeddings to a map of logits for each class.

    Parameters
    ----------
    width : int
        Channels of an embedding.
    n_classes : int
        As many maps.
    """

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(width, _HIDDEN, 3, padding=1, bias=False),
            nn.GroupNorm(4, _HIDDEN),
            nn.GELU(),
            nn.Conv2d(_HIDDEN, _HIDDEN, 3, padding=1, bias=False),
            nn.GroupNorm(4, _HIDDEN),
            nn.GELU(),
        )
        self.read = nn.Conv2d(_HIDDEN, n_classes, 1)
        nn.init.constant_(self.read.bias, -1.0)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """(batch, width, rows, columns) → (batch, classes, rows, columns)."""
        maps: torch.Tensor = self.read(self.features(embeddings))
        return maps


def pooled(maps: torch.Tensor) -> torch.Tensor:
    """Return the logit of each class, (batch, classes), of its map (batch, classes, rows, columns)."""
    cells = maps.float().flatten(2)
    return (torch.logsumexp(_SHARPNESS * cells, 2) - float(np.log(cells.shape[2]))) / _SHARPNESS


class MixNetwork(nn.Module):
    """Encoder, classifier and decoder.

    Parameters
    ----------
    backbone : Backbone
        With LoRA.
    n_classes : int
        That the classifier tells apart.
    """

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = ClassHead(backbone.width, n_classes)

    def forward(
        self,
        stems: torch.Tensor,
        places: Sequence[int] = (),
        boxes_xyxy: Sequence[tuple[float, ...] | None] = (),
        *,
        are_embedded: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return maps (batch, classes, rows, columns) and mask logits (batch, side, side), None without `places`.

        Parameters
        ----------
        stems : torch.Tensor
            See `Backbone.embed`; with `are_embedded`, what that returned.
        places : sequence of int
            The class that is outlined in each slice.
        boxes_xyxy : sequence of tuple of float or None
            Where, in pixels of a canvas of 256; None takes the largest box of the class's Grad-CAM.
        """
        embeddings = stems if are_embedded else self.backbone.embed(stems)
        maps = self.head(embeddings)
        if not places:
            return maps, None
        seen = maps.detach().float().sigmoid().cpu().numpy()
        chosen = [
            cam_boxes(seen[number, place], 1)[0] if box is None else box
            for number, (place, box) in enumerate(zip(places, boxes_xyxy, strict=True))
        ]
        boxes = torch.tensor(chosen, dtype=torch.float32, device=stems.device)
        return maps, self.backbone.decode(embeddings, boxes)


def cam_boxes(values_yx: np.ndarray, most: int) -> list[tuple[float, ...]]:
    """Return boxes around the regions of a Grad-CAM, the largest first, in pixels of a canvas of 256.

    Parameters
    ----------
    values_yx : numpy.ndarray
        float (rows, columns) in [0, 1], of the whole canvas. Where nothing is above a half, half of the highest counts.
    most : int
        As many at most.
    """
    level = min(0.5, float(values_yx.max()) / 2)
    found = components(values_yx > level, values_yx, most, min_share=_MIN_SHARE)
    step = CANVAS / values_yx.shape[0]
    boxes: list[tuple[float, ...]] = []
    for one in found:
        x0, y0, x1, y1 = one.box_xyxy
        canvas = (x0 * step, y0 * step, (x1 + 1) * step - 1, (y1 + 1) * step - 1)
        boxes.append(box_with_margin(canvas, (CANVAS, CANVAS), _BOX_MARGIN))
    return boxes or [(0.0, 0.0, CANVAS - 1.0, CANVAS - 1.0)]


def class_loss(maps: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return the binary focal loss (Lin et al. 2017) of what is known: `present` (batch, classes) is NaN elsewhere."""
    known = ~present.isnan()
    losses = sigmoid_focal_loss(pooled(maps), present.nan_to_num(), alpha=-1, gamma=2)
    return (losses * known).sum() / known.sum().clamp(min=1)


def outline_loss(logits: torch.Tensor, masks: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return cross-entropy and soft Dice of each slice, (batch,).

    Parameters
    ----------
    logits, masks, weights : torch.Tensor
        (batch, rows, columns); pixels of weight 0 do not count.
    """
    logits = logits.float()
    entropy = (F.binary_cross_entropy_with_logits(logits, masks, reduction="none") * weights).sum((1, 2))
    guessed = logits.sigmoid() * weights
    overlap = 2 * (guessed * masks).sum((1, 2)) + 1
    sizes = guessed.sum((1, 2)) + (masks * weights).sum((1, 2)) + 1
    return entropy / weights.sum((1, 2)).clamp(min=1) + 1 - overlap / sizes


def map_loss(maps: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return how far the maps (batch, classes, rows, columns) are from shares of masks, (batch, classes).

    Cells inside and outside count alike, however small a structure is.
    """
    losses = F.binary_cross_entropy_with_logits(maps.float(), masks, reduction="none")
    inside = (losses * masks).sum((2, 3)) / masks.sum((2, 3)).clamp(min=1)
    outside = (losses * (1 - masks)).sum((2, 3)) / (1 - masks).sum((2, 3)).clamp(min=1)
    return inside + outside
