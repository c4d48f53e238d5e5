"""Contrastive losses between images and their captions: InfoNCE, DCL, HN-NCE and DHN-NCE.

With s_ij = cos(image i, text j), temperature τ and batch size B, image to text (text to image likewise with s_ji):

- InfoNCE (van den Oord et al. 2018): ``-s_ii/τ + log Σ_j exp(s_ij/τ)``
- DCL (Yeh et al. 2022): ``-s_ii/τ + log Σ_{j≠i} exp(s_ij/τ)``: the positive is not in the sum
- HN-NCE (Radenovic et al. 2023): ``-s_ii/τ + log(exp(s_ii/τ) + Σ_{j≠i} exp(s_ij/τ) W_ij)``
- DHN-NCE (Koleilat et al. 2024, arXiv 2403.20253): ``-s_ii/τ + log Σ_{j≠i} exp(s_ij/τ) W_ij``

with ``W_ij = (B-1) exp(β s_ij/τ) / Σ_{k≠i} exp(β s_ik/τ)``, which grows with similarity. With β = 0 all weights are 1,
and DHN-NCE is DCL, HN-NCE is InfoNCE. The weights are constants of the backward pass: they say how much a negative
counts. Through them the gradient of a negative would be ``((1+β) p - β q)/τ`` with p and q its shares at 1+β and β,
which is below 0 for easy negatives, and would push those towards the image.

The authors' public code of DHN-NCE takes an element-wise -log over the matrix, leaves β out of the normaliser and
pushes the hardest negatives up. Here is the formula: the gradient with respect to every negative is at least 0 and
grows with its similarity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import log
from typing import TYPE_CHECKING

from napari_medclipsam.errors import LearningError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ContrastSettings:
    """The values of MedCLIP-SAM.

    Parameters
    ----------
    temperature : float
        τ, above 0.
    beta_image, beta_text : float
        β1 (image to text) and β2 (text to image), at least 0: how much harder negatives weigh. DCL and InfoNCE have
        none.

    Raises
    ------
    LearningError
        If one is outside of its range.
    """

    temperature: float = 0.6
    beta_image: float = 0.15
    beta_text: float = 0.15

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and self.beta_image >= 0 and self.beta_text >= 0):
            raise LearningError(
                "The temperature must be above 0 and β at least 0; "
                f"got {self.temperature:g}, {self.beta_image:g} and {self.beta_text:g}."
            )


def contrastive_loss(
    image_vectors: torch.Tensor, text_vectors: torch.Tensor, loss: str, settings: ContrastSettings | None = None
) -> torch.Tensor:
    """Return the loss of a batch, summed over both directions and averaged over its pairs.

    A caption that is there twice is its own negative: put equal captions into different batches.

    Parameters
    ----------
    image_vectors, text_vectors : torch.Tensor
        (B, d), B at least 2; row i of both is one pair. They are brought to length 1.
    loss : str
        One of `LOSSES`.
    settings : ContrastSettings, optional
        Those of the paper by default.

    Raises
    ------
    LearningError
        If there is no such loss, the numbers of images and texts differ, or there are fewer than two.
    """
    from torch.nn import functional

    if image_vectors.shape != text_vectors.shape or image_vectors.ndim != 2:
        raise LearningError(
            "A contrastive loss takes as many images as texts, in the same number of dimensions; "
            f"got {tuple(image_vectors.shape)} and {tuple(text_vectors.shape)}."
        )
    images, texts = functional.normalize(image_vectors, dim=1), functional.normalize(text_vectors, dim=1)
    return loss_of_similarities(images @ texts.T, loss, settings)


def loss_of_similarities(
    similarities: torch.Tensor, loss: str, settings: ContrastSettings | None = None
) -> torch.Tensor:
    """Return the loss of cosines (B, B), images in rows and texts in columns; see `contrastive_loss`."""
    settings = settings or ContrastSettings()
    if loss not in LOSSES:
        raise LearningError(f"There is no contrastive loss {loss!r}; choose one of {', '.join(LOSSES)}.")
    if len(similarities) < 2:
        raise LearningError(
            f"A contrastive loss compares each pair with others, and this batch has {len(similarities)}. "
            "Use batches of at least two image-caption pairs."
        )
    one_way = LOSSES[loss]
    there = one_way(similarities / settings.temperature, settings.beta_image)
    back = one_way(similarities.T / settings.temperature, settings.beta_text)
    return (there + back).mean()


def _one_way(logits: torch.Tensor, beta: float, *, weighted: bool, decoupled: bool) -> torch.Tensor:
    """Return the loss of each row of s/τ, (B,)."""
    import torch

    n = len(logits)
    is_self = torch.eye(n, dtype=torch.bool, device=logits.device)
    negatives = logits.masked_fill(is_self, -torch.inf)
    if weighted:
        log_weights = log(n - 1) + (beta * logits.detach()).masked_fill(is_self, -torch.inf).log_softmax(dim=1)
        # The diagonal is no negative: its weight is log 0, and infinite minus infinite must not come into the sum.
        negatives = negatives + log_weights.masked_fill(is_self, 0)
    positives = logits.diagonal()
    total = torch.logsumexp(negatives, dim=1)
    if not decoupled:
        total = torch.logaddexp(total, positives)
    return total - positives


LOSSES: Mapping[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "dhn-nce": partial(_one_way, weighted=True, decoupled=True),
    "infonce": partial(_one_way, weighted=False, decoupled=False),
    "dcl": partial(_one_way, weighted=False, decoupled=True),
    "hn-nce": partial(_one_way, weighted=True, decoupled=False),
}
"""Name to loss: rows of s/τ and β to the loss of each row."""
