"""Small untrained open_clip models of every kind of image tower, the same at each call."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

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


def save_open_clip(folder: Path, kind: str, text: dict = TEXT) -> Path:
    """Write an untrained open_clip model as `local-dir:` expects it; a timm one with a text tower of its own."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = {"embed_dim": 8, "vision_cfg": VISION[kind], "text_cfg": text}
    is_custom = kind == "timm"
    network = (open_clip.CustomTextCLIP if is_custom else open_clip.CLIP)(**json.loads(json.dumps(config)))
    if is_custom:
        config["custom_text"] = True
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder
