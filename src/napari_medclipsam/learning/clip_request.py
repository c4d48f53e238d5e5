"""What is asked of the learner `clip`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.clip_home import CLIP
from napari_medclipsam.learning.clip_losses import LOSSES, ContrastSettings
from napari_medclipsam.learning.contracts import Budget, Settings
from napari_medclipsam.learning.run import Request
from napari_medclipsam.models.registry import LOCAL_DIR
from napari_medclipsam.projects.documents import Document

Way = Literal["full", "lora"]

#: The paper's rate is for all weights; LoRA starts at nothing and has a hundredth of them.
LORA_RATE = 1e-4


@dataclass(frozen=True)
class ClipTraining:
    """How to fine-tune; the values of MedCLIP-SAM by default.

    Parameters
    ----------
    loss : str
        One of ``clip_losses.LOSSES``.
    way : {"full", "lora"}
        All weights of both towers, or LoRA of rank 8 in their blocks.
    batch : int
        Pairs that are compared with each other.
    rate : float
        The highest learning rate; it decays along a cosine.
    epochs : int
        How often each pair is seen, on the average, unless the budget ends it before.
    contrast : ContrastSettings
        τ and β.

    Raises
    ------
    LearningError
        If one is outside of its range.
    """

    loss: str = "dhn-nce"
    way: Way = "full"
    batch: int = 64
    rate: float = 1e-6
    epochs: int = 20
    contrast: ContrastSettings = field(default_factory=ContrastSettings)

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise LearningError(f"There is no contrastive loss {self.loss!r}; choose one of {', '.join(LOSSES)}.")
        if self.way not in ("full", "lora"):
            raise LearningError(f"Fine-tuning is 'full' or 'lora'; got {self.way!r}.")
        if self.batch < 2:
            raise LearningError(
                f"A contrastive loss compares each pair with others, so a batch holds at least 2; got {self.batch}."
            )
        if not self.rate > 0 or self.epochs < 1:
            raise LearningError(
                f"The learning rate is above 0 and epochs are 1 or more; got {self.rate:g} and {self.epochs}."
            )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ClipTraining:
        """Undo `dataclasses.asdict`."""
        return cls(**{**value, "contrast": ContrastSettings(**value["contrast"])})


@dataclass(frozen=True)
class ClipRequest(Request):
    """Fine-tune on the pairs that a home names.

    Parameters
    ----------
    training : ClipTraining
        How.
    """

    learner: str = CLIP
    training: ClipTraining = field(default_factory=ClipTraining)


def request_from_json(value: Document) -> Request:
    """Undo `Request.to_json`, of whatever learner."""
    if "training" not in value:
        return Request.from_json(value)
    settings = {**value["settings"], "budget": Budget(**value["settings"]["budget"])}
    return ClipRequest(CLIP, Settings(**settings), value["trigger"], ClipTraining.from_json(value["training"]))


def not_tunable(model: str) -> LearningError:
    """Return the error for a model that is no text-image encoder."""
    return LearningError(
        f"{model} is no text-image encoder that can be fine-tuned; choose --model biomedclip, or an open_clip model as "
        f"{LOCAL_DIR}/folder or hf-hub:organisation/name."
    )
