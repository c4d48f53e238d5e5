"""What the pipeline found in a slice: for each phrase, and for all of them together."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from napari_medclipsam.models.contracts import PromptSet, SaliencyMap


@dataclass(frozen=True, eq=False)
class StructureResult:
    """What was found for one phrase in one slice.

    Parameters
    ----------
    label : int
        Its value in ``SliceResult.label_yx``: 1 for the first phrase, and so on.
    saliency : SaliencyMap
        The grounder's answer, with presence, whether the phrase is known and the nearest known phrase.
    mask_yx : numpy.ndarray
        bool at image size: the whole structure, also where another structure overlaps it.
    score_yx : numpy.ndarray
        float32 at image size, 0 outside the mask: settles overlaps (see `settle_overlaps`).
    prompts : tuple of PromptSet
        One per component, as the segmenter got them.
    estimated_iou : float
        The segmenter's estimate, averaged over the components by area; 0 where nothing was drawn.
    """

    label: int
    saliency: SaliencyMap
    mask_yx: np.ndarray
    score_yx: np.ndarray
    prompts: tuple[PromptSet, ...] = ()
    estimated_iou: float = 0.0

    @property
    def text(self) -> str:
        """The phrase."""
        return self.saliency.text

    @property
    def known(self) -> bool:
        """False when the model does not know the phrase; then nothing is drawn."""
        return self.saliency.known

    @property
    def presence(self) -> float:
        """The grounder's score in [0, 1] that the structure is in the slice."""
        return self.saliency.presence

    @property
    def present(self) -> bool:
        """True when the model says that it is there and a mask was drawn."""
        return bool(self.saliency.present and self.mask_yx.any())

    @property
    def boxes_xyxy(self) -> tuple[tuple[float, float, float, float], ...]:
        """The box prompts, one per component."""
        return tuple(p.box_xyxy for p in self.prompts if p.box_xyxy is not None)

    @property
    def points_xy(self) -> np.ndarray:
        """The positive point prompts, float32 (n, 2)."""
        inside = [p.points_xy[p.point_labels == 1] for p in self.prompts]
        return np.concatenate([np.zeros((0, 2), np.float32), *inside])


@dataclass(frozen=True, eq=False)
class SliceResult:
    """What was found in one slice.

    Parameters
    ----------
    structures : tuple of StructureResult
        One per phrase, in the order of the text.
    label_yx : numpy.ndarray
        uint8 at image size: 0 for nothing, else the label of the structure.
    seconds : dict
        Wall time of "embed", "ground" and "segment". With a grounder that does not share the segmenter's embedding,
        its own encoding counts as "ground".
    """

    structures: tuple[StructureResult, ...]
    label_yx: np.ndarray
    seconds: dict[str, float] = field(default_factory=lambda: {"embed": 0.0, "ground": 0.0, "segment": 0.0})

    @property
    def present(self) -> bool:
        """True when anything was drawn."""
        return any(s.present for s in self.structures)

    @property
    def known(self) -> bool:
        """True when the model knows every phrase."""
        return all(s.known for s in self.structures)

    @property
    def presence(self) -> float:
        """The largest presence of the structures."""
        return max(s.presence for s in self.structures)

    @property
    def boxes_xyxy(self) -> tuple[tuple[float, float, float, float], ...]:
        """The box prompts of all structures."""
        return tuple(box for s in self.structures for box in s.boxes_xyxy)

    @property
    def points_xy(self) -> np.ndarray:
        """The positive point prompts of all structures, float32 (n, 2)."""
        return np.concatenate([np.zeros((0, 2), np.float32), *(s.points_xy for s in self.structures)])

    @property
    def saliency_yx(self) -> np.ndarray:
        """The saliency maps of all structures as one: their maximum, float32."""
        return np.maximum.reduce([s.saliency.values_yx for s in self.structures])

    @property
    def estimated_iou(self) -> float:
        """Mean estimate over the structures that were drawn; 0 where none was."""
        drawn = [s.estimated_iou for s in self.structures if s.present]
        return float(np.mean(drawn)) if drawn else 0.0
