"""What a model must offer to be used here, and the values that pass between models and the rest.

Pixel coordinates: x runs along columns, y along rows, (0, 0) is the centre of the first pixel. Boxes are
``(x_min, y_min, x_max, y_max)`` in pixels, with the maximum *inclusive*.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from napari_medclipsam.errors import PromptError
from napari_medclipsam.images.slice import Slice

# Below this a map says the same as that of a meaningless prompt. Not calibrated: it only stops what is plainly deaf.
MIN_SPECIFICITY = 0.05


@dataclass(frozen=True, eq=False)
class SaliencyMap:
    """Where a model sees what the text names.

    Parameters
    ----------
    values_yx : numpy.ndarray
        float32 in [0, 1], shape of the image.
    text : str
        The phrase it answers.
    presence : float
        Score in [0, 1] that what is named is in the image.
    present : bool
        The model's own verdict: its calibrated threshold applied to `presence`.
    known : bool
        False when the model does not know the phrase: then the map is empty and `present` is False.
    specificity : float, optional
        In [0, 1]: how much the map differs from that of a meaningless prompt (1: not at all alike). None where there is
        no such prompt, as for a class that readers have taught.
    nearest_phrase : str
        The known phrase that is nearest in meaning; "" where the model has no list of phrases.
    is_outline : bool
        True when the map is a segmentation of its own: where it is above 0.5 is the mask, and no segmenter is asked.
    knows_ct : bool
        False where whoever answers was never shown CT: of a CT the answer means nothing, however sure it is.
    structure : str
        What was looked for, where that is less than what was asked: "brain tumor" of a "glioma". "" where it is not.
    """

    values_yx: np.ndarray
    text: str
    presence: float
    present: bool
    known: bool = True
    specificity: float | None = None
    nearest_phrase: str = ""
    is_outline: bool = False
    knows_ct: bool = True
    structure: str = ""

    @property
    def depends_on_text(self) -> bool:
        """False where the map is so much like that of a meaningless prompt that it says nothing about the text."""
        return self.specificity is None or self.specificity > MIN_SPECIFICITY


@dataclass(frozen=True, eq=False)
class PromptSet:
    """Points, a box and an earlier mask that together describe one object.

    Parameters
    ----------
    points_xy : numpy.ndarray
        float32 (n, 2), pixel coordinates (x, y).
    point_labels : numpy.ndarray
        int64 (n,), 1 inside the object, 0 outside.
    box_xyxy : tuple of float, optional
        (x_min, y_min, x_max, y_max), maxima inclusive.
    mask_logits_yx : numpy.ndarray, optional
        float32 logits at image size of an earlier mask or a saliency map; positive means inside.

    Raises
    ------
    PromptError
        If shapes or labels do not fit, a number is not finite, or the box is empty.
    """

    points_xy: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    point_labels: np.ndarray = field(default_factory=lambda: np.zeros((0,), np.int64))
    box_xyxy: tuple[float, float, float, float] | None = None
    mask_logits_yx: np.ndarray | None = None

    def __post_init__(self) -> None:
        points = np.asarray(self.points_xy, np.float32).reshape(-1, 2)
        labels = np.asarray(self.point_labels, np.int64).reshape(-1)
        object.__setattr__(self, "points_xy", points)
        object.__setattr__(self, "point_labels", labels)
        if len(points) != len(labels):
            raise PromptError(f"Got {len(points)} points but {len(labels)} labels; each point needs one label.")
        if not np.isfinite(points).all() or not np.isin(labels, (0, 1)).all():
            raise PromptError("Points must be finite numbers and labels 1 (inside) or 0 (outside).")
        if self.box_xyxy is not None:
            x0, y0, x1, y1 = self.box_xyxy
            if not np.isfinite(self.box_xyxy).all() or x1 < x0 or y1 < y0:
                raise PromptError(
                    "A box is (x_min, y_min, x_max, y_max) with x_min <= x_max and y_min <= y_max; "
                    f"got {self.box_xyxy}."
                )

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to go by."""
        return len(self.points_xy) == 0 and self.box_xyxy is None and self.mask_logits_yx is None


@dataclass(frozen=True, eq=False)
class Embedding:
    """An encoded slice.

    Parameters
    ----------
    features : object
        Whatever the model's decoder takes (for `lite` a float32 array of shape (256, 64, 64)).
    shape_yx : tuple of int
        (height, width) of the image it was made from.
    key : str
        Data hash + model hash + preprocessing version; the name under which it is cached.
    """

    features: Any
    shape_yx: tuple[int, int]
    key: str


@dataclass(frozen=True, eq=False)
class MaskResult:
    """One mask proposal.

    Parameters
    ----------
    logits_yx : numpy.ndarray
        float32 at image size; the mask is where they are positive.
    estimated_iou : float
        The model's own estimate of its intersection over union, in [0, 1].
    """

    logits_yx: np.ndarray
    estimated_iou: float

    @property
    def mask_yx(self) -> np.ndarray:
        """Bool mask at image size."""
        return self.logits_yx > 0


@runtime_checkable
class TextGrounder(Protocol):
    """Text to saliency."""

    name: str

    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        """Return where `text` is seen in `image`."""
        ...


@runtime_checkable
class ComparesTexts(TextGrounder, Protocol):
    """A text grounder that answers several texts about one image for less than the price of each by itself."""

    def compare(self, image: Slice, texts: Sequence[str]) -> list[SaliencyMap]:
        """Return a map for each text, in their order."""
        ...


@runtime_checkable
class GroundsInSteps(TextGrounder, Protocol):
    """A text grounder that may take long, and so tells how far it is and can be stopped between its steps."""

    def watched(
        self, progress: Callable[[int, int], None] | None, cancelled: Callable[[], bool] | None
    ) -> TextGrounder:
        """Return the same grounder under somebody's eyes.

        Parameters
        ----------
        progress : callable, optional
            Called with (steps done, steps in all) of a map.
        cancelled : callable, optional
            Asked before each step; True ends the map with `SaliencyCancelled`.
        """
        ...


@runtime_checkable
class PromptableSegmenter(Protocol):
    """Points, boxes and masks to a mask."""

    name: str

    def embed(self, image: Slice) -> Embedding:
        """Encode a slice once; the result serves any number of prompts."""
        ...

    def masks(self, embedding: Embedding, prompts: PromptSet) -> MaskResult:
        """Return the mask of the one object that `prompts` describe."""
        ...


@runtime_checkable
class EncodesAhead(Protocol):
    """A model that can give up encoding a slice when something more urgent comes."""

    def embed_ahead(self, image: Slice, cancelled: Callable[[], bool]) -> bool:
        """Encode a slice for later; False if `cancelled`, which is asked every few milliseconds, ended it."""
        ...


@runtime_checkable
class TextImageEncoder(Protocol):
    """Images and texts into one space, as CLIP does."""

    name: str

    def embed_image(self, image: Slice) -> np.ndarray:
        """Return a unit vector, float32 (d,)."""
        ...

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors, float32 (n, d)."""
        ...


@runtime_checkable
class KnowsPhrases(Protocol):
    """A model with a vocabulary: beyond it, its answers are guesses."""

    def nearest_known(self, text: str) -> tuple[bool, str]:
        """Return whether a phrase is known, and the known phrase that is nearest in meaning."""
        ...

    def unheard(self, text: str) -> tuple[str, ...]:
        """Return the words of a phrase, known as a whole or not, that are in no phrase of the vocabulary."""
        ...


@runtime_checkable
class KnowsStructures(KnowsPhrases, Protocol):
    """A text grounder with a vocabulary that asks an image for all of its structures in one pass.

    Attributes
    ----------
    structures : tuple of str
        Plain names: the keys of `presences`, in their order.
    presence_version : str
        Changes with anything that changes the presences.
    """

    structures: tuple[str, ...]
    presence_version: str

    def presences(self, image: Slice) -> dict[str, float]:
        """Return the presence of each structure, the same as its saliency map would have under its plain name."""
        ...

    def structure_of(self, text: str) -> tuple[str, str]:
        """Return the structure that a phrase names, and which kind of it ("glioma"); each "" where it names none."""
        ...


@runtime_checkable
class RulesOut(Protocol):
    """A text grounder that sees at a glance, for a small part of the cost, that something is not in a slice."""

    def ruled_out(self, image: Slice, text: str) -> SaliencyMap | None:
        """Return an empty map for what is not in the slice beyond doubt, else None: then `saliency` is to be asked."""
        ...


@runtime_checkable
class RegionEncoder(TextImageEncoder, Protocol):
    """A text–image encoder that can also look at a part of an image, in its context.

    Attributes
    ----------
    version : str
        Changes with anything that changes the vectors: those of two versions can't be compared.
    scale : float
        What a cosine between an image or region and a text is multiplied with before a softmax over texts; calibrated,
        so that the softmax is a probability.
    """

    version: str
    scale: float

    def embed_regions(self, image: Slice, masks_nyx: np.ndarray) -> np.ndarray:
        """Return unit vectors, float32 (n, d), of the regions of one image, in one space with texts and images.

        Parameters
        ----------
        image : Slice
            Is encoded once for all regions.
        masks_nyx : numpy.ndarray
            bool (n, height, width), n may be 0; none of them empty.

        Raises
        ------
        PromptError
            If a mask is empty or not of the image's shape.
        """
        ...
