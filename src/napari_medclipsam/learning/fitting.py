"""Fitting a network within a budget, on one device or several, with Lightning Fabric.

What the learners `sam-mix` and `unet` share: mixed precision, gradients gathered over several small batches, cyclic
learning rate with the weights kept at the end of each cycle, checkpoints, and smaller batches where memory runs out.
"""

from __future__ import annotations

import math
import multiprocessing
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch

from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.checkpoint import Checkpoint, checkpoint_path
from napari_medclipsam.learning.clock import WORK_CLOCK
from napari_medclipsam.learning.contracts import LearningCancelled, Settings, Watch
from napari_medclipsam.learning.settings import seeded

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CHECKPOINT_S = 30.0
_PER_WRITING = 20

_WARM_UP = 0.05
#: Of the budget, what a fit has even where starting took all of it.
_LEAST_SHARE = 0.2
_MOST_GRADIENT = 1.0
_OUT_OF_MEMORY = ("out of memory", "OutOfMemoryError", "can't allocate memory", "MemoryError")


class Task(Protocol):
    """What is fitted. It is sent to other processes, so it holds no open files.

    With `uneven`, some steps leave parts of the network unused.
    """

    uneven: bool

    def network(self) -> torch.nn.Module:
        """Return the network to begin with; the same in every process."""
        ...

    def loss(self, network: torch.nn.Module, n: int, rng: np.random.Generator, progress: float) -> torch.Tensor:
        """Return the mean loss of `n` slices drawn with `rng`, at a progress in [0, 1]; calls `network` once."""
        ...


@runtime_checkable
class WholeBatchTask(Protocol):
    """A `Task` whose loss is not a sum over the slices of a batch, so that the parts of it can't be added up."""

    def gradients(
        self,
        network: torch.nn.Module,
        n: int,
        at_once: int,
        rng: np.random.Generator,
        backward: Callable[[torch.Tensor], None],
        between: Callable[[], None],
    ) -> float:
        """Add the gradients of a batch of `n`, with `at_once` of it in memory, and return its loss.

        `backward` takes what to go back from; `between` is called between any two parts of the work.
        """
        ...


@dataclass(frozen=True)
class Plan:
    """How to fit.

    Parameters
    ----------
    settings : Settings
        Device, number of devices, seed.
    seconds : float
        Budget of the fit itself.
    batch : int
        Slices of one step, over all devices.
    small_batch : int
        Slices that are in memory at once on each device.
    most_steps : int
        The fit ends there, whatever the budget.
    cycles : int
        Of the learning rate.
    rate : float
        The highest learning rate.
    signature : str
        A checkpoint of another signature is not gone on from.
    """

    settings: Settings
    seconds: float
    batch: int
    small_batch: int
    most_steps: int
    cycles: int
    rate: float
    signature: str


@dataclass(frozen=True, eq=False)
class Fitted:
    """What came of a fit: trained weights at the end of each cycle, and figures."""

    snapshots: list[dict[str, torch.Tensor]]
    figures: dict[str, float]


def fit(task: Task, plan: Plan, folder: Path, watch: Watch, start: float = 0.0) -> Fitted:
    """Fit until the budget or the steps are used up; goes on from a checkpoint in `folder` if there is one.

    Parameters
    ----------
    task : Task
        What.
    plan : Plan
        How.
    folder : pathlib.Path
        Of the checkpoint.
    watch : Watch
        Told of every step.
    start : float
        The fraction of the whole work that was done before.

    Raises
    ------
    LearningCancelled
        If the watch does; a checkpoint is written before.
    LearningError
        If the memory is not enough for one slice, or the checkpoint is damaged.
    """
    if plan.settings.n_devices < 1:
        raise LearningError(f"The number of devices is 1 or more; got {plan.settings.n_devices}.")
    # By the wall clock, which several processes share.
    began = time.time()

    def tell(fraction: float, **figures: float) -> None:
        watch.step(start + (1 - start) * fraction, **figures)

    while True:
        try:
            if plan.settings.n_devices > 1:
                return _fit_together(task, plan, folder, tell)
            return _work(_fabric(plan.settings), task, _after(plan, began), folder, tell)
        except Exception as error:
            if not any(words in f"{type(error).__name__}: {error}" for words in _OUT_OF_MEMORY):
                raise
            if plan.small_batch == 1:
                raise LearningError(
                    f"The memory of {plan.settings.device} is too small for one slice; close other programs, or choose "
                    "--device cpu or another learner."
                ) from error
        # Outside of the handler: the traceback would hold on to the tensors.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        plan = replace(plan, small_batch=plan.small_batch // 2)


def _after(plan: Plan, began: float) -> Plan:
    """Return the plan with what is left of its budget once libraries and processes have started."""
    return replace(plan, seconds=max(_LEAST_SHARE * plan.seconds, plan.seconds - (time.time() - began)))


def _fabric(settings: Settings, uneven: bool = False) -> Fabric:
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    from napari_medclipsam.models.device import dtype_for

    device = torch.device(settings.device)
    precision: Any = {torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed"}.get(dtype_for(device), "32-true")
    if settings.n_devices > 1:
        strategy = DDPStrategy(start_method="spawn", find_unused_parameters=uneven)
        return Fabric(accelerator=device.type, strategy=strategy, devices=settings.n_devices, precision=precision)
    devices: Any = [device.index or 0] if device.type == "cuda" else 1
    return Fabric(accelerator=device.type, devices=devices, precision=precision)


def _fit_together(task: Task, plan: Plan, folder: Path, tell: Callable[..., None]) -> Fitted:
    """Fit in several processes; whoever looks on does so from here, and holds them all by not answering."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    ended: list[BaseException] = []

    def relay() -> None:
        while True:
            try:
                fraction, figures = here.recv()
            except (EOFError, OSError):
                return
            try:
                tell(fraction, **figures)
            except BaseException as error:
                ended.append(error)
            here.send(not ended)

    listener = threading.Thread(target=relay, daemon=True, name="watch of several processes")
    listener.start()
    try:
        figures = _fabric(plan.settings, task.uneven).launch(_Rank(task, plan, folder, there))
    finally:
        there.close()
        listener.join()
        here.close()
    if ended:
        raise ended[0]
    # Weights come by way of the disk: tensors in a pipe end with the process that sent them.
    state = Checkpoint.read(checkpoint_path(folder), plan.signature)
    if state is None:
        raise LearningError("The processes that shared the work ended without a result; learn again with --devices 1.")
    return Fitted(state.snapshots, figures)


class _Rank:
    """What each of several processes does."""

    def __init__(self, task: Task, plan: Plan, folder: Path, pipe: Any) -> None:
        self._task, self._plan, self._folder, self._pipe = task, plan, folder, pipe
        self._began = time.time()

    def __call__(self, fabric: Fabric) -> dict[str, float]:
        def tell(fraction: float, **figures: float) -> None:
            if fabric.is_global_zero:
                self._pipe.send((fraction, figures))
                if not self._pipe.recv():
                    raise LearningCancelled

        torch.set_num_threads(max(1, torch.get_num_threads() // fabric.world_size))
        try:
            return _work(fabric, self._task, _after(self._plan, self._began), self._folder, tell).figures
        except LearningCancelled:
            return {}


def _work(fabric: Fabric, task: Task, plan: Plan, folder: Path, tell: Callable[..., None]) -> Fitted:
    with seeded(plan.settings):
        return _Work(fabric, task, plan, folder, tell).run()


class _Work:
    """The loop of one process."""

    def __init__(self, fabric: Fabric, task: Task, plan: Plan, folder: Path, tell: Callable[..., None]) -> None:
        self._fabric, self._task, self._plan, self._tell_outside = fabric, task, plan, tell
        network = task.network()
        trained = [p for p in network.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, plan.rate, weight_decay=1e-4)
        self._path = checkpoint_path(folder)
        self._checkpoint = Checkpoint.read(self._path, plan.signature)
        if self._checkpoint is not None:
            self._checkpoint.into(network)
        self._bare = network
        self._network, self._optimiser = fabric.setup(network, optimiser)
        if self._checkpoint is not None:
            self._checkpoint.into_optimiser(trained, self._optimiser.optimizer)
        self._state = self._checkpoint or Checkpoint.new(plan.signature)
        self._trained, self._loss = trained, float("nan")
        self._paused_s, self._began, self._from = 0.0, WORK_CLOCK.seconds(), self._state.progress
        self._ends: LearningCancelled | None = None

    def run(self) -> Fitted:
        saved, pause_s = time.monotonic(), CHECKPOINT_S
        while not self._is_over():
            self._step()
            self._state.steps += 1
            self._state.progress = self._progress()
            while int(self._state.progress * self._plan.cycles) > len(self._state.snapshots):
                self._keep()
            if time.monotonic() - saved > pause_s:
                began = time.monotonic()
                self._save()
                saved = time.monotonic()
                # All weights of a large model are gigabytes: writing them shall not take longer than learning.
                pause_s = max(CHECKPOINT_S, _PER_WRITING * (saved - began))
        if not self._state.snapshots:
            self._keep()
        self._save()
        figures = {"steps": self._state.steps, "loss": round(self._loss, 5), "at_once": self._plan.small_batch}
        return Fitted(self._state.snapshots, figures)

    def _is_over(self) -> bool:
        """Tell, whatever the watch says, all processes alike whether to end; raises if it was cancelled."""
        self._tell()
        over = self._state.progress >= 1 and self._state.steps > 0
        over, cancelled = self._fabric.broadcast((over, self._ends is not None))
        if cancelled:
            self._save()
            raise self._ends or LearningCancelled
        return bool(over)

    def _tell(self) -> None:
        if self._ends is not None:
            return
        asked = WORK_CLOCK.seconds()
        try:
            figures = {} if math.isnan(self._loss) else {"loss": self._loss}
            self._tell_outside(self._state.progress, **figures)
        except LearningCancelled as error:
            self._ends = error
        self._paused_s += WORK_CLOCK.seconds() - asked

    def _progress(self) -> float:
        """Return how far the fit is: by steps, or by what is used of the budget where that is more."""
        spent = (WORK_CLOCK.seconds() - self._began - self._paused_s) / self._plan.seconds
        by_time = self._from + (1 - self._from) * min(1.0, spent)
        by_steps = self._state.steps / self._plan.most_steps
        if self._plan.settings.deterministic:
            # The schedule must not depend on the clock: the budget only ends it.
            by_time = float(spent >= 1)
        return float(self._fabric.broadcast(min(1.0, max(by_time, by_steps))))

    def _step(self) -> None:
        plan, fabric = self._plan, self._fabric
        each = max(1, plan.batch // fabric.world_size)
        for group in self._optimiser.param_groups:
            group["lr"] = plan.rate * cycle_rate(self._state.progress, plan.cycles)
        rng = np.random.default_rng([plan.settings.seed, self._state.steps, fabric.global_rank])
        torch.manual_seed(int(rng.integers(2**31)))
        self._optimiser.zero_grad()
        if isinstance(self._task, WholeBatchTask):
            total = self._task.gradients(self._network, each, plan.small_batch, rng, fabric.backward, self._tell)
        else:
            total = self._added_up(each, rng)
        if not math.isfinite(total):
            raise LearningError("The loss is not a number any more; learn again with another --seed, or on the CPU.")
        fabric.clip_gradients(self._network, self._optimiser, max_norm=_MOST_GRADIENT, error_if_nonfinite=False)
        self._optimiser.step()
        self._loss = total if math.isnan(self._loss) else 0.95 * self._loss + 0.05 * total

    def _added_up(self, n_all: int, rng: np.random.Generator) -> float:
        """Add the gradients of a batch, part by part, and return its mean loss."""
        at_once, total = self._plan.small_batch, 0.0
        for first in range(0, n_all, at_once):
            n = min(at_once, n_all - first)
            last = first + n == n_all
            with nullcontext() if last else self._fabric.no_backward_sync(self._network):
                loss = self._task.loss(self._network, n, rng, self._state.progress) * (n / n_all)
                self._tell()
                self._fabric.backward(loss)
            total += float(loss.detach())
            self._tell()
        return total

    def _keep(self) -> None:
        self._state.keep(self._bare)

    def _save(self) -> None:
        if self._fabric.is_global_zero:
            self._state.write(self._path, self._bare, self._trained, self._optimiser.optimizer)


def cycle_rate(progress: float, cycles: int) -> float:
    """Return the learning rate as a share of the highest: up within 5 % of a cycle, then down along a cosine.

    Loshchilov and Hutter 2017, "SGDR: stochastic gradient descent with warm restarts".
    """
    within = min(progress, 1 - 1e-9) * cycles % 1
    if within < _WARM_UP:
        return 0.1 + 0.9 * within / _WARM_UP
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (within - _WARM_UP) / (1 - _WARM_UP))) / 2
