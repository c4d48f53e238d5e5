"""The clock of the work, on made-up times."""

from __future__ import annotations

import pytest

from napari_medclipsam.learning.clock import WorkClock


class Times:
    """What the system says of the process."""

    def __init__(self) -> None:
        self.now, self.used = 100.0, 5.0

    def pass_by(self, seconds: float, used: float = 0.0) -> None:
        self.now += seconds
        self.used += used


@pytest.fixture
def times():
    return Times()


@pytest.fixture
def clock(times):
    return WorkClock(lambda: times.now, lambda: times.used)


def test_without_ticks_it_is_a_clock_like_any_other(clock, times):
    began = clock.seconds()
    times.pass_by(60)
    assert clock.seconds() - began == 60


def test_while_the_system_holds_the_process_it_stands_still(clock, times):
    clock.tick()
    began = clock.seconds()
    for _ in range(10):
        times.pass_by(0.02)
        clock.tick()
    times.pass_by(30, used=0.01)
    # Asked before the next tick and after it, it says the same.
    before = clock.seconds()
    clock.tick()
    assert clock.seconds() == before == pytest.approx(began + 0.21)


def test_a_step_that_keeps_everybody_waiting_is_work(clock, times):
    clock.tick()
    began = clock.seconds()
    times.pass_by(3, used=3.1)
    clock.tick()
    assert clock.seconds() - began == 3


def test_pauses_do_not_count_and_nobody_ticks_afterwards(clock, times):
    clock.tick()
    began = clock.seconds()
    with clock.held():
        for _ in range(3):
            times.pass_by(5)
            clock.tick()
            assert clock.seconds() == began
    assert clock.seconds() == began
    clock.stop()
    times.pass_by(7)
    assert clock.seconds() - began == 7
