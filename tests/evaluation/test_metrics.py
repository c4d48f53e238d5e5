import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from napari_medclipsam.errors import GeometryError
from napari_medclipsam.evaluation.metrics import box_iou, dice, normalized_surface_dice, summarize

MASKS = arrays(bool, (6, 7))


def square(offset=0):
    mask = np.zeros((20, 24), bool)
    mask[5:11, 5 + offset : 11 + offset] = True
    return mask


def test_dice_of_known_overlap():
    assert dice(square(), square()) == 1
    assert dice(square(), square(3)) == pytest.approx(0.5)
    assert dice(square(), square(10)) == 0


@pytest.mark.parametrize("metric", [dice, normalized_surface_dice])
def test_empty_masks(metric):
    empty = np.zeros((20, 24), bool)
    assert metric(empty, empty) == 1
    assert metric(square(), empty) == metric(empty, square()) == 0


@pytest.mark.parametrize(("offset", "tolerance", "expected"), [(0, 0, 1), (2, 2, 1), (1, 1, 1), (10, 2, 0)])
def test_surface_within_tolerance(offset, tolerance, expected):
    assert normalized_surface_dice(square(), square(offset), tolerance) == expected


def test_surface_share_counts_both_sides():
    # Shifted by 3 at tolerance 2: per surface of 20 pixels, of the horizontal edges (6 wide) 5 pixels are near, and the
    # left (or right) side is 3 away save for its corners' neighbours on the edges.
    value = normalized_surface_dice(square(), square(3), 2)
    a, b = (
        np.argwhere(
            m & ~np.pad(m, 1)[2:, 1:-1]
            | m & ~np.pad(m, 1)[:-2, 1:-1]
            | m & ~np.pad(m, 1)[1:-1, 2:]
            | m & ~np.pad(m, 1)[1:-1, :-2]
        )
        for m in (square(), square(3))
    )
    gaps = np.linalg.norm(a[:, None] - b[None], axis=-1)
    assert value == pytest.approx(((gaps.min(1) <= 2).sum() + (gaps.min(0) <= 2).sum()) / (len(a) + len(b)))


def test_tolerance_in_mm():
    assert normalized_surface_dice(square(), square(2), 2.0, spacing=(1.0, 0.5)) == 1
    assert normalized_surface_dice(square(), square(2), 2.0, spacing=(1.0, 3.0)) < 1


@given(MASKS, MASKS)
def test_metrics_are_symmetric_and_within_bounds(a, b):
    for metric in (dice, normalized_surface_dice):
        assert metric(a, b) == pytest.approx(metric(b, a)) and 0 <= metric(a, b) <= 1
        assert metric(a, a) == 1


def test_mismatched_masks_are_refused():
    with pytest.raises(GeometryError, match="shape"):
        dice(square(), square()[:5])
    with pytest.raises(GeometryError, match="bool"):
        dice(square(), square().astype(np.uint8))


def test_box_iou_and_summary():
    assert box_iou((0, 0, 9, 9), (0, 0, 9, 9)) == 1
    assert box_iou((0, 0, 9, 9), (5, 0, 14, 9)) == pytest.approx(50 / 150)
    assert box_iou((0, 0, 1, 1), (5, 5, 6, 6)) == 0
    figures = summarize([0.0, 1.0, 0.5])
    assert (figures.mean, figures.median, figures.n) == (0.5, 0.5, 3)
    assert np.isnan(summarize([]).mean) and summarize([]).n == 0
