"""The click decoder for one picture and a few prompts: the weights and sums of `ClickDecoder` in another order.

In SAM's decoder some ten tokens and 4096 cells attend to each other, and every cell is projected for it. With so few
tokens it is cheaper to carry the projection over to the tokens: (cells K) · q = cells · (Kᵀ q). And the upscaling
makes of each cell a 4×4 square that depends on no other, so rows of cells are multiplied by matrices, and only what
comes out is put in its place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_medclipsam.models.embedding_cache import default_folder
from napari_medclipsam.models.lite.clicks import ClickDecoder
from napari_medclipsam.models.lite.compiled import Compiled, runs_openvino, to_openvino
from napari_medclipsam.models.lite.converted import kept_model
from napari_medclipsam.models.lite.preprocess import CANVAS

CHANNELS = 256
FOLD = 4
"""Each cell of an embedding covers FOLD×FOLD pixels of the canvas."""

_VERSION = "few-tokens-2"
"""Changes whenever the network below does: converted networks are kept under it."""

_SIDE = CANVAS // FOLD


class ClickRunner(Protocol):
    """A click decoder on some device."""

    def prepare(self, features: np.ndarray) -> Any:
        """Return what calls take of an embedding, (304, 64, 64); the same for all clicks on a slice."""
        ...

    def __call__(
        self, prepared: Any, points_xy: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[np.ndarray, float]:
        """Return logits (256, 256) and the estimated IoU for points (n, 2), labels (n,) and a mask (256, 256)."""
        ...


def build_clicks(decoder: Callable[[], ClickDecoder], device: str, weights_hash: str | None = None) -> ClickRunner:
    """Make a click decoder ready to be asked.

    Parameters
    ----------
    decoder : callable
        Returns the trained network; not called where it is kept converted.
    device : str
        "cpu", "cuda" or "mps".
    weights_hash : str, optional
        SHA-256 of its weights: under it the converted network is kept in the user's cache.
    """
    return _OpenvinoClicks(decoder, weights_hash) if runs_openvino(device) else _TorchClicks(decoder(), device)


class _TorchClicks:
    def __init__(self, decoder: ClickDecoder, device: str) -> None:
        self._decoder = decoder.to(device)
        self._device = device

    def prepare(self, features: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        tensor = torch.from_numpy(features)[None].to(self._device)
        return tensor[:, :CHANNELS], F.pixel_shuffle(tensor[:, CHANNELS:], FOLD)

    @torch.inference_mode()
    def __call__(
        self,
        prepared: tuple[torch.Tensor, torch.Tensor],
        points_xy: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> tuple[np.ndarray, float]:
        given = mask if mask is not None else torch.full((CANVAS, CANVAS), float("nan"))
        prompts = (tensor.to(self._device) for tensor in (points_xy[None], labels[None], given[None, None]))
        logits, estimated = self._decoder(*prepared, *prompts)
        return logits[0].cpu().numpy(), float(estimated[0])


class _OpenvinoClicks:
    def __init__(self, decoder: Callable[[], ClickDecoder], weights_hash: str | None) -> None:
        network = functools.cache(lambda: FewTokens(decoder()).eval())
        canvas = torch.zeros(1, 3, CANVAS, CANVAS)
        rows, points, labels = torch.zeros(1, _SIDE**2, CHANNELS), torch.zeros(1, 2, 2), torch.tensor([[0, 1]])
        given, any_number = (rows, canvas, points, labels), (rows.shape, canvas.shape, (1, -1, 2), (1, -1))

        def made(name: str, examples: tuple[torch.Tensor, ...]) -> Compiled:
            shapes = (*any_number, *(tensor.shape for tensor in examples[len(any_number) :]))
            if weights_hash is None:
                return Compiled(to_openvino(network(), examples, shapes))
            key = f"{weights_hash}\0{_VERSION}\0{name}"
            return Compiled(kept_model(default_folder(), key, lambda: to_openvino(network(), examples, shapes)))

        self._start = made("start", given)
        self._correct = made("correct", (*given, torch.zeros(1, 1, CANVAS, CANVAS)))

    def prepare(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = np.ascontiguousarray(features[:CHANNELS].reshape(CHANNELS, -1).T)[None]
        return rows, F.pixel_shuffle(torch.from_numpy(features[None, CHANNELS:]), FOLD).numpy()

    def __call__(
        self,
        prepared: tuple[np.ndarray, np.ndarray],
        points_xy: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> tuple[np.ndarray, float]:
        given = (*prepared, points_xy.numpy()[None], labels.numpy()[None])
        if mask is None:
            logits, estimated = self._start(*given)
        else:
            logits, estimated = self._correct(*given, mask.numpy()[None, None])
        return logits[0], float(estimated[0])


class FewTokens(nn.Module):
    """What a `ClickDecoder` says of one picture.

    Parameters
    ----------
    decoder : ClickDecoder
        Whose weights are used.
    """

    def __init__(self, decoder: ClickDecoder) -> None:
        super().__init__()
        self.whole = decoder

    def forward(
        self,
        rows: torch.Tensor,
        canvas: torch.Tensor,
        points_xy: torch.Tensor,
        labels: torch.Tensor,
        masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `ClickDecoder.forward` for a batch of one.

        Parameters
        ----------
        rows : torch.Tensor
            (1, 4096, 256), the embedding, a row for each cell.
        canvas, points_xy, labels : torch.Tensor
            As there.
        masks : torch.Tensor, optional
            As there; None where there is no earlier mask.
        """
        decoded = self.decode(rows, points_xy, labels, masks)
        net = self.whole.net
        return self.whole.joined(decoded, net.draw(canvas, *net.early(canvas), points_xy, labels, masks))

    def decode(
        self, rows: torch.Tensor, points_xy: torch.Tensor, labels: torch.Tensor, masks: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `ClickDecoder.decode`; see `forward`."""
        decoder, prompts = self.whole.mask_decoder, self.whole.prompt_encoder
        cells = rows[0] + (prompts.no_mask_embed.weight if masks is None else _rows(prompts.mask_downscaling(masks)))
        tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])[None]
        tokens = torch.cat([tokens, self.whole.sparse(points_xy, labels)], 1)
        answers, cells = _two_way(decoder.transformer, tokens, cells, _rows(prompts.get_dense_pe()))
        squares = _upscaled(decoder.output_upscaling, cells)
        kernel = decoder.output_hypernetworks_mlps[0](answers[:, 1])
        logits = squares.view(-1, kernel.shape[1]) @ kernel[0]
        logits = logits.view(_SIDE, _SIDE, 2, 2, 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, CANVAS, CANVAS)
        return logits, decoder.iou_prediction_head(answers[:, 0])[:, 0]


def _rows(planes: torch.Tensor) -> torch.Tensor:
    """(1, channels, 64, 64) to (4096, channels)."""
    return planes[0].flatten(1).T


def _two_way(
    transformer: Any, tokens: torch.Tensor, cells: torch.Tensor, places: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """SAM's ``TwoWayTransformer`` on tokens (1, n, 256), cells and their places (4096, 256)."""
    queries, placed = tokens, cells + places
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            queries = layer.self_attn(q=queries, k=queries, v=queries)
        else:
            asking = queries + tokens
            queries = queries + layer.self_attn(q=asking, k=asking, v=queries)
        queries = layer.norm1(queries)
        queries = layer.norm2(queries + _ask(layer.cross_attn_token_to_image, queries + tokens, cells, placed))
        queries = layer.norm3(queries + layer.mlp(queries))
        cells = layer.norm4(cells + _tell(layer.cross_attn_image_to_token, queries, queries + tokens, placed))
        placed = cells + places
    queries = queries + _ask(transformer.final_attn_token_to_image, queries + tokens, cells, placed)
    return transformer.norm_final_attn(queries), cells


def _ask(attention: Any, asking: torch.Tensor, cells: torch.Tensor, placed: torch.Tensor) -> torch.Tensor:
    """Tokens attend to cells. The keys' bias adds the same to every cell, so the softmax does not see it."""
    heads = attention.num_heads
    folded = _by_head(attention.q_proj(asking), heads) @ _by_head_in(attention.k_proj, heads)
    # In this order the product is a plain one to OpenVINO, and takes a third of the time.
    weights = (placed @ folded.flatten(0, 1).T).T.softmax(-1)
    mixed = (weights @ cells).view(heads, -1, cells.shape[1])
    seen = (mixed @ _by_head_in(attention.v_proj, heads).transpose(1, 2)).transpose(0, 1).flatten(1)
    return attention.out_proj(seen + attention.v_proj.bias)[None]


def _tell(attention: Any, tokens: torch.Tensor, asked: torch.Tensor, placed: torch.Tensor) -> torch.Tensor:
    """Cells attend to tokens."""
    heads, count = attention.num_heads, placed.shape[0]
    keys = _by_head(attention.k_proj(asked), heads)
    folded = keys @ _by_head_in(attention.q_proj, heads)
    bias = keys @ attention.q_proj.bias.view(heads, -1, 1)
    weights = ((folded.flatten(0, 1) @ placed.T).view(heads, -1, count) + bias).softmax(1)
    values = attention.v_proj(tokens)[0].unflatten(-1, (heads, -1)).transpose(0, 1)
    told = values @ attention.out_proj.weight.unflatten(1, (heads, -1)).permute(1, 2, 0)
    return weights.flatten(0, 1).T @ told.flatten(0, 1) + attention.out_proj.bias


def _by_head(tokens: torch.Tensor, heads: int) -> torch.Tensor:
    """(1, n, heads·width) to (heads, n, width), divided by the root of the width as attention asks."""
    split = tokens[0].unflatten(-1, (heads, -1)).transpose(0, 1)
    return split / split.shape[-1] ** 0.5


def _by_head_in(projection: nn.Linear, heads: int) -> torch.Tensor:
    """Weights of a projection as (heads, width, in)."""
    return projection.weight.unflatten(0, (heads, -1))


def _upscaled(upscaling: Any, cells: torch.Tensor) -> torch.Tensor:
    """Cells (4096, 256) to features (4·4096, 4·32): quarters of a cell, and in each row their quarters."""
    first, norm, activation, second, _ = upscaling
    quarters = (cells @ first.weight.permute(0, 2, 3, 1).flatten(1)).view(-1, first.out_channels) + first.bias
    quarters = activation(F.layer_norm(quarters, norm.weight.shape, norm.weight, norm.bias, norm.eps))
    return activation(quarters @ second.weight.permute(0, 2, 3, 1).flatten(1) + second.bias.repeat(4))
