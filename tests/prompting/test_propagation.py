"""A mask carried from slice to slice, with a segmenter that really looks at the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medclipsam.annotation.prompts import Point, Prompts, prompt_sets
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import Embedding, MaskResult, PromptSet, SaliencyMap
from napari_medclipsam.prompting.appearance import Appearance
from napari_medclipsam.prompting.propagation import (
    Carried,
    blended,
    expected_logits,
    mask_logits_of,
    prompts_of_expected,
    propagate,
)
from napari_medclipsam.saliency.certainty import Certainty

SIZE = 64


class BrightInBox:
    """Outlines what is bright in the box; sure of it by how much brighter it is than its surroundings."""

    name = "bright"

    def embed(self, image: Slice) -> Embedding:
        return Embedding(image.pixels.astype(np.float32), image.shape_yx, "key")

    def masks(self, embedding: Embedding, prompts: PromptSet) -> MaskResult:
        gray = embedding.features
        x0, y0, x1, y1 = (round(v) for v in prompts.box_xyxy or (0, 0, gray.shape[1] - 1, gray.shape[0] - 1))
        box = gray[y0 : y1 + 1, x0 : x1 + 1]
        inside = np.zeros(gray.shape, bool)
        inside[y0 : y1 + 1, x0 : x1 + 1] = box > (float(box.min()) + float(box.max())) / 2
        contrast = float(np.ptp(box)) / 255
        return MaskResult(np.where(inside, 5.0, -5.0).astype(np.float32), contrast)


def blob(x: float, y: float, radius: float, level: int = 220) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    pixels = np.full((SIZE, SIZE), 40, np.uint8)
    # Noise of the scanner: an image without it would be constant outside the structure.
    pixels += np.random.default_rng(1).integers(0, 9, pixels.shape, dtype=np.uint8)
    pixels[np.hypot(columns - x, rows - y) <= radius] = level
    return pixels


def carry(start: np.ndarray, stack: list[np.ndarray]) -> list[Carried]:
    slices = [(index, Slice(pixels)) for index, pixels in enumerate(stack)]
    return list(propagate((Slice(start), start > 100), slices, BrightInBox()))


def test_a_structure_that_moves_and_shrinks_is_followed_to_its_end():
    stack = [blob(20 + i, 30 + i, 12 - i) for i in range(8)] + [blob(0, 0, -1)] * 3
    carried = carry(blob(20, 30, 12), stack)
    assert [c.index for c in carried] == list(range(8))
    for c, pixels in zip(carried, stack, strict=False):
        np.testing.assert_array_equal(c.mask_yx, pixels > 100)


def test_it_stops_at_another_structure_and_at_an_empty_slice():
    start = blob(20, 30, 8)
    assert [c.index for c in carry(start, [start, blob(50, 30, 8)])] == [0]
    assert [c.index for c in carry(start, [start, np.zeros((SIZE, SIZE), np.uint8), start])] == [0]


def test_it_stops_where_the_mask_collapses():
    assert [c.index for c in carry(blob(20, 30, 12), [blob(20, 30, 12), blob(20, 30, 1)])] == [0]


def test_both_parts_of_a_structure_are_followed():
    both = np.maximum(blob(15, 30, 7), blob(48, 30, 7))
    carried = carry(both, [both, both])
    assert len(carried) == 2
    np.testing.assert_array_equal(carried[1].mask_yx, both > 100)


def test_slices_are_taken_one_by_one():
    taken = []

    def slices():
        for index in range(5):
            taken.append(index)
            yield index, Slice(blob(20, 30, 8))

    steps = propagate((Slice(blob(20, 30, 8)), blob(20, 30, 8) > 100), slices(), BrightInBox())
    next(steps)
    assert taken == [0]


def test_what_is_expected_follows_the_gray_values():
    start = blob(30, 30, 14)
    appearance = Appearance.of(Slice(start), start > 100)
    smaller = blob(30, 30, 10)
    expected = expected_logits(start > 100, Slice(smaller), appearance) > 0
    assert ((smaller > 100) ^ expected).sum() < 0.15 * (smaller > 100).sum()
    assert not (expected_logits(start > 100, Slice(blob(0, 0, -1)), appearance) > 0).any()


def test_saliency_of_a_known_phrase_moves_what_is_expected():
    # Inside and outside look alike: only the text tells them apart.
    flat = Slice(np.random.default_rng(0).integers(90, 110, (SIZE, SIZE), dtype=np.uint8))
    before = blob(30, 30, 12) > 100
    values = (blob(30, 30, 6) > 100).astype(np.float32)
    areas = []
    for known in (False, True):
        saliency = SaliencyMap(values, "blob", 1.0, True, known)
        appearance = Appearance.of(flat, before)
        areas.append((expected_logits(before, flat, appearance, saliency) > 0).sum())
    assert areas[1] < 0.9 * areas[0]


def test_colours_count_by_brightness_and_a_full_mask_teaches_nothing():
    start = blob(30, 30, 10)
    gray, colour = Slice(start), Slice(np.stack([start] * 3, axis=-1))
    np.testing.assert_array_equal(
        Appearance.of(gray, start > 100).evidence_by_level, Appearance.of(colour, start > 100).evidence_by_level
    )
    assert not Appearance.of(gray, np.ones((SIZE, SIZE), bool)).evidence(gray).any()


def test_each_part_gets_its_own_prompts_and_crumbs_none():
    logits = np.full((SIZE, SIZE), -5.0, np.float32)
    logits[10:30, 20:40] = 5
    logits[50:60, 5:15] = 5
    logits[0, 0] = 5
    first, second = prompts_of_expected(logits)
    x0, y0, x1, y1 = first.box_xyxy
    assert x0 < 20 and y0 < 10 and x1 > 39 and y1 > 29
    assert first.mask_logits_yx[20, 30] > 0 > first.mask_logits_yx[55, 10]
    assert second.mask_logits_yx[55, 10] > 0 > second.mask_logits_yx[20, 30]


def test_logits_of_a_mask_change_sign_at_its_edge():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[16:48, 16:48] = True
    logits = mask_logits_of(mask)
    assert ((logits > 0) != mask).mean() < 0.01
    assert abs(logits[32, 16]) < logits[32, 32] and logits[0, 0] < -5


@pytest.mark.parametrize("size_yx", [(1, 1), (1, 30), (3, 3)])
def test_a_speck_or_a_thin_line_stays_a_mask(size_yx):
    mask = np.zeros((SIZE, SIZE), bool)
    mask[20 : 20 + size_yx[0], 10 : 10 + size_yx[1]] = True
    logits = mask_logits_of(mask)
    assert (logits[mask] > 0).any() and logits[0, 0] < -5
    assert prompt_sets(Prompts((Point(50, 50, False),)), (SIZE, SIZE), logits)
    assert not (mask_logits_of(np.zeros_like(mask)) > 0).any()


def carried(index: int, column: int, iou: float) -> Carried:
    logits = np.full((SIZE, SIZE), -4.0, np.float16)
    logits[:, :column] = 4
    return Carried(index, logits, iou, Certainty(None, False, 0.0, 0.0))


def test_between_two_anchors_the_nearer_one_weighs_more():
    up = {i: carried(i, 10, 0.8) for i in (1, 2, 3)}
    down = {i: carried(i, 30, 0.4) for i in (2, 3, 4)}
    found = blended(up, down, (1, 4))
    assert [found[i].mask_yx[0].sum() for i in (1, 2, 3, 4)] == [10, 10, 30, 30]
    assert found[2].estimated_iou == pytest.approx(0.8 * 0.6 + 0.4 * 0.4)
    assert blended({}, {}, (1, 4)) == {}
