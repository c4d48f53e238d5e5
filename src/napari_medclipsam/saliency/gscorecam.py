"""gScoreCAM (Chen et al. 2022), the saliency of MedCLIP-SAM (arXiv 2403.20253).

The channels that matter most by gradient are each tried as a mask on the image; how well the masked image fits the text
is the channel's weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medclipsam.saliency.maps import at_size, min_max
from napari_medclipsam.saliency.tower import Tower, replaced_output
from napari_medclipsam.saliency.work import Work

if TYPE_CHECKING:
    import torch


_SHARE = 300 / 768


@dataclass(frozen=True)
class GScoreCamSettings:
    """The values of MedCLIP-SAM.

    Parameters
    ----------
    n_channels : int, optional
        Channels that are tried. By default 300 of 768, and the same share of another width: over all channels of a
        layer norm the map is nearly constant.
    batch : int
        Masked images that go through the network together.
    """

    n_channels: int | None = None
    batch: int = 20


class GScoreCam:
    """Channels weighted by how well the image fits the text when each is laid over it as a mask.

    Taken at the second layer norm of the last block. There the gradient of a patch token is exactly zero in a network
    that reads its class token alone; so the mean gradient of a channel goes over all tokens, the class token among
    them, while the map is made of the patches.

    Parameters
    ----------
    tower : Tower
        The image tower.
    settings : GScoreCamSettings, optional
        Those of the paper by default.

    Raises
    ------
    ModelError
        If the tower lacks the layer.
    """

    def __init__(self, tower: Tower, settings: GScoreCamSettings | None = None) -> None:
        self._tower = tower
        self._settings = settings or GScoreCamSettings()
        self._norm = tower.norm(len(tower.blocks) - 1, 2)

    def maps(self, pixels: torch.Tensor, texts: torch.Tensor, work: Work) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a map for each text, and the image's vector; see ``GradCam.maps``.

        A channel that several texts ask for is tried once: what the network sees of a masked image does not depend on
        the text.
        """
        import torch

        with torch.enable_grad(), replaced_output(self._norm, None) as put:
            vector = self._tower.encode(pixels)[0]
            gradients = [torch.autograd.grad(text @ vector, put[0], retain_graph=True)[0][0] for text in texts]
        mean_gradients = torch.stack(gradients).float().mean(dim=1)
        channels = self._tower.on_grid(put[0].detach()[0].float().T)
        n_kept = min(self._settings.n_channels or round(_SHARE * len(channels)), len(channels))
        chosen = mean_gradients.topk(n_kept, dim=1).indices
        tried, places = chosen.unique(return_inverse=True)
        scores = self._scores(pixels, channels[tried], texts, work)
        weights = scores.gather(1, places).softmax(dim=1)
        maps = torch.einsum("nk,nkyx->nyx", weights, channels[chosen]).clamp(min=0)
        return maps, vector.detach()

    def _scores(self, pixels: torch.Tensor, channels: torch.Tensor, texts: torch.Tensor, work: Work) -> torch.Tensor:
        """Return the cosine between each text and the image under each channel, (n, channels)."""
        import torch

        masks = min_max(channels)
        vectors = []
        for start in range(0, len(masks), self._settings.batch):
            # Outside of inference mode: between two steps another map may be made, which needs gradients.
            work.step(start, len(masks))
            with torch.inference_mode():
                part = at_size(masks[start : start + self._settings.batch], pixels.shape[-2:])
                vectors.append(self._tower.encode(pixels * part[:, None]))
        work.step(len(masks), len(masks))
        with torch.inference_mode():
            return texts @ torch.cat(vectors).T
