"""What every learner takes and gives: examples in, a folder with a model out, watched and stopped from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from napari_medclipsam.images.slice import Slice

#: Where a mask comes from, the most trusted first.
Provenance = Literal["drawn", "accepted", "propagated", "automatic", "refused"]


@dataclass(frozen=True, eq=False)
class Label:
    """What is known of one class in one slice.

    Parameters
    ----------
    mask_yx : numpy.ndarray
        bool, of the slice's shape; empty where a reader said that the class is not there.
    provenance : {"drawn", "accepted", "propagated", "automatic", "refused"}
        Who says so: drawn or corrected by hand; a proposal accepted as it was; accepted with a whole range; not
        accepted by anybody; nothing accepted, and a proposal refused: then `rejected_yx` is all that is known, and the
        mask, though empty, says nothing.
    rejected_yx : numpy.ndarray, optional
        bool; where a model saw the class and the reader refused it. Never inside the mask.
    """

    mask_yx: np.ndarray
    provenance: Provenance = "accepted"
    rejected_yx: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Example:
    """One slice with what is known of it.

    Parameters
    ----------
    case : str
        Id of its study; "" outside a project.
    position : tuple of (int or None)
        Of the slice in the case, see `SliceAt.position`.
    patient : str
        Names the patient without saying who it is: slices that share it never lie on both sides of a split.
    read : callable
        Returns the slice as the reader sees it; images are not all kept in memory.
    labels : mapping of str to Label
        By the name of the class. A class that is not in it is not known here; a slice of which nothing is known has
        none.
    present : mapping of str to bool
        Classes of which is known whether they are in the slice, though not where.
    is_ct : bool
        Whether the image is CT.
    """

    case: str
    position: tuple[int | None, ...]
    patient: str
    read: Callable[[], Slice]
    labels: Mapping[str, Label]
    present: Mapping[str, bool] = field(default_factory=dict)
    is_ct: bool = False


@dataclass(frozen=True)
class Budget:
    """What a fit may take.

    Parameters
    ----------
    seconds : float
        Of work; pauses do not count. A fit that goes on is given what is left.
    memory_bytes : int, optional
        Of the device; None for what there is.
    """

    seconds: float = 600.0
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Settings:
    """How to fit.

    Parameters
    ----------
    device : str
        "cpu", "cuda" or "mps".
    seed : int
        Of everything random.
    deterministic : bool
        Give up speed for the same result each time.
    budget : Budget
        When to stop.
    base : str
        Name of the model to build on, as `models.registry.load` takes it.
    phrases : dict of str to list of str
        Other texts that a class is asked for with, by its name.
    n_devices : int
        Graphics cards, or processes on a CPU, to share the work; learners of seconds use one.
    """

    device: str = "cpu"
    seed: int = 0
    deterministic: bool = False
    budget: Budget = field(default_factory=Budget)
    base: str = "lite"
    phrases: Mapping[str, list[str]] = field(default_factory=dict)
    n_devices: int = 1


class Watch(Protocol):
    """Who looks on while a learner works."""

    def step(self, fraction: float, **figures: float) -> None:
        """Say how far the fit is and its figures (``loss``, ``dice``). Called between any two steps of the work.

        It returns at once, or when a pause ends.

        Raises
        ------
        LearningCancelled
            If the fit shall end; what was written stays, so that it can go on from there.
        """
        ...


class LearningCancelled(Exception):
    """The fit was asked to end."""


class Learner(Protocol):
    """One way to learn from examples.

    A learner with a true attribute ``unaccepted`` is also given what nobody has accepted: proposals that wait, and
    slices of which nothing is known.
    """

    name: str

    def fit(
        self,
        examples: Sequence[Example],
        parent: Path | None,
        folder: Path,
        settings: Settings,
        watch: Watch,
    ) -> Mapping[str, Any]:
        """Learn, and write the model.

        Parameters
        ----------
        examples : sequence of Example
            All are for learning: what is held out is not among them.
        parent : pathlib.Path, optional
            Folder of the version to start from, made by this learner.
        folder : pathlib.Path
            There, and only there, its files go (safetensors and JSON), checkpoints among them: a second call with the
            same folder goes on from the last one, though there may be more examples by then. Checkpoints are named
            ``checkpoint…`` and are left out of the version.
        settings : Settings
            Device, seed, budget.
        watch : Watch
            Told of every step.

        Returns
        -------
        mapping
            JSON values for the lineage: steps, losses, seconds, the classes that were learnt.

        Raises
        ------
        LearningError
            In one sentence, if there is too little to learn from, or the folder holds something damaged.
        """
        ...

    def load(self, folder: Path, base: Any, device: str) -> Any:
        """Return the fitted model.

        Parameters
        ----------
        folder : pathlib.Path
            What `fit` wrote.
        base : object
            The model that it builds on, as `models.registry.load` gives it.
        device : str
            As in `Settings`.

        Returns
        -------
        object
            A TextGrounder, a PromptableSegmenter or both; phrases that were not learnt are answered by `base`.
        """
        ...
