"""Regions of an image with an open_clip vision transformer: its patches over the region, projected as the image is.

Zhou et al. 2022, "Extract free dense labels from CLIP", read patches through the head of the whole image; a patch alone
was never trained to be read so, and the vector of the whole image is mixed in to keep it near the texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medclipsam.errors import ModelError

if TYPE_CHECKING:
    import torch

_SHARE_OF_IMAGE = 0.5


def read_tokens(visual: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Return vectors (n, d), not yet of unit length, of tokens (n, all, channels) as the last block gives them."""
    if hasattr(visual, "trunk"):
        vectors: torch.Tensor = visual.head(visual.trunk.forward_head(visual.trunk.norm(tokens)))
        return vectors
    vectors, _ = visual._pool(tokens)
    return vectors if visual.proj is None else vectors @ visual.proj


def region_vectors(network: Any, pixels: torch.Tensor, masks_nyx: torch.Tensor) -> torch.Tensor:
    """Return unit vectors (n, d) of regions of one image.

    Parameters
    ----------
    network : torch.nn.Module
        open_clip model.
    pixels : torch.Tensor
        Its input, (1, 3, rows, columns).
    masks_nyx : torch.Tensor
        float (n, height, width), 1 inside; none is empty.

    Raises
    ------
    ModelError
        If the image tower is no vision transformer.
    """
    from torch.nn import functional

    visual = network.visual
    tokens, n_prefix, grid_yx = _tokens(visual, pixels)
    # The share of each patch that is inside: a region smaller than a patch has its patch.
    inside = functional.interpolate(masks_nyx[:, None], grid_yx, mode="area").flatten(1)
    weights = (inside / inside.sum(1, keepdim=True)).to(tokens.dtype)
    pooled = weights @ tokens[0, n_prefix:]
    # The pooled patch in the place of every token: whichever of them the head reads, it reads this.
    regions = read_tokens(visual, pooled[:, None].expand(-1, tokens.shape[1], -1))
    whole = functional.normalize(read_tokens(visual, tokens).float(), dim=-1)
    mixed = (1 - _SHARE_OF_IMAGE) * functional.normalize(regions.float(), dim=-1) + _SHARE_OF_IMAGE * whole
    return functional.normalize(mixed, dim=-1)


def _tokens(visual: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, int, tuple[int, int]]:
    """Return tokens (1, all, channels) of the last block, how many stand before the patches, and the patches' grid."""
    trunk = getattr(visual, "trunk", visual)
    last = getattr(trunk, "blocks", getattr(getattr(trunk, "transformer", None), "resblocks", None))
    grid_yx = getattr(getattr(trunk, "patch_embed", trunk), "grid_size", None)
    if not last or grid_yx is None:
        raise ModelError(
            f"Regions need a vision transformer, and this image tower is a {type(trunk).__name__}. "
            "Choose another model, or ask about the whole slice."
        )
    kept: list[torch.Tensor] = []
    handle = last[-1].register_forward_hook(lambda module, inputs, output: kept.append(output))
    try:
        visual(pixels)
    finally:
        handle.remove()
    rows, columns = grid_yx
    return kept[0], kept[0].shape[1] - rows * columns, (int(rows), int(columns))
