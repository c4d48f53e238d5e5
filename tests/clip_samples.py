"""Small untrained open_clip models of every kind of image tower, the same at each call."""

from __future__ import annotations

from functools import cache

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2

from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.clip import OpenClipEncoder

TEXT = {"context_length": 32, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
_PLAIN = {"image_size": 32, "patch_size": 8, "width": 16, "layers": 4, "head_width": 8}
VISION = {
    "timm": {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160},
    "plain": _PLAIN,
    "average": {**_PLAIN, "pool_type": "avg"},
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8},
}
TOWERS = ("timm", "plain", "average")


@cache
def make_encoder(kind: str, double: bool = False) -> OpenClipEncoder:
    """Return an encoder; `double` gives the same weights in float64, for a reference."""
    torch.manual_seed(3)
    network = open_clip.CustomTextCLIP(embed_dim=8, vision_cfg=dict(VISION[kind]), text_cfg=dict(TEXT))
    # Untrained towers give nearly the same vector for all images; larger weights make them tell.
    with torch.no_grad():
        for name, parameter in network.visual.named_parameters():
            if parameter.ndim == 2:
                parameter *= 3
            elif "bias" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    network = network.eval().requires_grad_(False)
    if double:
        network = network.double()
    transform = image_transform_v2(PreprocessCfg(size=network.visual.image_size, resize_mode="squash"), is_train=False)
    return OpenClipEncoder(network, transform, open_clip.SimpleTokenizer(context_length=32), name=f"tiny-{kind}")


def noise_image() -> Slice:
    return Slice(np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8))
