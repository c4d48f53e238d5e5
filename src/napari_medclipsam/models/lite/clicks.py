"""LiteMedSAM's prompt encoder and mask decoder, as one network that takes points, boxes and masks of a whole batch."""

from __future__ import annotations

import torch
from torch import nn

from napari_medclipsam.models.lite.preprocess import CANVAS


class ClickDecoder(nn.Module):
    """Embedding and prompts to mask logits on the canvas and an estimated IoU.

    Parameters
    ----------
    litemedsam : torch.nn.Module
        The network whose ``prompt_encoder`` and ``mask_decoder`` are taken over.
    """

    def __init__(self, litemedsam: nn.Module) -> None:
        super().__init__()
        self.prompt_encoder = litemedsam.prompt_encoder
        self.mask_decoder = litemedsam.mask_decoder

    def _sparse(self, points_xy: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Points and box corners to tokens; a label of -1 is padding."""
        encoder = self.prompt_encoder
        places = encoder.pe_layer.forward_with_coords(points_xy + 0.5, (CANVAS, CANVAS))
        kinds = torch.stack([e.weight[0] for e in (*encoder.point_embeddings, encoder.not_a_point_embed)])
        padding = (labels < 0)[..., None]
        # Index -1 is the last row: the learned "not a point".
        return torch.where(padding, torch.zeros_like(places), places) + kinds[labels]

    def _dense(self, masks: torch.Tensor) -> torch.Tensor:
        """Previous masks to a map beside the embedding; a mask of NaN stands for none."""
        encoder = self.prompt_encoder
        missing = masks[:, :, :1, :1].isnan()
        given = encoder.mask_downscaling(torch.nan_to_num(masks))
        return torch.where(missing, encoder.no_mask_embed.weight.view(1, -1, 1, 1), given)

    def forward(
        self, embeddings: torch.Tensor, points_xy: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict one mask for each row.

        Parameters
        ----------
        embeddings : torch.Tensor
            (batch, 256, 64, 64).
        points_xy : torch.Tensor
            (batch, n, 2), canvas pixels.
        labels : torch.Tensor
            (batch, n): 1 inside, 0 outside, 2 and 3 the corners of a box, -1 padding.
        masks : torch.Tensor
            (batch, 1, 256, 256) logits; NaN where there is no previous mask.

        Returns
        -------
        tuple of torch.Tensor
            Logits (batch, 256, 256) and estimated IoU (batch,).
        """
        logits, estimated = self.mask_decoder.predict_masks(
            image_embeddings=embeddings,
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=self._sparse(points_xy, labels),
            dense_prompt_embeddings=self._dense(masks),
        )
        return logits[:, 0], estimated[:, 0]
