"""Grad-CAM of a CLIP vision transformer (Selvaraju et al. 2017), the baseline of both MedCLIP-SAM papers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medclipsam.errors import ModelError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import SaliencyMap

if TYPE_CHECKING:
    import torch

    from napari_medclipsam.models.clip import OpenClipEncoder

NULL_PROMPTS = ("a medical image", "a normal image without findings")
"""What the prompt is compared with: texts that fit every image, or say that there is nothing."""


@dataclass(frozen=True)
class _Layer:
    """Where the map is taken: a module whose output is (1, class and other tokens + rows * columns, channels)."""

    module: torch.nn.Module
    prefix_tokens: int
    grid_yx: tuple[int, int]


class GradCam:
    """Text to saliency by the gradient of the image-text similarity; a `TextGrounder`.

    The map is taken at the layer norm *before* the attention of the last block. After that attention only the class
    token reaches the output, so that the patch tokens of any later layer have a gradient of exactly zero.

    Presence is ``sigmoid(scale * (cos(image, text) - max cos(image, null prompt)))`` with the model's own scale. It
    is not calibrated on anything: use it to rank, and expect absent findings to be called present.

    Parameters
    ----------
    encoder : OpenClipEncoder
        Its vision tower must be a vision transformer of timm (as in BiomedCLIP) or of open_clip.
    null_prompts : sequence of str
        Texts that the prompt must beat.

    Raises
    ------
    ModelError
        If the encoder has no such tower; the message names the layers it has.
    """

    def __init__(self, encoder: OpenClipEncoder, null_prompts: tuple[str, ...] = NULL_PROMPTS) -> None:
        self.name = f"gradcam:{encoder.name}"
        self._encoder = encoder
        self._layer = _find_layer(encoder)
        self._null_prompts = null_prompts

    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        """Return where `text` is seen in `image`.

        `specificity` is one minus the correlation with the map of the first null prompt.
        """
        import torch

        texts = torch.from_numpy(self._encoder.embed_text([text, *self._null_prompts])).to(self._encoder.device)
        similarities, cams = self._similarities_and_cams(image, texts)
        contrast = self._encoder.similarity_scale * float(similarities[0] - similarities[1:].max())
        presence = float(1 / (1 + np.exp(-contrast)))
        return SaliencyMap(
            values_yx=_at_image_size(cams[0], image.shape_yx),
            text=text,
            presence=presence,
            present=presence > 0.5,
            specificity=_difference(cams[0], cams[1]),
        )

    def _similarities_and_cams(self, image: Slice, texts: torch.Tensor) -> tuple[np.ndarray, list[torch.Tensor]]:
        """Return cosines (n,), and the maps of the first two texts on the token grid, from one forward pass."""
        import torch

        kept: list[torch.Tensor] = []

        def keep(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            # Cut the graph here: everything before this layer needs no gradient.
            kept.append(output.detach().requires_grad_(True))
            return kept[0]

        handle = self._layer.module.register_forward_hook(keep)
        try:
            with torch.enable_grad():
                vector = self._encoder.network.encode_image(self._encoder.image_tensor(image), normalize=True)[0]
                similarities = texts @ vector.float()
                gradients = [torch.autograd.grad(similarities[i], kept[0], retain_graph=True)[0] for i in range(2)]
        finally:
            handle.remove()
        activations = kept[0].detach()
        return similarities.detach().cpu().numpy(), [self._cam(activations, gradient) for gradient in gradients]

    def _cam(self, activations: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Weight each channel by its mean gradient over the patches; float32 (rows, columns) in [0, 1]."""
        patches = slice(self._layer.prefix_tokens, None)
        weights = gradient[0, patches].float().mean(dim=0)
        cam = (activations[0, patches].float() @ weights).clamp(min=0).reshape(self._layer.grid_yx)
        low, high = cam.min(), cam.max()
        spread = high - low
        return (cam - low) / spread if spread > 0 else cam * 0


def _find_layer(encoder: OpenClipEncoder) -> _Layer:
    visual = encoder.network.visual
    trunk = getattr(visual, "trunk", None)
    if trunk is not None and hasattr(trunk, "blocks") and hasattr(getattr(trunk, "patch_embed", None), "grid_size"):
        rows, columns = trunk.patch_embed.grid_size
        norm = getattr(trunk.blocks[-1], "norm1", None)
        if norm is not None:
            return _Layer(norm, int(getattr(trunk, "num_prefix_tokens", 1)), (int(rows), int(columns)))
    transformer = getattr(visual, "transformer", None)
    if transformer is not None and hasattr(transformer, "resblocks") and hasattr(visual, "grid_size"):
        rows, columns = visual.grid_size
        norm = getattr(transformer.resblocks[-1], "ln_1", None)
        if norm is not None:
            return _Layer(norm, 1, (int(rows), int(columns)))
    parent = trunk if trunk is not None else visual
    has = ", ".join(name for name, _ in parent.named_children()) or "none"
    raise ModelError(
        "Grad-CAM needs a vision transformer (trunk.blocks[-1].norm1 or transformer.resblocks[-1].ln_1); the image "
        f"tower of {encoder.name!r} is a {type(parent).__name__} with the layers {has}. Choose another saliency method."
    )


def _at_image_size(cam: torch.Tensor, shape_yx: tuple[int, int]) -> np.ndarray:
    from torch.nn import functional

    resized = functional.interpolate(cam[None, None], shape_yx, mode="bilinear", align_corners=False)[0, 0]
    return np.asarray(resized.clamp(0, 1).cpu().numpy(), np.float32)


def _difference(cam: torch.Tensor, other: torch.Tensor) -> float:
    """One minus the correlation of two maps, in [0, 1]; 1 where either is flat."""
    first, second = (map_yx.cpu().numpy().ravel() for map_yx in (cam, other))
    if first.std() == 0 or second.std() == 0:
        return 1.0
    return float(np.clip(1 - np.corrcoef(first, second)[0, 1], 0, 1))
