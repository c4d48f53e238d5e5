"""Seconds of work: a clock that stands still during pauses, and while the system holds the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: A thread that ticks all the time is not kept from it for so long while the process runs.
_LEAST_GAP_S = 0.25


class WorkClock:
    """Leaves out pauses, and the time in which the process was suspended as far as somebody ticks.

    Suspended is where no tick came for a while, and the processor was not used either.

    Parameters
    ----------
    now, used : callable
        Seconds on a clock that never goes back, and seconds of the processor that the process has used.
    """

    def __init__(
        self, now: Callable[[], float] = time.monotonic, used: Callable[[], float] = time.process_time
    ) -> None:
        self._now, self._used = now, used
        self._away_s = 0.0
        self._last: tuple[float, float] | None = None
        self._held_at: float | None = None
        self._lock = threading.Lock()

    def tick(self) -> None:
        """Say that the process runs; to be called many times a second, from a thread that does little else."""
        with self._lock:
            self._note()

    def stop(self) -> None:
        """Say that there will be no more ticks for now."""
        with self._lock:
            self._last = None

    def seconds(self) -> float:
        """Return the seconds of work since some moment."""
        with self._lock:
            if self._last is not None:
                # Asked before the first tick after a suspension, it must not jump ahead and back.
                self._note()
            return (self._now() if self._held_at is None else self._held_at) - self._away_s

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stand still meanwhile."""
        with self._lock:
            began = self._held_at = self._now()
        try:
            yield
        finally:
            with self._lock:
                self._away_s += self._now() - began
                self._held_at = None
                if self._last is not None:
                    self._last = (self._now(), self._used())

    def _note(self) -> None:
        now, used = self._now(), self._used()
        if self._last is not None and self._held_at is None:
            gap, worked = now - self._last[0], used - self._last[1]
            if gap > _LEAST_GAP_S:
                self._away_s += max(0.0, gap - worked)
        self._last = (now, used)


WORK_CLOCK = WorkClock()
"""Of this process; a worker's ticks with its ear for commands, elsewhere it is a clock like any other."""
