"""A reader who knows the truth: clicks in the middle of the largest error, or corrects what is proposed to him."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_medclipsam.annotation.prompts import NO_PROMPTS, Prompts, prompt_sets
from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.lite_clicks import largest_error
from napari_medclipsam.pipeline import segment_slice
from napari_medclipsam.prompting.propagation import joined_masks, mask_logits_of

ENOUGH, ACCEPTABLE, HOPELESS, MOST_CLICKS = 0.9, 0.5, 0.2, 10


@dataclass(frozen=True)
class Answers:
    """Who answers the text, and who the clicks."""

    grounder: Any
    segmenter: Any

    def proposal(self, image: Slice, text: str) -> np.ndarray:
        """Return what is proposed, bool."""
        return segment_slice(image, text, self.grounder, self.segmenter).structures[0].mask_yx


def read_slice(
    image: Slice, truth: np.ndarray, proposed: np.ndarray, segmenter: Any, prompts: Prompts = NO_PROMPTS
) -> tuple[np.ndarray, int, float]:
    """Return what is accepted, how many corrections that took, and the Dice after the first click.

    Below Dice `HOPELESS` a proposal is thrown away, which is one correction. Then he clicks until Dice is `ENOUGH`, at
    most `MOST_CLICKS` times, and each click is answered as in the window; below `ACCEPTABLE` he paints it himself,
    which is one correction more. `prompts` are there before the clicks.
    """
    drawn, corrections = proposed, 0
    if proposed.any() and dice(proposed, truth) < HOPELESS:
        drawn, corrections, prompts = np.zeros_like(proposed), 1, NO_PROMPTS
    embedding, first = segmenter.embed(image), float("nan")
    logits = mask_logits_of(drawn) if drawn.any() else None
    for _ in range(MOST_CLICKS):
        error = largest_error(drawn, truth)
        if error is None or dice(drawn, truth) >= ENOUGH:
            break
        prompts = prompts.with_point(*error[0], positive=bool(error[1]))
        logits = joined_masks(segmenter, embedding, prompt_sets(prompts, image.shape_yx, logits)).logits_yx
        drawn, corrections = logits > 0, corrections + 1
        first = dice(drawn, truth) if np.isnan(first) else first
    if dice(drawn, truth) < ACCEPTABLE:
        drawn, corrections = truth, corrections + 1
    return drawn, corrections, first
