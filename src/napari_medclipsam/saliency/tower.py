"""The vision transformer of an open_clip model, as every saliency method needs it: found once, and read by hooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medclipsam.errors import ModelError
from napari_medclipsam.models.clip_regions import read_tokens
from napari_medclipsam.models.device import dtype_for

if TYPE_CHECKING:
    import torch

    from napari_medclipsam.models.clip import OpenClipEncoder


@dataclass(frozen=True)
class AttentionWeights:
    """What a block's attention does to a token before and after the attention itself.

    Parameters
    ----------
    value, value_bias : torch.Tensor, torch.Tensor or None
        (heads * head size, channels) and (heads * head size,): token to value.
    output : torch.Tensor
        (channels, heads * head size): what the heads saw, back to the token.
    n_heads : int
        Heads.
    """

    value: torch.Tensor
    value_bias: torch.Tensor | None
    output: torch.Tensor
    n_heads: int


@dataclass(frozen=True, eq=False)
class Tower:
    """The image tower of an open_clip model; tokens are (n, prefix tokens + rows * columns, channels).

    Parameters
    ----------
    encoder : OpenClipEncoder
        Its model.
    blocks : sequence of torch.nn.Module
        Transformer blocks, the first first; each maps tokens to tokens.
    n_prefix : int
        Tokens before those of the patches: the class token, and registers where there are any.
    grid_yx : tuple of int
        Rows and columns of patches.
    is_timm : bool
        True for a trunk of timm (BiomedCLIP), False for open_clip's own.
    reads_class_token : bool
        True where the image vector is made of the class token alone.
    """

    encoder: OpenClipEncoder
    blocks: Sequence[Any]
    n_prefix: int
    grid_yx: tuple[int, int]
    is_timm: bool
    reads_class_token: bool

    @classmethod
    def of(cls, encoder: OpenClipEncoder) -> Tower:
        """Find the parts of an encoder.

        Raises
        ------
        ModelError
            If its image tower is no vision transformer of timm or open_clip; the message names the layers it has.
        """
        visual = encoder.network.visual
        trunk = getattr(visual, "trunk", None)
        if trunk is not None and _has(trunk, "blocks", "patch_embed", "forward_head") and _is_plain_timm(trunk):
            rows, columns = trunk.patch_embed.grid_size
            pool = getattr(trunk, "global_pool", "")
            return cls(encoder, trunk.blocks, int(trunk.num_prefix_tokens), (rows, columns), True, pool == "token")
        blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
        if blocks is not None and _has(visual, "grid_size", "_pool", "ln_post") and hasattr(blocks[-1], "ln_1"):
            rows, columns = visual.grid_size
            reads_class_token = visual.attn_pool is None and visual.pool_type == "tok"
            return cls(encoder, blocks, 1, (rows, columns), False, reads_class_token)
        parent = trunk if trunk is not None else visual
        has = ", ".join(name for name, _ in parent.named_children()) or "none"
        raise ModelError(
            "Saliency needs a vision transformer (trunk.blocks of timm or transformer.resblocks of open_clip); the "
            f"image tower of {encoder.name!r} is a {type(parent).__name__} with the layers {has}. Choose another model."
        )

    def block_index(self, wanted: int | None, share: float) -> int:
        """Return the index of a block: `wanted`, or the one at a share of the depth.

        Raises
        ------
        ModelError
            If there is no such block, or none behind it.
        """
        last = len(self.blocks) - 2
        index = min(last, int(share * len(self.blocks))) if wanted is None else wanted
        if not 0 <= index <= last:
            raise ModelError(
                f"{self.encoder.name!r} has {len(self.blocks)} blocks, so this saliency method can work after block 0 "
                f"to {last}; got {wanted}. Choose another layer."
                if last >= 0
                else f"{self.encoder.name!r} has one block only, too few for this saliency method. Choose another one."
            )
        return index

    def norm(self, index: int, which: int) -> Any:
        """Return the first (before the attention) or second (before the MLP) layer norm of a block."""
        name = f"norm{which}" if self.is_timm else f"ln_{which}"
        return self._part(self.blocks[index], name)

    def attention(self, index: int) -> Any:
        """Return the attention module of a block."""
        return self._part(self.blocks[index], "attn")

    def attention_weights(self, index: int) -> AttentionWeights:
        """Return the value and output projections of a block's attention."""
        import torch

        attn = self.attention(index)
        if isinstance(attn, torch.nn.MultiheadAttention):
            value = self._part(attn, "in_proj_weight").chunk(3)[2]
            bias = None if attn.in_proj_bias is None else attn.in_proj_bias.chunk(3)[2]
            return AttentionWeights(value, bias, attn.out_proj.weight, attn.num_heads)
        qkv, projection = self._part(attn, "qkv"), self._part(attn, "proj")
        between = getattr(attn, "norm", None)
        if getattr(attn, "gate", None) is not None or not (between is None or isinstance(between, torch.nn.Identity)):
            raise ModelError(
                f"The attention of {self.encoder.name!r} does more between its heads and its output projection than "
                "this saliency method knows. Choose another saliency method."
            )
        bias = None if qkv.bias is None else qkv.bias.chunk(3)[2]
        return AttentionWeights(qkv.weight.chunk(3)[2], bias, projection.weight, attn.num_heads)

    def _part(self, module: Any, name: str) -> Any:
        part = getattr(module, name, None)
        if part is None:
            has = ", ".join(child for child, _ in module.named_children()) or "none"
            raise ModelError(
                f"This saliency method needs the layer {name!r} in {type(module).__name__} of {self.encoder.name!r}, "
                f"which has {has}. Choose another saliency method."
            )
        return part

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return unit vectors, float32 (n, d), of network inputs (n, 3, rows, columns); in half precision on CUDA."""
        with self.mixed_precision():
            vectors: torch.Tensor = self.encoder.network.encode_image(pixels, normalize=True)
        return vectors.float()

    def run_from(self, tokens: torch.Tensor, first_block: int) -> torch.Tensor:
        """Return unit vectors, float32 (n, d), of the tokens that go into block `first_block`."""
        with self.mixed_precision():
            for block in self.blocks[first_block:]:
                tokens = block(tokens)
        return self.read(tokens)

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return unit vectors, float32 (n, d), of tokens as the last block gives them."""
        from torch.nn import functional

        with self.mixed_precision():
            vectors = read_tokens(self.encoder.network.visual, tokens)
        return functional.normalize(vectors.float(), dim=-1)

    def on_grid(self, values: torch.Tensor) -> torch.Tensor:
        """Return values (..., all tokens) as a map of the patches, (..., rows, columns)."""
        return values[..., self.n_prefix :].unflatten(-1, self.grid_yx)

    @contextmanager
    def mixed_precision(self) -> Iterator[None]:
        """Run the network in half precision where the device is made for it."""
        import torch

        device = self.encoder.device
        # Autocast on a processor knows no float32, and half precision is slow there.
        dtype = dtype_for(device) if device.type == "cuda" else None
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            yield


@contextmanager
def kept_runs(modules: Sequence[Any]) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
    """Keep what goes into each module and what it gives, in the order in which they end, while the block lasts."""
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        kept.append((inputs[0], output[0] if isinstance(output, tuple) else output))

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replaced_output(module: Any, value: torch.Tensor | None) -> Iterator[list[torch.Tensor]]:
    """Put `value` in the place of what a module gives; None: its own output as a leaf that takes a gradient.

    Everything before a leaf needs no gradient, so that a backward pass ends there.

    Yields
    ------
    list of torch.Tensor
        What was put there, one for each run.
    """
    put: list[torch.Tensor] = []

    def replace(module: Any, inputs: Any, output: Any) -> Any:
        own = output[0] if isinstance(output, tuple) else output
        put.append(own.detach().requires_grad_(True) if value is None else value)
        return (put[-1], *output[1:]) if isinstance(output, tuple) else put[-1]

    handle = module.register_forward_hook(replace)
    try:
        yield put
    finally:
        handle.remove()


def _has(module: Any, *names: str) -> bool:
    return all(hasattr(module, name) for name in names)


def _is_plain_timm(trunk: Any) -> bool:
    """Tell whether the blocks take tokens alone: with rotary positions they need more."""
    return (
        hasattr(trunk.patch_embed, "grid_size")
        and hasattr(trunk.blocks[-1], "norm1")
        and getattr(trunk, "rope", None) is None
    )
