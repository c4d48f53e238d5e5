"""The gate's arithmetic and its words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medclipsam.learning.gate import Pair, bounds, judge


def pairs_of(gains, structure="disk", way="text", before=0.5, n_slices=4):
    return [
        Pair(f"p{patient}", (patient, place), structure, way, before, before + gain)
        for patient, gain in enumerate(gains)
        for place in range(n_slices)
    ]


def test_a_clear_gain_is_better_and_its_mirror_worse():
    better = judge(pairs_of([0.1, 0.12, 0.08, 0.11]), "held-out patients")
    assert better.better and better.lower > 0 and "gain +0.102" in better.message and "4 patients" in better.message
    worse = judge(pairs_of([-0.1, -0.12, -0.08, -0.11]), "held-out patients")
    assert worse.better is False and worse.upper < 0 and worse.message.startswith("Not better: disk loses 0.102")


def test_a_gain_of_one_patient_is_not_one_of_all():
    # 100 slices of one patient are no 100 proofs.
    found = judge(pairs_of([0.4, 0.0, -0.02, 0.01], n_slices=100), "held-out patients")
    assert found.better is False and found.total.gain > 0.09


def test_patients_count_alike_whatever_they_bring():
    many = [Pair("a", n, "disk", "text", 0.5, 0.6) for n in range(90)]
    one = [Pair("b", 0, "disk", "text", 0.5, 0.5)]
    assert judge([*many, *one], "held-out patients").total.gain == pytest.approx(0.05)


def test_a_class_that_loses_stops_the_gain_of_another():
    found = judge(pairs_of([0.2] * 6) + pairs_of([-0.05] * 6, "square"), "held-out patients")
    assert found.lower > 0 and found.better is False and "square loses 0.050" in found.message


def test_a_way_in_which_nothing_has_changed_does_not_count():
    found = judge(pairs_of([0.1, 0.11, 0.12]) + pairs_of([0.0] * 3, way="click"), "held-out patients")
    assert set(found.ways) == {"text"} and found.total.gain == pytest.approx(0.11)


def test_with_too_few_patients_it_says_so():
    found = judge(pairs_of([0.3, 0.3]), "leave-one-patient-out")
    assert found.better is None and "3 are needed" in found.message
    nothing = judge([], "held-out patients")
    assert nothing.better is None
    assert nothing.message == "There are no accepted slices of another patient to measure on."


def test_equal_models_are_not_better():
    assert judge(pairs_of([0.0] * 20), "held-out patients").better is False


def test_the_bounds_are_those_of_a_t_test():
    gains = np.array([0.01, 0.03, 0.05, 0.02])
    lower, upper = bounds(gains)
    half = 2.353363 * gains.std(ddof=1) / 2
    assert lower == pytest.approx(gains.mean() - half) and upper == pytest.approx(gains.mean() + half)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=12), st.floats(0, 0.5))
def test_more_gain_is_never_judged_worse(gains, more):
    low, _ = bounds(np.array(gains))
    higher, _ = bounds(np.array(gains) + more)
    assert higher >= low - 1e-9
