"""The saliency methods for CLIP models by name: what each is, and what it costs. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from napari_medclipsam.errors import ModelError

if TYPE_CHECKING:
    import torch

    from napari_medclipsam.saliency.tower import Tower
    from napari_medclipsam.saliency.work import Work


class SaliencyMethod(Protocol):
    """From an image and texts to maps on the token grid."""

    def maps(self, pixels: torch.Tensor, texts: torch.Tensor, work: Work) -> tuple[torch.Tensor, torch.Tensor]:
        """Return maps (n, rows, columns) of any scale, and the image's unit vector (d,); see ``GradCam.maps``."""
        ...


@dataclass(frozen=True)
class MethodInfo:
    """A saliency method as a person chooses it.

    Parameters
    ----------
    name : str
        What the user types.
    title : str
        How the literature calls it.
    explanation : str
        One line: what it does and when to choose it.
    passes : float
        What a slice costs, in forward passes of the image tower: the map of the text and that of meaningless words,
        after what benchmarks/saliency.py measures at ViT-B/16. Seconds are another machine's: see `method_times`.
    module, method, settings : str
        Where it is: a module of this package, the class, and the dataclass of its parameters.
    """

    name: str
    title: str
    explanation: str
    passes: float
    module: str
    method: str
    settings: str

    @property
    def line(self) -> str:
        """The explanation with the cost, for a help text or a tool tip."""
        return f"{self.explanation} Costs about {self.passes:g} forward passes a slice."


DEFAULT_METHOD = "legrad"
METHODS: Mapping[str, MethodInfo] = {
    info.name: info
    for info in (
        MethodInfo(
            "legrad",
            "LeGrad",
            "Which patches the attention should look at more; fast enough for live use.",
            1.5,
            "legrad",
            "LeGrad",
            "LeGradSettings",
        ),
        MethodInfo(
            "gradcam",
            "Grad-CAM",
            "Gradient-weighted channels of the last block; the papers' baseline.",
            1.2,
            "gradcam",
            "GradCam",
            "GradCamSettings",
        ),
        MethodInfo(
            "gscorecam",
            "gScoreCAM",
            "Tries the 300 strongest channels as masks (MedCLIP-SAM); slow, smooth maps.",
            350,
            "gscorecam",
            "GScoreCam",
            "GScoreCamSettings",
        ),
        MethodInfo(
            "m2ib",
            "M2IB",
            "Adds noise until the text stops fitting (MedCLIP-SAMv2, its best); tight maps.",
            55,
            "m2ib",
            "M2ib",
            "M2ibSettings",
        ),
    )
}


def find_method(name: str) -> MethodInfo:
    """Return a method by name.

    Raises
    ------
    ModelError
        If there is none; the message lists those there are.
    """
    if name not in METHODS:
        raise ModelError(f"There is no saliency method {name!r}; choose one of {', '.join(METHODS)}.")
    return METHODS[name]


def make_method(name: str, tower: Tower, settings: Any = None) -> SaliencyMethod:
    """Return a method for a tower.

    Parameters
    ----------
    name : str
        One of `METHODS`.
    tower : Tower
        The image tower.
    settings : dataclass, optional
        Of the method's own kind; the papers' values by default.

    Raises
    ------
    ModelError
        If there is no such method, the settings are another method's, or the tower lacks a layer that it needs.
    """
    info = find_method(name)
    module = import_module(f"napari_medclipsam.saliency.{info.module}")
    if settings is not None and type(settings).__name__ != info.settings:
        raise ModelError(f"{info.title} takes {info.settings}; got {type(settings).__name__}.")
    method: SaliencyMethod = getattr(module, info.method)(tower, settings)
    return method
