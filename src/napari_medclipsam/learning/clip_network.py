"""A text-image encoder as something to train: both towers, or LoRA in their blocks, and what a pair takes in memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.clip_request import Way
from napari_medclipsam.models.clip import OpenClipEncoder

RANK = 8
#: Where open_clip, timm and transformers keep the blocks of a transformer.
_IMAGE_BLOCKS = ("visual.trunk.blocks", "visual.transformer.resblocks")
_TEXT_BLOCKS = ("transformer.resblocks", "text.transformer.resblocks", "text.transformer.encoder.layer")
_FLOAT_BYTES = 4
#: A value and its gradient.
_KEPT = 2


class ClipNetwork(nn.Module):
    """Both towers under one call, as a trainer of several devices or half precision wraps it.

    Parameters
    ----------
    clip : torch.nn.Module
        open_clip's network. The temperature that it was trained with has no part in the loss, and stays.
    """

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        self.clip: Any = clip

    def forward(self, images: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the vectors (n, d) of images (n, 3, rows, columns) and of texts (n, length)."""
        return self.clip.encode_image(images).float(), self.clip.encode_text(tokens).float()


def trainable(encoder: OpenClipEncoder, way: Way) -> ClipNetwork:
    """Return a copy of an encoder's network, on the CPU, with what shall be learnt left open.

    It is in evaluation mode, as it stays: a batch is seen twice, and dropout would make two different batches of it.

    Raises
    ------
    LearningError
        If LoRA finds no layers to go into; the message names those there are.
    """
    clip = copy.deepcopy(encoder.network).to("cpu").eval()
    if way == "lora":
        _put_lora(clip, encoder.name)
    else:
        clip.requires_grad_(True)
        for name, value in clip.named_parameters():
            # Factors of the similarity, which the loss has its own temperature for.
            if name.startswith("logit_"):
                value.requires_grad_(False)
    return ClipNetwork(clip)


def merged(network: ClipNetwork) -> nn.Module:
    """Return open_clip's network with LoRA multiplied into its weights: as it was, for all who look into it."""
    from peft.tuners.lora import LoraLayer

    clip = network.clip
    for name, layer in [(name, m) for name, m in clip.named_modules() if isinstance(m, LoraLayer)]:
        layer.merge()
        parent, _, attribute = name.rpartition(".")
        setattr(clip.get_submodule(parent), attribute, layer.get_base_layer())
    frozen: nn.Module = clip.eval().requires_grad_(False)
    return frozen


def _put_lora(clip: Any, name: str) -> None:
    """Put LoRA (Hu et al. 2021) into the linear layers of the blocks of both towers, and freeze the rest."""
    from peft import LoraConfig, inject_adapter_in_model

    targets = []
    for tower, places in (("image", _IMAGE_BLOCKS), ("text", _TEXT_BLOCKS)):
        found = [layer for place in places for layer in _linear_layers(clip, place)]
        if not found:
            raise LearningError(_without_blocks(clip, name, tower, places))
        targets += found
    clip.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets), clip)
    clip.eval()


def _linear_layers(clip: nn.Module, place: str) -> Iterator[str]:
    try:
        blocks = clip.get_submodule(place)
    except AttributeError:
        return
    for name, layer in blocks.named_modules():
        # Not its subclasses: torch's own attention reads the weights of its output layer without calling it.
        if type(layer) is nn.Linear:
            yield f"{place}.{name}"


def _without_blocks(clip: Any, name: str, tower: str, places: tuple[str, ...]) -> str:
    parent = getattr(clip.visual, "trunk", clip.visual) if tower == "image" else getattr(clip, "text", clip)
    has = ", ".join(part for part, _ in parent.named_children()) or "none"
    return (
        f"LoRA goes into transformer blocks ({' or '.join(places)}); the {tower} tower of {name!r} is a "
        f"{type(parent).__name__} with the layers {has}. Use --full, or another model."
    )


@torch.no_grad()
def pair_bytes(network: ClipNetwork, images: torch.Tensor, tokens: torch.Tensor) -> int:
    """Return about what training keeps in memory for each of some pairs: all that their layers give, and gradients."""
    total = 0

    def count(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal total
        if isinstance(output, torch.Tensor):
            total += output.numel() * _FLOAT_BYTES * _KEPT

    hooks = [m.register_forward_hook(count) for m in network.modules() if not list(m.children())]
    try:
        network(images, tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return max(1, total // len(images))
