"""From the mask of one slice to the masks of the next, until the structure ends.

Each slice is prompted by the mask of the one before: a box with a margin and the mask as soft logits, and where a text
is known also by its saliency. Nothing here is random.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import (
    Embedding,
    MaskResult,
    PromptableSegmenter,
    PromptSet,
    SaliencyMap,
    TextGrounder,
)
from napari_medclipsam.prompting.from_saliency import MAX_LOGIT, box_with_margin
from napari_medclipsam.saliency.coarse import components

_MOST_PARTS = 4
_LEAST_SHARE = 0.1
_SOFTNESS_PX = 2.0


@dataclass(frozen=True)
class StopRule:
    """When a structure has ended. All limits are relative, so that they hold for other models and organs.

    Parameters
    ----------
    least_overlap : float
        Of the smaller of two neighbouring masks, this share must lie in the other.
    most_growth : float
        A mask is not more than this many times larger, or smaller, than the one before.
    least_iou : float
        The estimated IoU stays above this share of its value on the first slice.
    """

    least_overlap: float = 0.5
    most_growth: float = 3.0
    least_iou: float = 0.7


@dataclass(frozen=True, eq=False)
class Carried:
    """A mask that was carried to a slice.

    Parameters
    ----------
    index : int
        Of the slice.
    logits_yx : numpy.ndarray
        float16; the mask is where they are positive.
    estimated_iou : float
        The segmenter's estimate.
    """

    index: int
    logits_yx: np.ndarray
    estimated_iou: float

    @property
    def mask_yx(self) -> np.ndarray:
        """Bool mask."""
        return self.logits_yx > 0


def mask_logits_of(mask_yx: np.ndarray, softness_px: float = _SOFTNESS_PX) -> np.ndarray:
    """Return a mask as logits, float32, that are near zero at its edge and sure away from it."""
    soft = ndimage.gaussian_filter(mask_yx.astype(np.float32), softness_px)
    return ((np.clip(soft, 0.02, 0.98) - 0.5) * 2 * MAX_LOGIT).astype(np.float32)


def joined_masks(segmenter: PromptableSegmenter, embedding: Embedding, prompts: Sequence[PromptSet]) -> MaskResult:
    """Outline each part of an object and join them; the estimated IoU is their mean by area."""
    results = [segmenter.masks(embedding, p) for p in prompts]
    areas = [1 + int(r.mask_yx.sum()) for r in results]
    logits = np.maximum.reduce([r.logits_yx for r in results])
    return MaskResult(logits, float(np.average([r.estimated_iou for r in results], weights=areas)))


def prompts_from_mask(mask_yx: np.ndarray, saliency: SaliencyMap | None, margin: float = 0.1) -> tuple[PromptSet, ...]:
    """Return the prompts that a neighbour's mask gives: one set per connected part of it.

    Parameters
    ----------
    mask_yx : numpy.ndarray
        bool, not empty.
    saliency : SaliencyMap, optional
        Of this slice; what it says near the mask moves the mask prompt.
    margin : float
        Each box grows on each side by this share of its own side: a structure moves from slice to slice.
    """
    shape_yx = (int(mask_yx.shape[0]), int(mask_yx.shape[1]))
    logits = mask_logits_of(mask_yx)
    parts = components(mask_yx, mask_yx.astype(np.float32), _MOST_PARTS, min_share=_LEAST_SHARE)
    sets = []
    for part in parts:
        others = mask_yx & ~part.mask_yx
        prior = np.where(others, -MAX_LOGIT, logits).astype(np.float32)
        sets.append(PromptSet(box_xyxy=box_with_margin(part.box_xyxy, shape_yx, margin), mask_logits_yx=prior))
    return tuple(sets)


def propagate(
    mask_yx: np.ndarray,
    slices: Iterable[tuple[int, Slice]],
    segmenter: PromptableSegmenter,
    grounder: TextGrounder | None = None,
    text: str = "",
    rule: StopRule | None = None,
) -> Iterator[Carried]:
    """Carry a mask from slice to slice; ends with the slices or where the structure ends.

    Parameters
    ----------
    mask_yx : numpy.ndarray
        bool, not empty: the mask of the slice before the first.
    slices : iterable of (int, Slice)
        In order, away from that slice.
    segmenter : PromptableSegmenter
        Outlines.
    grounder : TextGrounder, optional
        Says where it sees `text`.
    text : str
        The name of the structure; goes into it only if the grounder knows it.
    rule : StopRule, optional
        When to stop.
    """
    rule = rule or StopRule()
    first_iou: float | None = None
    for index, image in slices:
        if image.pixels.min() == image.pixels.max():
            return
        saliency = grounder.saliency(image, text) if grounder is not None and text else None
        result = joined_masks(segmenter, segmenter.embed(image), prompts_from_mask(mask_yx, saliency))
        first_iou = first_iou if first_iou is not None else result.estimated_iou
        if _has_ended(mask_yx, result, first_iou, rule):
            return
        yield Carried(index, result.logits_yx.astype(np.float16), result.estimated_iou)
        mask_yx = result.mask_yx


def _has_ended(before_yx: np.ndarray, result: MaskResult, first_iou: float, rule: StopRule) -> bool:
    """Tell whether a new mask is no longer the structure."""
    mask = result.mask_yx
    areas = sorted((int(before_yx.sum()), int(mask.sum())))
    if areas[0] == 0 or areas[1] > rule.most_growth * areas[0]:
        return True
    overlap = int((before_yx & mask).sum()) / areas[0]
    return overlap < rule.least_overlap or result.estimated_iou < rule.least_iou * first_iou


def blended(
    upwards: Mapping[int, Carried], downwards: Mapping[int, Carried], span: tuple[int, int]
) -> dict[int, Carried]:
    """Blend what came from both ends of a span; the nearer end weighs more.

    Parameters
    ----------
    upwards, downwards : dict
        By slice index, from the anchor before and after the span. A way that ended early leaves slices to the other.
    span : tuple of int
        First and last slice index, both inclusive.
    """
    first, last = span
    found = {}
    for index in range(first, last + 1):
        up, down = upwards.get(index), downwards.get(index)
        if up is None or down is None:
            only = up or down
            if only is not None:
                found[index] = only
            continue
        weight = (last + 1 - index) / (last - first + 2)
        parts = [np.clip(c.logits_yx.astype(np.float32), -MAX_LOGIT, MAX_LOGIT) for c in (up, down)]
        logits = weight * parts[0] + (1 - weight) * parts[1]
        iou = weight * up.estimated_iou + (1 - weight) * down.estimated_iou
        if (logits > 0).any():
            found[index] = Carried(index, logits.astype(np.float16), iou)
    return found
