"""A click network that reads the picture itself: the second opinion beside LiteMedSAM's decoder.

The structure network with an ear for prompts: they join its features at a quarter of the picture's side, after the
stages that know edges and textures, and again where the outline is drawn (as in Sofiiuk et al. 2022, "Reviving
iterative training with mask guidance", where prompts join after the first layer).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from napari_medclipsam.models.lite.preprocess import CANVAS
from napari_medclipsam.models.lite.structure_net import Up

LIMIT = 16.0
"""Logits are held within plus and minus this: nobody can be so sure that others have no say."""

_STAGES = 6
_EARLY = 2
_WIDTHS = (128, 96, 64, 32)
_HEARD = 24
_EDGE = 32
_PLANES = 7
_BLOB_SIGMAS = (3.0, 12.0)


class ClickNet(nn.Module):
    """Canvas and prompts to mask logits on the canvas and an estimated IoU; inputs and outputs as `ClickDecoder`'s."""

    def __init__(self) -> None:
        import timm

        super().__init__()
        self.encoder = timm.create_model("tf_efficientnet_lite0", features_only=True, pretrained=False)
        *beside, _ = self.encoder.feature_info.channels()
        # The last stage widens what classes are told by; prompts have none, and it is a quarter of the weights.
        self.encoder.blocks = self.encoder.blocks[:_STAGES]
        deepest = self.encoder.blocks[-1][-1].conv_pwl.out_channels
        self.hear = nn.Sequential(nn.Conv2d(4 * _PLANES, _HEARD, 3, padding=1), nn.ReLU())
        self.join = nn.Conv2d(_HEARD, beside[1], 3, stride=2, padding=1)
        widths_below = (deepest, *_WIDTHS[:-1])
        self.ups = nn.ModuleList(map(Up, widths_below, (*reversed(beside[1:]), beside[0] + _HEARD), _WIDTHS))
        self.edge = nn.Sequential(
            nn.Conv2d(_WIDTHS[-1] + _HEARD + 12, _EDGE, 3, padding=1, bias=False), nn.BatchNorm2d(_EDGE), nn.ReLU()
        )
        self.read = nn.Conv2d(_EDGE, 4, 1)
        # Most of a picture is not what is meant.
        nn.init.constant_(self.read.bias, -3.0)
        self.quality = nn.Sequential(nn.Linear(deepest, 32), nn.ReLU(), nn.Linear(32, 1))

    def early(self, canvas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what does not depend on prompts: features at a half and a quarter of the side."""
        half = self.encoder.blocks[0](self.encoder.bn1(self.encoder.conv_stem(canvas * 2.0 - 1.0)))
        return half, self.encoder.blocks[1](half)

    def forward(
        self, canvas: torch.Tensor, points_xy: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict one mask for each row.

        Parameters
        ----------
        canvas : torch.Tensor
            (batch, 3, 256, 256), the picture, values in [0, 1].
        points_xy, labels, masks : torch.Tensor
            As for `ClickDecoder`.

        Returns
        -------
        tuple of torch.Tensor
            Logits (batch, 256, 256) and estimated IoU (batch,).
        """
        return self.draw(canvas, *self.early(canvas), points_xy, labels, masks)

    def draw(
        self,
        canvas: torch.Tensor,
        half: torch.Tensor,
        quarter: torch.Tensor,
        points_xy: torch.Tensor,
        labels: torch.Tensor,
        masks: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `forward`, with what `early` made of the canvas; masks of None are masks of NaN."""
        heard = self.hear(F.pixel_unshuffle(_planes(points_xy, labels, masks), 2))
        beside = [torch.cat([half, heard], 1)]
        x = quarter + self.join(heard)
        for number, block in enumerate(self.encoder.blocks[_EARLY:], _EARLY):
            # What is beside each step up is the last of its side.
            if number != 4:
                beside.append(x)
            x = block(x)
        estimated = self.quality(x.mean((2, 3)))[:, 0].sigmoid()
        for up, features in zip(self.ups, reversed(beside), strict=True):
            x = up(x, features)
        edge = self.edge(torch.cat([x, heard, F.pixel_unshuffle(canvas, 2)], 1))
        return F.pixel_shuffle(self.read(edge), 2)[:, 0], estimated


def _planes(points_xy: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor | None) -> torch.Tensor:
    """Prompts as pictures, (batch, 7, 256, 256); where there is no earlier mask its planes are zero."""
    blobs = click_blobs(points_xy, labels)
    if masks is None:
        return torch.cat([blobs, torch.zeros_like(blobs[:, :2])], 1)
    missing = masks.isnan()
    given = masks.masked_fill(missing, 0.0).clamp(-LIMIT, LIMIT)
    answer = given.sigmoid().masked_fill(missing, 0.0)
    return torch.cat([blobs, answer, given / 8], 1)


def click_blobs(points_xy: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Clicks as Gaussian blobs and the box as an area.

    Parameters
    ----------
    points_xy : torch.Tensor
        (batch, n, 2), canvas pixels.
    labels : torch.Tensor
        (batch, n): 1 inside, 0 outside, 2 and 3 the corners of a box, -1 padding.

    Returns
    -------
    torch.Tensor
        (batch, 5, 256, 256): inside narrow and wide, outside narrow and wide, box.
    """
    axis = torch.arange(CANVAS, dtype=points_xy.dtype, device=points_xy.device)
    x_apart = (axis[None, None] - points_xy[..., :1]) ** 2
    y_apart = (axis[None, None] - points_xy[..., 1:]) ** 2
    planes = []
    for label in (1, 0):
        chosen = (labels == label)[..., None]
        for sigma in _BLOB_SIGMAS:
            # A Gaussian is the product of its rows and columns.
            wide = torch.exp(-x_apart / (2 * sigma**2)) * chosen
            high = torch.exp(-y_apart / (2 * sigma**2)) * chosen
            planes.append((high[..., :, None] * wide[..., None, :]).amax(1))
    first, last = (labels == 2)[..., None], (labels == 3)[..., None]
    low = (points_xy * first).sum(1)
    high_corner = (points_xy * last).sum(1)
    inside_x = (axis >= low[:, :1]) & (axis <= high_corner[:, :1])
    inside_y = (axis >= low[:, 1:]) & (axis <= high_corner[:, 1:])
    boxed = inside_y[:, :, None] & inside_x[:, None, :] & first.any(1)[..., None]
    planes.append(boxed.to(points_xy.dtype))
    return torch.stack(planes, 1)
