"""M2IB, the multi-modal information bottleneck (Wang et al. 2023), the saliency of MedCLIP-SAMv2 (arXiv 2409.19483).

Noise is mixed into the tokens after one layer, as much of it as the similarity to the text can bear. What is left is
what the text needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medclipsam.saliency.tower import Tower, kept_runs
from napari_medclipsam.saliency.work import Work

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class M2ibSettings:
    """The values of MedCLIP-SAMv2.

    Parameters
    ----------
    beta : float
        How much passing information on costs: 0.1 to 2 in the paper, 1 for breast, 2 for brain.
    layer : int, optional
        The block after which noise is mixed in, counted from 0 as in the authors' code: 7 to 9 of 12. By default three
        quarters of the way up, which is 9 of 12.
    n_steps, n_samples : int
        Steps of Adam, and noise samples in each.
    learning_rate : float
        Of Adam.
    alpha : float
        Where the bottleneck starts: sigmoid(5) = 0.993, nearly open.
    seed : int
        Of the noise: the same image and text give the same map.
    """

    beta: float = 1.0
    layer: int | None = None
    n_steps: int = 10
    n_samples: int = 10
    learning_rate: float = 1.0
    alpha: float = 5.0
    seed: int = 0


class M2ib:
    """What each patch has to pass on for the image to fit the text.

    The tokens up to the bottleneck are computed once; only the blocks behind it run for each noise sample, all samples
    of a step together.

    Parameters
    ----------
    tower : Tower
        The image tower.
    settings : M2ibSettings, optional
        Those of the paper by default.

    Raises
    ------
    ModelError
        If the tower has no such layer.
    """

    def __init__(self, tower: Tower, settings: M2ibSettings | None = None) -> None:
        self._tower = tower
        self._settings = settings or M2ibSettings()
        self._layer = tower.block_index(self._settings.layer, share=0.75)

    def maps(self, pixels: torch.Tensor, texts: torch.Tensor, work: Work) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a map for each text, and the image's vector; see ``GradCam.maps``."""
        import torch

        settings = self._settings
        with torch.no_grad(), kept_runs([self._tower.blocks[self._layer]]) as runs:
            vector = self._tower.encode(pixels)[0]
        tokens = runs[0][1].float()
        alpha = torch.full((len(texts), *tokens.shape[1:]), settings.alpha, device=tokens.device, requires_grad=True)
        optimizer = torch.optim.Adam([alpha], lr=settings.learning_rate)
        # Drawn on the CPU: the same noise on every device.
        generator = torch.Generator().manual_seed(settings.seed)
        shape = (settings.n_samples, *tokens.shape[1:])
        for step in range(settings.n_steps):
            work.step(step, settings.n_steps)
            noise = torch.randn(shape, generator=generator).to(tokens.device)
            with torch.enable_grad():
                loss = settings.beta * _divergence(alpha, tokens).mean(dim=(1, 2)) - self._fit(
                    alpha, tokens, noise, texts
                )
                # Each text has its own alpha: the gradient of the sum is the gradient of each.
                alpha.grad = torch.autograd.grad(loss.sum(), alpha)[0]
            optimizer.step()
        work.step(settings.n_steps, settings.n_steps)
        return self._tower.on_grid(_divergence(alpha.detach(), tokens).sum(dim=2)), vector

    def _fit(self, alpha: torch.Tensor, tokens: torch.Tensor, noise: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Return the mean cosine between each text and the image seen through its bottleneck, (n,)."""
        import torch

        share = torch.sigmoid(alpha)[:, None]
        mixed = share * tokens + (1 - share) * noise
        vectors = self._tower.run_from(mixed.flatten(0, 1), self._layer + 1).unflatten(0, (len(texts), len(noise)))
        return torch.einsum("nsd,nd->n", vectors, texts) / len(noise)


def _divergence(alpha: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return how far each value is from pure noise (KL, in nats): (n, tokens, channels)."""
    import torch
    from torch.nn import functional

    share = torch.sigmoid(alpha)
    # log((1 - share)^2), which the logarithm of the rounded difference would lose.
    log_variance = 2 * functional.logsigmoid(-alpha)
    return -0.5 * (1 + log_variance - (share * tokens) ** 2 - (1 - share) ** 2)
