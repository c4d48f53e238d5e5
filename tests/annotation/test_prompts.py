"""Prompts as values, cleaned of what can't be used."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_medclipsam.annotation.prompts import Point, Prompts, prompt_sets
from napari_medclipsam.errors import PromptError
from napari_medclipsam.reading_view import Turn

SHAPE = (40, 60)


def test_what_can_not_be_used_is_left_out_and_said():
    points = (Point(-3, 5), Point(59.4, 39.4), Point(float("nan"), 1), Point(3, 4, False))
    boxes = ((30.0, 30.0, 10.0, 10.0), (5.0, 5.0, 5.2, 5.2), (70.0, 0.0, 80.0, 9.0), (-9.0, 8.0, 99.0, 12.0))
    cleaned, note = Prompts(points, boxes).cleaned(SHAPE)
    assert cleaned.points == (Point(59.4, 39.4), Point(3, 4, False))
    assert cleaned.boxes_xyxy == ((10.0, 10.0, 30.0, 30.0), (0.0, 8.0, 59.0, 12.0))
    assert note == "Left out: 2 points outside the image, 2 boxes outside the image or without area."
    assert cleaned.cleaned(SHAPE) == (cleaned, "")


def test_of_a_thousand_points_the_newest_are_used():
    cleaned, note = Prompts(tuple(Point(i % 60, 1) for i in range(1000))).cleaned(SHAPE)
    assert len(cleaned.points) == 100 and cleaned.points[-1] == Point(999 % 60, 1) and "900 points" in note


def test_each_box_is_a_part_with_the_points_near_it():
    prior = np.full(SHAPE, 3.0, np.float32)
    prompts = Prompts((Point(3, 3), Point(50, 30, False)), ((0, 0, 9, 9), (40, 20, 59, 39)))
    first, second = prompt_sets(prompts, SHAPE, prior)
    assert first.points_xy.tolist() == [[3, 3]] and second.point_labels.tolist() == [0]
    assert first.mask_logits_yx[5, 5] == 3 and first.mask_logits_yx[30, 50] == -6 == second.mask_logits_yx[5, 5]


@pytest.mark.parametrize(
    ("point", "kept"),
    [(Point(15, 15), True), (Point(21, 15), True), (Point(30, 15), False), (Point(30, 15, False), True)],
)
def test_a_positive_click_outside_the_box_says_that_the_box_is_wrong(point, kept):
    (given_set,) = prompt_sets(Prompts((point,), ((10, 10, 20, 20),)), SHAPE)
    assert (given_set.box_xyxy is not None) == kept and len(given_set.points_xy) == 1


def test_negative_points_need_something_to_correct():
    only_negative = Prompts((Point(10, 10, False),))
    with pytest.raises(PromptError):
        prompt_sets(only_negative, SHAPE)
    prior = np.full(SHAPE, -3.0, np.float32)
    prior[5:25, 5:45] = 3
    (given_set,) = prompt_sets(only_negative, SHAPE, prior)
    (x, y), label = given_set.points_xy[0].astype(int), given_set.point_labels[0]
    assert label == 1 and prior[y, x] > 0 and abs(x - 10) > 5


turns = st.builds(Turn, st.booleans(), st.booleans(), st.booleans())
coordinates = st.tuples(st.integers(0, 59), st.integers(0, 39))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    turns, st.lists(st.tuples(coordinates, st.booleans()), max_size=3), st.lists(st.tuples(coordinates, coordinates))
)
def test_turned_there_and_back(turn, points, boxes):
    prompts, _ = Prompts(
        tuple(Point(x, y, positive) for (x, y), positive in points), tuple((*a, *b) for a, b in boxes)
    ).cleaned(SHAPE)
    assert prompts.turned(turn, SHAPE).stored(turn, SHAPE) == prompts
