"""The encoders that SAM-Mix builds on, cut in two: what is computed once for each slice, and what is learnt.

LoRA goes into the last blocks of the encoder and into the mask decoder, so the part before, nine tenths of the work,
runs once for each slice, on a CPU through OpenVINO; see docs/adr/0012-lora-in-the-last-blocks.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_medclipsam.errors import LearningError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.lite.encoder import build_encoder
from napari_medclipsam.models.lite.model import LiteModel
from napari_medclipsam.models.lite.preprocess import CANVAS, Fit, to_canvas
from napari_medclipsam.models.sam import SegmentAnything

RANK = 8
_LAST_BLOCKS = 2
_ENCODER_LAYERS = r".*\.(qkv|proj)"
_DECODER_LAYERS = r".*(q_proj|v_proj)"

Cancelled = Callable[[], bool]


class Backbone(nn.Module, ABC):
    """An encoder and its mask decoder, with LoRA where it learns.

    Attributes
    ----------
    width : int
        Channels of an embedding.
    side : int
        Of the square of mask logits, in cells; it divides 256.
    slice_bytes : int
        That training takes for each slice of a batch, about.
    """

    width: int
    side: int
    slice_bytes: int

    @abstractmethod
    def embed(self, stems: torch.Tensor) -> torch.Tensor:
        """Return embeddings (batch, width, rows, columns) of what a `Stem` gave."""

    @abstractmethod
    def decode(self, embeddings: torch.Tensor, boxes_xyxy: torch.Tensor) -> torch.Tensor:
        """Return mask logits (batch, side, side) for a box (batch, 4) each, in pixels of a canvas of 256."""


class Stem(ABC):
    """The frozen part before a `Backbone`, with the pictures' way into it."""

    #: Under which its results are kept.
    key: str
    #: Pictures with a longer side than this are made smaller for nothing to be lost.
    picture_side: int

    @abstractmethod
    def __call__(self, image: Slice, cancelled: Cancelled | None = None) -> np.ndarray:
        """Encode a slice; raises `GaveWayError` if `cancelled`, which is asked meanwhile, ended it."""

    @abstractmethod
    def fit(self, shape_yx: tuple[int, int]) -> Fit:
        """Return how an image lies in the square that masks are on, scaled to 256 pixels."""


def backbone_of(base: Any, device: str) -> tuple[Stem, Backbone]:
    """Return both parts of a model.

    Parameters
    ----------
    base : LiteModel or SegmentAnything
        Left as it is.
    device : str
        Where the stem runs.

    Raises
    ------
    LearningError
        If it is another model.
    """
    if isinstance(base, LiteModel):
        encoder: Any = base.encoder_network()
        return _LiteStem(encoder, base.encoder_hash, device), _LiteBackbone(encoder, base.parts()[1])
    if isinstance(base, SegmentAnything):
        network = base.network_copy()
        return _SamStem(base, network, device), _SamBackbone(network)
    raise LearningError(
        f"SAM-Mix builds on lite or on a segment-anything model, and this is {getattr(base, 'name', 'another')}; "
        "choose --model lite."
    )


def with_lora(part: nn.Module, layers: str) -> nn.Module:
    """Put LoRA of rank 8 into the linear layers of a part whose names match (Hu et al. 2021), and freeze the rest."""
    from peft import LoraConfig, inject_adapter_in_model

    part.requires_grad_(False)
    return inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=layers), part)


class _LiteStem(Stem):
    picture_side = CANVAS

    def __init__(self, encoder: Any, encoder_hash: str, device: str) -> None:
        stem = nn.Sequential(encoder.patch_embed, *list(encoder.layers)[:-1]).eval().requires_grad_(False)
        self.key = f"{encoder_hash}-stem"
        self._encode = build_encoder(stem, device, self.key)

    def __call__(self, image: Slice, cancelled: Cancelled | None = None) -> np.ndarray:
        return self._encode(to_canvas(image.pixels), cancelled)

    def fit(self, shape_yx: tuple[int, int]) -> Fit:
        return Fit.of(shape_yx)


class _LiteBackbone(Backbone):
    width, side, slice_bytes = 256, CANVAS, 700 << 20

    def __init__(self, encoder: Any, decoder: nn.Module) -> None:
        super().__init__()
        self.last: Any = with_lora(nn.ModuleDict({"blocks": encoder.layers[-1]}), _ENCODER_LAYERS)
        self.neck = encoder.neck.requires_grad_(False)
        self.decoder: Any = with_lora(decoder, _DECODER_LAYERS)

    def embed(self, stems: torch.Tensor) -> torch.Tensor:
        cells = self.last["blocks"](stems)
        grid = round(cells.shape[1] ** 0.5)
        embeddings: torch.Tensor = self.neck(cells.transpose(1, 2).unflatten(2, (grid, grid)))
        return embeddings

    def decode(self, embeddings: torch.Tensor, boxes_xyxy: torch.Tensor) -> torch.Tensor:
        batch = len(embeddings)
        corners = boxes_xyxy.reshape(batch, 2, 2)
        labels = torch.tensor([[2, 3]], device=embeddings.device).expand(batch, -1)
        # NaN: there is no earlier mask.
        masks = torch.full((batch, 1, CANVAS, CANVAS), float("nan"), device=embeddings.device)
        logits: torch.Tensor = self.decoder.decode(embeddings, corners, labels, masks)[0]
        return logits


class _SamStem(Stem):
    def __init__(self, base: SegmentAnything, network: Any, device: str) -> None:
        encoder = network.image_encoder
        self.picture_side = int(encoder.img_size)
        self.key = f"{base.name}-stem"
        self._base, self._encoder, self._device = base, encoder.to(device), device
        self._blocks = list(encoder.blocks)[: -_last_blocks(encoder)]

    @torch.inference_mode()
    def __call__(self, image: Slice, cancelled: Cancelled | None = None) -> np.ndarray:
        x = self._encoder.patch_embed(self._base.prepared(image).to(self._device))
        x = x if self._encoder.pos_embed is None else x + self._encoder.pos_embed
        for block in self._blocks:
            x = block(x)
        return np.asarray(x[0].float().cpu().numpy())

    def fit(self, shape_yx: tuple[int, int]) -> Fit:
        rows, columns = (max(1, round(n * CANVAS / self.picture_side)) for n in self._base.frame_yx(shape_yx))
        return Fit(shape_yx, (rows, columns), CANVAS / max(shape_yx))


class _SamBackbone(Backbone):
    # The last block of SAM attends over all cells: 4096² weights for each of twelve heads.
    slice_bytes = 2500 << 20

    def __init__(self, network: Any) -> None:
        super().__init__()
        encoder = network.image_encoder
        last = nn.ModuleDict({"blocks": nn.ModuleList(list(encoder.blocks)[-_last_blocks(encoder) :])})
        self.last: Any = with_lora(last, _ENCODER_LAYERS)
        self.neck = encoder.neck.requires_grad_(False)
        self.prompts = network.prompt_encoder.requires_grad_(False)
        self.decoder: Any = with_lora(network.mask_decoder, _DECODER_LAYERS)
        self.width = int(network.prompt_encoder.embed_dim)
        self.side = int(network.prompt_encoder.mask_input_size[0])
        self._scale = int(encoder.img_size) / CANVAS

    def embed(self, stems: torch.Tensor) -> torch.Tensor:
        for block in self.last["blocks"]:
            stems = block(stems)
        embeddings: torch.Tensor = self.neck(stems.permute(0, 3, 1, 2))
        return embeddings

    def decode(self, embeddings: torch.Tensor, boxes_xyxy: torch.Tensor) -> torch.Tensor:
        places, found = self.prompts.get_dense_pe(), []
        # Its decoder takes many prompts of one picture, not one of each of many.
        for embedding, box in zip(embeddings, (boxes_xyxy + 0.5) * self._scale - 0.5, strict=True):
            sparse, dense = self.prompts(points=None, boxes=box[None], masks=None)
            logits, _ = self.decoder(
                image_embeddings=embedding[None],
                image_pe=places,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
            found.append(logits[0, 0])
        return torch.stack(found)


def _last_blocks(encoder: Any) -> int:
    return min(_LAST_BLOCKS, len(encoder.blocks) - 1)
