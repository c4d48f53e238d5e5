"""What learners that answer the names of their classes have in common."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_medclipsam.errors import LearningError
from napari_medclipsam.files import atomic_path
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.wordless import Wordless
from napari_medclipsam.models.contracts import SaliencyMap, TextGrounder

_VERSION = 1


class ClassAnswerer(ABC):
    """A TextGrounder for the classes it was taught; its base answers every other phrase.

    Parameters
    ----------
    base : object
        What it was learnt on.
    classes : mapping of str to sequence of str
        Names in the order of the network's answers, and the other texts for each.

    Attributes
    ----------
    knows_ct : bool
        Whether CT was among what it learnt from.
    """

    knows_ct = False

    def __init__(self, base: Any, classes: Mapping[str, Sequence[str]]) -> None:
        self.base = base
        self.name = str(getattr(base, "name", ""))
        self.version = str(getattr(base, "version", ""))
        self.classes = tuple(classes)
        self._places = {_plain(text): k for k, name in enumerate(classes) for text in (name, *classes[name])}

    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        """Return where a class is; see `TextGrounder`."""
        place = self._places.get(_plain(text))
        if place is not None:
            values_yx, presence = self._answer(image, place)
            name = self.classes[place]
            found = SaliencyMap(values_yx, text, presence, presence >= 0.5, nearest_phrase=name, is_outline=True)
            return replace(found, knows_ct=self.knows_ct)
        if isinstance(self.base, TextGrounder):
            return self.base.saliency(image, text)
        return replace(Wordless().saliency(image, text), nearest_phrase=self.classes[0])

    @abstractmethod
    def _answer(self, image: Slice, place: int) -> tuple[np.ndarray, float]:
        """Return the probability of each pixel, float32 in [0, 1] at image size, and that of presence."""


def write_model(folder: Path, learner: str, classes: Mapping[str, Sequence[str]], **more: Any) -> None:
    """Write what belongs to the weights, after them: with it the model is whole."""
    document = {"format": f"medclipsam-{learner}", "version": _VERSION, "classes": classes, **more}
    with atomic_path(folder / f"{learner}.json") as temporary:
        temporary.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")


def read_model(folder: Path, learner: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return what `write_model` wrote, and the weights.

    Raises
    ------
    LearningError
        If they are damaged or gone.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        document = json.loads((folder / f"{learner}.json").read_text("utf-8"))
        known = document["format"] == f"medclipsam-{learner}" and document["version"] == _VERSION
        if not known or not document["classes"] or not isinstance(document["classes"], dict):
            raise ValueError
        return document, load_file(weights_path(folder, learner))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise damaged(folder) from error


def weights_path(folder: Path, learner: str) -> Path:
    """Return where the weights of a model are."""
    return folder / f"{learner}.safetensors"


def damaged(folder: Path) -> LearningError:
    """Return the error of a model that can't be used."""
    return LearningError(f"The model in {folder} is damaged or gone; go back a version, or learn again.")


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
