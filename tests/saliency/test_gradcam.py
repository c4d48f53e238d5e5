"""Grad-CAM on tiny vision transformers, checked against a plain computation."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_medclipsam.errors import ModelError, PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.clip import OpenClipEncoder
from napari_medclipsam.models.contracts import TextGrounder
from napari_medclipsam.saliency.gradcam import NULL_PROMPTS, GradCam

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VISION = {
    "timm": {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160},
    "plain": {"image_size": 32, "patch_size": 8, "width": 16, "layers": 2, "head_width": 8},
    "average": {"image_size": 32, "patch_size": 8, "width": 16, "layers": 2, "head_width": 8, "pool_type": "avg"},
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8},
}


def make_encoder(kind: str) -> OpenClipEncoder:
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    torch.manual_seed(3)
    network = open_clip.CustomTextCLIP(embed_dim=8, vision_cfg=dict(VISION[kind]), text_cfg=dict(TEXT))
    network = network.eval().requires_grad_(False)
    transform = image_transform_v2(PreprocessCfg(size=network.visual.image_size, resize_mode="squash"), is_train=False)
    return OpenClipEncoder(network, transform, open_clip.SimpleTokenizer(context_length=16), name=f"tiny-{kind}")


@pytest.fixture(scope="module", params=["timm", "plain", "average"])
def encoder(request) -> OpenClipEncoder:
    return make_encoder(request.param)


@pytest.fixture
def image() -> Slice:
    return Slice(np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8))


def test_a_map_at_image_size_between_0_and_1(encoder, image):
    grounder = GradCam(encoder)
    assert isinstance(grounder, TextGrounder)
    result = grounder.saliency(image, "brain tumor")
    assert result.values_yx.shape == (40, 60) and result.values_yx.dtype == np.float32
    assert result.values_yx.min() >= 0 and 0.5 < result.values_yx.max() <= 1
    assert 0 <= result.presence <= 1 and 0 <= result.specificity <= 1
    assert result.present == (result.presence > 0.5) and result.text == "brain tumor" and result.known


def plain_grad_cam(encoder: OpenClipEncoder, image: Slice, text: str) -> np.ndarray:
    """The definition, with a gradient through the whole network by finite hooks on the layer's output."""
    visual = encoder.network.visual
    layer = visual.trunk.blocks[-1].norm1 if hasattr(visual, "trunk") else visual.transformer.resblocks[-1].ln_1
    kept = {}
    layer.requires_grad_(True)
    handle = layer.register_forward_hook(lambda m, i, o: kept.update(a=o) or o.retain_grad())
    vector = encoder.network.encode_image(encoder.image_tensor(image), normalize=True)[0]
    (vector @ torch.from_numpy(encoder.embed_text([text])[0])).backward()
    handle.remove()
    layer.zero_grad()
    layer.requires_grad_(False)
    activations, gradients = kept["a"][0, 1:].detach(), kept["a"].grad[0, 1:]
    cam = (activations * gradients.mean(0)).sum(-1).relu()
    side = round(len(cam) ** 0.5)
    return ((cam - cam.min()) / (cam.max() - cam.min())).reshape(side, side).numpy()


def test_it_is_grad_cam(encoder, image):
    grounder = GradCam(encoder)
    texts = torch.from_numpy(encoder.embed_text(["brain tumor", "lung"]))
    similarities, cams = grounder._similarities_and_cams(image, texts)
    np.testing.assert_allclose(cams[0].numpy(), plain_grad_cam(encoder, image, "brain tumor"), atol=1e-4)
    np.testing.assert_allclose(cams[1].numpy(), plain_grad_cam(encoder, image, "lung"), atol=1e-4)
    np.testing.assert_allclose(similarities, texts.numpy() @ encoder.embed_image(image), atol=1e-5)


def test_presence_compares_with_the_null_prompts(encoder, image):
    vector, texts = encoder.embed_image(image), encoder.embed_text(["brain tumor", *NULL_PROMPTS])
    contrast = encoder.similarity_scale * (texts[0] @ vector - (texts[1:] @ vector).max())
    assert GradCam(encoder).saliency(image, "brain tumor").presence == pytest.approx(
        1 / (1 + np.exp(-contrast)), abs=1e-4
    )
    null = GradCam(encoder).saliency(image, NULL_PROMPTS[0])
    assert null.presence <= 0.5 and null.specificity == pytest.approx(0, abs=1e-4)


def test_the_map_depends_on_the_text_and_not_on_the_call(encoder, image):
    grounder = GradCam(encoder)
    first = grounder.saliency(image, "brain tumor").values_yx
    other = grounder.saliency(image, "left lung").values_yx
    np.testing.assert_array_equal(first, grounder.saliency(image, "brain tumor").values_yx)
    assert not np.allclose(first, other)


def test_nothing_is_left_behind(encoder, image):
    with torch.no_grad():
        GradCam(encoder).saliency(image, "brain tumor")
    assert not any(module._forward_hooks for module in encoder.network.modules())
    assert all(parameter.grad is None for parameter in encoder.network.parameters() if not parameter.requires_grad)


def test_a_constant_image(encoder):
    result = GradCam(encoder).saliency(Slice(np.zeros((9, 9), np.uint8)), "brain tumor")
    assert np.isfinite(result.values_yx).all() and np.isfinite(result.presence)


def test_empty_text(encoder, image):
    with pytest.raises(PromptError):
        GradCam(encoder).saliency(image, " ")


def test_an_encoder_without_the_layer_names_those_it_has():
    with pytest.raises(ModelError, match=r"ModifiedResNet with the layers .*layer4, attnpool"):
        GradCam(make_encoder("resnet"))
    trunk = torch.nn.Sequential()
    trunk.add_module("stages", torch.nn.Identity())
    odd = SimpleNamespace(name="odd", network=SimpleNamespace(visual=SimpleNamespace(trunk=trunk)))
    with pytest.raises(ModelError, match="'odd' is a Sequential with the layers stages"):
        GradCam(odd)
