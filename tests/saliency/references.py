"""The saliency methods written down once more, in float64, one thing at a time, with nothing taken from the package."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional


def visual_of(network):
    return network.visual


def parts(network):
    """Return (blocks, is_timm, reads_class_token) of an open_clip network."""
    visual = network.visual
    if hasattr(visual, "trunk"):
        return visual.trunk.blocks, True, visual.trunk.global_pool == "token"
    return visual.transformer.resblocks, False, visual.pool_type == "tok"


def norm(block, which: int, is_timm: bool):
    return getattr(block, f"norm{which}" if is_timm else f"ln_{which}")


def stretched(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def square(values: torch.Tensor) -> np.ndarray:
    side = round(len(values) ** 0.5)
    return values.detach().reshape(side, side).numpy()


def with_gradient(network, module, pixels, text):
    """Run the whole network with a gradient at one module's output; returns (activations, gradients), (tokens, d)."""
    kept = {}

    def keep(m, i, output):
        kept["a"] = output.detach().requires_grad_(True)
        return kept["a"]

    handle = module.register_forward_hook(keep)
    vector = network.encode_image(pixels, normalize=True)[0]
    handle.remove()
    (vector @ text).backward()
    return kept["a"][0].detach(), kept["a"].grad[0]


def gradcam(network, pixels, text) -> np.ndarray:
    blocks, is_timm, _ = parts(network)
    a, g = with_gradient(network, norm(blocks[-1], 1, is_timm), pixels, text)
    cam = torch.zeros(len(a) - 1, dtype=a.dtype)
    for c in range(a.shape[1]):
        cam += a[1:, c] * g[1:, c].mean()
    return stretched(square(cam.relu()))


def gscorecam(network, pixels, text, n_channels: int) -> np.ndarray:
    blocks, is_timm, _ = parts(network)
    a, g = with_gradient(network, norm(blocks[-1], 2, is_timm), pixels, text)
    best = sorted(range(a.shape[1]), key=lambda c: -float(g[:, c].mean()))[:n_channels]
    scores = []
    for c in best:
        mask = torch.from_numpy(stretched(square(a[1:, c])))[None, None]
        mask = functional.interpolate(mask, pixels.shape[-2:], mode="bilinear", align_corners=False)
        with torch.no_grad():
            scores.append(float(network.encode_image(pixels * mask, normalize=True)[0] @ text))
    total = sum(np.exp(s) for s in scores)
    cam = sum(np.exp(s) / total * square(a[1:, c]) for s, c in zip(scores, best, strict=True))
    return stretched(np.maximum(cam, 0))


def m2ib(network, pixels, text, *, layer: int, beta: float, seed: int, n_steps=10, n_samples=10) -> np.ndarray:
    blocks, _, _ = parts(network)
    kept = {}
    handle = blocks[layer].register_forward_hook(lambda m, i, o: kept.update(x=o))
    with torch.no_grad():
        network.encode_image(pixels)
    handle.remove()
    x = kept["x"][0]
    alpha = torch.full_like(x, 5.0)
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.zeros_like(x), torch.zeros_like(x)
    for step in range(1, n_steps + 1):
        noise = torch.randn((n_samples, *x.shape), generator=generator).to(x.dtype)
        leaf = alpha.clone().requires_grad_(True)
        share = 1 / (1 + torch.exp(-leaf))
        loss = beta * divergence(share, x).mean()
        for sample in noise:
            z = (share * x + (1 - share) * sample)[None]
            handle = blocks[layer].register_forward_hook(lambda m, i, o, z=z: z)
            loss = loss - network.encode_image(pixels, normalize=True)[0] @ text / n_samples
            handle.remove()
        loss.backward()
        # Adam (Kingma and Ba 2015) with learning rate 1.
        first = 0.9 * first + 0.1 * leaf.grad
        second = 0.999 * second + 0.001 * leaf.grad**2
        alpha = alpha - first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    return stretched(square(divergence(1 / (1 + torch.exp(-alpha)), x)[1:].sum(dim=1)))


def divergence(share, x):
    return -0.5 * (1 + torch.log((1 - share) ** 2) - (share * x) ** 2 - (1 - share) ** 2)


def legrad(network, pixels, text) -> np.ndarray:
    blocks, is_timm, reads_class_token = parts(network)
    inputs = []
    handles = [b.register_forward_pre_hook(lambda m, i: inputs.append(i[0].detach())) for b in blocks]
    with torch.no_grad():
        network.encode_image(pixels)
    for handle in handles:
        handle.remove()
    total = 0
    for block, x in zip(blocks, inputs, strict=True):
        attention, after = block_by_hand(block, x[0], is_timm)
        s = functional.normalize(read_by_hand(network.visual, after, is_timm, reads_class_token), dim=0) @ text
        gradient = torch.autograd.grad(s, attention)[0]
        if reads_class_token:
            assert not gradient[:, 1:].any()
        # (heads, reading tokens, tokens)
        total = total + gradient.clamp(min=0).sum(dim=1).mean(dim=0)
    return stretched(square(total[1:]))


def block_by_hand(block, x, is_timm: bool):
    """Run a block with its attention written out; returns (attention (heads, tokens, tokens), tokens after)."""
    y = norm(block, 1, is_timm)(x)
    attn = block.attn
    if is_timm:
        weight, bias, out = attn.qkv.weight, attn.qkv.bias, attn.proj
    else:
        weight, bias, out = attn.in_proj_weight, attn.in_proj_bias, attn.out_proj
    q, k, v = (y @ weight.T + (0 if bias is None else bias)).chunk(3, dim=1)
    size = x.shape[1] // attn.num_heads
    heads = [slice(h * size, (h + 1) * size) for h in range(attn.num_heads)]
    attention = torch.stack([(q[:, h] @ k[:, h].T / size**0.5).softmax(dim=1) for h in heads])
    attention = attention.detach().requires_grad_(True)
    u = out(torch.cat([attention[i] @ v[:, h] for i, h in enumerate(heads)], dim=1))
    x = x + (block.ls1 if is_timm else block.ls_1)(u)
    mlp = block.mlp(norm(block, 2, is_timm)(x))
    return attention, x + (block.ls2 if is_timm else block.ls_2)(mlp)


def read_by_hand(visual, tokens, is_timm: bool, reads_class_token: bool):
    tokens = visual.trunk.norm(tokens) if is_timm else visual.ln_post(tokens)
    pooled = tokens[0] if reads_class_token else tokens[1:].mean(dim=0)
    return visual.head(visual.trunk.fc_norm(pooled)) if is_timm else pooled @ visual.proj
