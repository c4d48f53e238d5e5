"""From the mask of one slice to the masks of the next, until the structure ends.

What is expected in a slice comes from three sources: the mask of the slice before, the gray values that the structure
had in the accepted slice, and where a text is known its saliency. A segmenter follows a mask prompt closely (on brain
tumours, the mask of the slice before alone was copied from slice to slice and never shrank), so the prompt has to be
right about where the structure gets smaller. Nothing here is random.
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
from napari_medclipsam.prompting.appearance import Appearance
from napari_medclipsam.prompting.from_saliency import MAX_LOGIT, box_with_margin, mask_logits
from napari_medclipsam.saliency.certainty import Certainty
from napari_medclipsam.saliency.coarse import components

_MOST_PARTS = 4
_LEAST_SHARE = 0.1
_SOFTNESS_PX = 2.0
_BOX_MARGIN = 0.1

# Weights of the sources and, as shares of the size of the structure (the root of its area), how soft the edge of the
# mask before is and how far the structure may grow to the next slice. Chosen on the ten training patients of
# volumes/lgg, where half or twice of each changes the Dice by less than 0.03.
_APPEARANCE_WEIGHT = 4.0
_SALIENCY_WEIGHT = 0.5
_MOST_SALIENCY = 4.0
_SOFTNESS_SHARE = 0.15
_REACH_SHARE = 0.1


@dataclass(frozen=True)
class StopRule:
    """When a structure has ended. All limits are relative, so that they hold for other models and organs.

    Parameters
    ----------
    least_overlap : float
        Of the smaller of two neighbouring masks, this share must lie in the other.
    most_growth : float
        A mask is at most this many times larger than the one before.
    least_area : float
        A mask has at least this share of the area of the accepted one.
    least_iou : float
        The estimated IoU stays above this share of its value on the first slice.
    """

    least_overlap: float = 0.5
    most_growth: float = 2.0
    least_area: float = 0.03
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
    certainty : Certainty
        How sure it is, and what the text says of it.
    """

    index: int
    logits_yx: np.ndarray
    estimated_iou: float
    certainty: Certainty

    @property
    def mask_yx(self) -> np.ndarray:
        """Bool mask."""
        return self.logits_yx > 0


def mask_logits_of(mask_yx: np.ndarray, softness_px: float = _SOFTNESS_PX) -> np.ndarray:
    """Return a mask as logits, float32, that are near zero at its edge and sure away from it."""
    soft = ndimage.gaussian_filter(mask_yx.astype(np.float32), softness_px)
    if 0 < (peak := float(soft.max())) <= 0.5:
        # Made soft, a speck or a thin line would be no mask any more.
        soft *= 0.75 / peak
    return ((np.clip(soft, 0.02, 0.98) - 0.5) * 2 * MAX_LOGIT).astype(np.float32)


def joined_masks(segmenter: PromptableSegmenter, embedding: Embedding, prompts: Sequence[PromptSet]) -> MaskResult:
    """Outline each part of an object and join them; the estimated IoU is their mean by area."""
    results = [segmenter.masks(embedding, p) for p in prompts]
    areas = [1 + int(r.mask_yx.sum()) for r in results]
    logits = np.maximum.reduce([r.logits_yx for r in results])
    return MaskResult(logits, float(np.average([r.estimated_iou for r in results], weights=areas)))


def expected_logits(
    mask_yx: np.ndarray, image: Slice, appearance: Appearance, saliency: SaliencyMap | None = None
) -> np.ndarray:
    """Return where the structure of the slice before is expected in a slice.

    Parameters
    ----------
    mask_yx : numpy.ndarray
        bool, not empty: the slice before.
    image : Slice
        The slice.
    appearance : Appearance
        Of the structure.
    saliency : SaliencyMap, optional
        Of the slice; counts if its phrase is known.

    Returns
    -------
    numpy.ndarray
        float32 at image size, positive where the structure is expected, within ±6; in one piece with the mask before.
    """
    size = float(np.sqrt(mask_yx.sum()))
    logits = mask_logits_of(mask_yx, max(1.0, _SOFTNESS_SHARE * size)) + _APPEARANCE_WEIGHT * appearance.evidence(image)
    if saliency is not None and saliency.known:
        logits += _SALIENCY_WEIGHT * np.clip(mask_logits(saliency.values_yx), -_MOST_SALIENCY, _MOST_SALIENCY)
    near = ndimage.distance_transform_edt(~mask_yx) <= max(2.0, _REACH_SHARE * size)
    # Opened, so that a bridge of a pixel or two does not let the structure run into its neighbours.
    region = ndimage.binary_opening((logits > 0) & near)
    touching = ndimage.binary_propagation(region & mask_yx, mask=region)
    expected = ndimage.binary_fill_holes(touching)
    sure = np.clip(np.where(expected, np.maximum(logits, 1.0), np.minimum(logits, -1.0)), -MAX_LOGIT, MAX_LOGIT)
    return np.asarray(sure, np.float32)


def prompts_of_expected(logits_yx: np.ndarray) -> tuple[PromptSet, ...]:
    """Return the prompts for what is expected: a box and a mask prompt for each connected part; none for nothing."""
    mask = logits_yx > 0
    shape_yx = (int(mask.shape[0]), int(mask.shape[1]))
    return tuple(
        PromptSet(
            box_xyxy=box_with_margin(part.box_xyxy, shape_yx, _BOX_MARGIN),
            mask_logits_yx=np.where(mask & ~part.mask_yx, np.float32(-MAX_LOGIT), logits_yx),
        )
        for part in components(mask, mask.astype(np.float32), _MOST_PARTS, min_share=_LEAST_SHARE)
    )


def propagate(
    start: tuple[Slice, np.ndarray],
    slices: Iterable[tuple[int, Slice]],
    segmenter: PromptableSegmenter,
    grounder: TextGrounder | None = None,
    text: str = "",
    rule: StopRule | None = None,
) -> Iterator[Carried]:
    """Carry a mask from slice to slice; ends with the slices or where the structure ends.

    Parameters
    ----------
    start : tuple of (Slice, numpy.ndarray)
        The accepted slice and its bool mask, not empty.
    slices : iterable of (int, Slice)
        In order, away from the accepted slice. The next is taken only when the one before is done.
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
    before_yx = start[1]
    appearance, least_px = Appearance.of(*start), rule.least_area * float(before_yx.sum())
    first_iou: float | None = None
    for index, image in slices:
        if image.pixels.min() == image.pixels.max():
            return
        saliency = grounder.saliency(image, text) if grounder is not None and text else None
        prompts = prompts_of_expected(expected_logits(before_yx, image, appearance, saliency))
        if not prompts:
            return
        result = joined_masks(segmenter, segmenter.embed(image), prompts)
        first_iou = first_iou if first_iou is not None else result.estimated_iou
        if result.mask_yx.sum() < least_px or _is_another(before_yx, result, first_iou, rule):
            return
        sure = Certainty.of_logits(result.logits_yx, saliency)
        yield Carried(index, result.logits_yx.astype(np.float16), result.estimated_iou, sure)
        before_yx = result.mask_yx


def _is_another(before_yx: np.ndarray, result: MaskResult, first_iou: float, rule: StopRule) -> bool:
    """Tell whether a new mask is not the structure of the slice before."""
    mask = result.mask_yx
    before_px, now_px = int(before_yx.sum()), int(mask.sum())
    if now_px == 0 or now_px > rule.most_growth * before_px:
        return True
    overlap = int((before_yx & mask).sum()) / min(before_px, now_px)
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
            # The text says the same of the slice from both ends; the rest is said of a mask that is mostly the nearer.
            nearer = up if weight >= 0.5 else down
            found[index] = Carried(index, logits.astype(np.float16), iou, nearer.certainty)
    return found
