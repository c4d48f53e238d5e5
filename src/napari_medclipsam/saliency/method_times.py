"""How long each saliency method takes a slice on this machine: measured, or from a measured forward pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from napari_medclipsam.saliency.methods import METHODS
from napari_medclipsam.saliency.work import Work


class MethodTimes:
    """Seconds a slice of each method, for one model on one device.

    A method that has run is known by its last run. For the others, one forward pass is measured and multiplied with
    what the method costs in passes.
    """

    def __init__(self) -> None:
        self._forward_s: float | None = None
        self._runs_s: dict[str, float] = {}

    def measure_forward(self, forward: Callable[[], object]) -> None:
        """Time a forward pass; the second one, for the first may still load or compile something."""
        forward()
        began = time.perf_counter()
        forward()
        self._forward_s = time.perf_counter() - began

    @contextmanager
    def measured(self, method: str, work: Work) -> Iterator[None]:
        """Time a run of a method; one that is cancelled does not count."""
        began, asking_s = time.perf_counter(), work.asking_s
        yield
        self._runs_s[method] = time.perf_counter() - began - (work.asking_s - asking_s)

    def seconds(self) -> Mapping[str, float]:
        """Return seconds a slice by method, for those that are known."""
        known = dict(self._runs_s)
        if self._forward_s is not None:
            known = {name: self._forward_s * info.passes for name, info in METHODS.items()} | known
        return known
