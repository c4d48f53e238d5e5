"""Prompts to a mask: LiteMedSAM's prompt encoder and mask decoder, and the click network, as one answer."""

from __future__ import annotations

import torch
from torch import nn

from napari_medclipsam.models.lite.click_net import LIMIT, ClickNet
from napari_medclipsam.models.lite.preprocess import CANVAS

# Best of 0.3, 0.5, 0.7 and 1 on the pictures held out.
_SHARE = 0.5


class ClickDecoder(nn.Module):
    """Embedding, picture and prompts to mask logits on the canvas and an estimated IoU.

    Parameters
    ----------
    litemedsam : torch.nn.Module
        The network whose ``prompt_encoder`` and ``mask_decoder`` are taken over.
    share : float
        How much of the answer is the click network's; 0 where that was not trained. Weights that are loaded bring
        their own.
    """

    share: torch.Tensor

    def __init__(self, litemedsam: nn.Module, share: float = _SHARE) -> None:
        super().__init__()
        self.prompt_encoder = litemedsam.prompt_encoder
        self.mask_decoder = litemedsam.mask_decoder
        self.net = ClickNet()
        self.register_buffer("share", torch.tensor(share))

    def sparse(self, points_xy: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
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
        given = encoder.mask_downscaling(masks.masked_fill(masks.isnan(), 0.0))
        return torch.where(missing, encoder.no_mask_embed.weight.view(1, -1, 1, 1), given)

    def decode(
        self, embeddings: torch.Tensor, points_xy: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict from the embedding alone: logits (batch, 256, 256), IoU (batch,)."""
        decoder = self.mask_decoder
        batch = embeddings.shape[0]
        # The IoU token and, of the mask tokens, the one that stands for a single answer.
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])[None].expand(batch, -1, -1)
        tokens = torch.cat([own, self.sparse(points_xy, labels)], 1)
        places = self.prompt_encoder.get_dense_pe().expand(batch, -1, -1, -1)
        answers, cells = decoder.transformer(embeddings + self._dense(masks), places, tokens)
        features = decoder.output_upscaling(cells.transpose(1, 2).reshape(embeddings.shape))
        kernel = decoder.output_hypernetworks_mlps[0](answers[:, 1])
        logits = torch.einsum("bc,bchw->bhw", kernel, features)
        return logits, decoder.iou_prediction_head(answers[:, 0])[:, 0]

    def forward(
        self,
        embeddings: torch.Tensor,
        canvas: torch.Tensor,
        points_xy: torch.Tensor,
        labels: torch.Tensor,
        masks: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict one mask for each row.

        Parameters
        ----------
        embeddings : torch.Tensor
            (batch, 256, 64, 64).
        canvas : torch.Tensor
            (batch, 3, 256, 256), the picture, values in [0, 1].
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
        decoded = self.decode(embeddings, points_xy, labels, masks)
        return self.joined(decoded, self.net(canvas, points_xy, labels, masks))

    def joined(
        self, decoded: tuple[torch.Tensor, torch.Tensor], drawn: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the decoder and the click network say as one."""
        logits = decoded[0].clamp(-LIMIT, LIMIT).lerp(drawn[0].clamp(-LIMIT, LIMIT), self.share)
        return logits, decoded[1].lerp(drawn[1], self.share)
