"""Grad-CAM of a CLIP vision transformer (Selvaraju et al. 2017), the baseline of both MedCLIP-SAM papers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medclipsam.saliency.tower import Tower, replaced_output
from napari_medclipsam.saliency.work import Work

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class GradCamSettings:
    """Grad-CAM has nothing to set."""


class GradCam:
    """Channels weighted by their mean gradient over the patches; what counts against the text is cut off.

    The map is taken at the layer norm *before* the attention of the last block. After that attention only the class
    token reaches the output, so that the patch tokens of any later layer have a gradient of exactly zero.

    Parameters
    ----------
    tower : Tower
        The image tower.
    settings : GradCamSettings, optional
        Nothing.

    Raises
    ------
    ModelError
        If the tower lacks the layer.
    """

    def __init__(self, tower: Tower, settings: GradCamSettings | None = None) -> None:
        self._tower = tower
        self._norm = tower.norm(len(tower.blocks) - 1, 1)

    def maps(self, pixels: torch.Tensor, texts: torch.Tensor, work: Work) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a map for each text from one forward pass, and the image's vector.

        Parameters
        ----------
        pixels : torch.Tensor
            Network input, float32 (1, 3, rows, columns).
        texts : torch.Tensor
            float32 (n, d).
        work : Work
            Progress and cancel.

        Returns
        -------
        torch.Tensor, torch.Tensor
            float32 (n, rows, columns) on the token grid, of any scale; unit vector (d,).

        Raises
        ------
        SaliencyCancelled
            If `work` is cancelled.
        """
        import torch

        work.step(0, 1)
        with torch.enable_grad(), replaced_output(self._norm, None) as put:
            vector = self._tower.encode(pixels)[0]
            gradients = [torch.autograd.grad(text @ vector, put[0], retain_graph=True)[0][0] for text in texts]
        patches = slice(self._tower.n_prefix, None)
        weights = torch.stack(gradients)[:, patches].float().mean(dim=1)
        maps = (weights @ put[0].detach()[0].float().T).clamp(min=0)
        work.step(1, 1)
        return self._tower.on_grid(maps), vector.detach()
