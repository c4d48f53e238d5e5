"""What the saliency methods cost at ViT-B/16, 224², on two cores, beside the obvious way of computing them.

    python benchmarks/saliency.py

The network has BiomedCLIP's architecture (timm's ViT-B/16, BERT base with 256 tokens) and random weights, which cost
what trained ones do. All ways take short turns in each round. What counts is processor time, the median over the
rounds: other work on the machine stretches the wall clock, but not this. The best wall time of one forward pass and of
the live method is there too. The slow methods are timed on some of their steps; what one map costs follows from the
cost of a step. Writes benchmarks/results/saliency.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch.nn import functional
from transformers import BertConfig, BertModel

from napari_medclipsam.models.clip import OpenClipEncoder
from napari_medclipsam.saliency.gscorecam import GScoreCamSettings
from napari_medclipsam.saliency.m2ib import M2ibSettings
from napari_medclipsam.saliency.methods import make_method
from napari_medclipsam.saliency.tower import Tower
from napari_medclipsam.saliency.work import Work

RESULTS = Path(__file__).parent / "results"
VISION = {"timm_model_name": "vit_base_patch16_224", "timm_pool": "", "timm_proj": "linear", "image_size": 224}
TEXT = {"context_length": 8, "vocab_size": 100, "width": 64, "heads": 1, "layers": 1}
N_CHANNELS, ALL_CHANNELS, SCORE_CAM_CHANNELS = 10, 300, 768
N_STEPS, ALL_STEPS, N_SAMPLES = 1, 10, 10


class Ways:
    """Each method, and the straightforward way of doing the same."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        network = open_clip.CustomTextCLIP(embed_dim=512, vision_cfg=VISION, text_cfg=TEXT).eval().requires_grad_(False)
        self.network = network
        self.bert = BertModel(BertConfig()).eval().requires_grad_(False)
        encoder = OpenClipEncoder(network, lambda picture: None, None, name="random ViT-B/16")
        self.tower = Tower.of(encoder)
        self.pixels = torch.randn(1, 3, 224, 224)
        self.text = functional.normalize(torch.randn(1, 512), dim=1)
        self.tokens = torch.randint(0, 1000, (1, 256))

    def method(self, name: str, settings: Any = None) -> Callable[[], None]:
        """Return a method of the package."""
        made = make_method(name, self.tower, settings)
        return lambda: made.maps(self.pixels, self.text, Work())

    def forward(self) -> None:
        """The image tower, once."""
        with torch.inference_mode():
            self.network.encode_image(self.pixels, normalize=True)

    def encode_text(self) -> None:
        """The text tower, once."""
        with torch.inference_mode():
            self.bert(self.tokens)

    def channels_one_by_one(self) -> None:
        """Each masked image by itself."""
        masks = torch.rand(N_CHANNELS, 1, 14, 14)
        with torch.inference_mode():
            self.forward()
            for mask in masks:
                large = functional.interpolate(mask[None], (224, 224), mode="bilinear")
                self.network.encode_image(self.pixels * large, normalize=True)

    def noise_one_by_one(self) -> None:
        """Each noise sample through the whole network, with the tokens after block 9 replaced by a hook."""
        alpha = torch.full((197, 768), 5.0)
        for _ in range(N_STEPS):
            leaf = alpha.clone().requires_grad_(True)
            share = torch.sigmoid(leaf)
            fit = 0
            for _ in range(N_SAMPLES):
                noise = torch.randn(197, 768)
                handle = self.tower.blocks[9].register_forward_hook(
                    lambda m, i, o, noise=noise: share * o + (1 - share) * noise  # noqa: B023
                )
                fit = fit + self.network.encode_image(self.pixels, normalize=True)[0] @ self.text[0] / N_SAMPLES
                handle.remove()
            alpha = alpha - torch.autograd.grad(fit, leaf)[0].sign()


def seconds(way: Callable[[], Any]) -> tuple[float, float]:
    """Return wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    way()
    return time.perf_counter() - wall, time.process_time() - processor


def rounds(n: int) -> dict[str, list[tuple[float, float]]]:
    """Return the wall and processor seconds of every way in each round."""
    ways = Ways()
    some = GScoreCamSettings(n_channels=N_CHANNELS)
    turns: dict[str, Callable[[], None]] = {
        "one forward pass": ways.forward,
        "legrad": ways.method("legrad"),
        "gradcam": ways.method("gradcam"),
        "gscorecam, some channels": ways.method("gscorecam", some),
        "the same, one by one": ways.channels_one_by_one,
        "m2ib, some steps": ways.method("m2ib", replace(M2ibSettings(), n_steps=N_STEPS)),
        "the same, sample by sample": ways.noise_one_by_one,
        "one text": ways.encode_text,
    }
    for warm_up in ("one forward pass", "legrad", "gradcam", "one text"):
        turns[warm_up]()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for i in range(n):
        for name, way in turns.items():
            found[name].append(seconds(way))
        print(i, {name: np.round(values[-1], 2).tolist() for name, values in found.items()}, flush=True)
    return found


def summary(found: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """Return the ratios, and what one map costs."""
    t = {name: float(np.median([processor for _, processor in values])) for name, values in found.items()}
    wall = {name: min(values)[0] for name, values in found.items()}
    forward, one_by_one = t["one forward pass"], t["the same, one by one"]
    batched = t["gscorecam, some channels"]
    # Both include one pass over the image itself, which the whole map has once.
    per_channel = (batched - t["gradcam"]) / N_CHANNELS
    per_single = (one_by_one - forward) / N_CHANNELS
    gscorecam = t["gradcam"] + ALL_CHANNELS * per_channel
    m2ib = forward + (t["m2ib, some steps"] - forward) * ALL_STEPS / N_STEPS
    ratios = {
        "one channel at a time, 300 channels / gscorecam": (forward + ALL_CHANNELS * per_single) / gscorecam,
        "the same with the text encoded each time / gscorecam": (forward + ALL_CHANNELS * (per_single + t["one text"]))
        / gscorecam,
        "all 768 channels one at a time (Score-CAM) / gscorecam": (forward + SCORE_CAM_CHANNELS * per_single)
        / gscorecam,
        "noise sample by sample / m2ib": t["the same, sample by sample"] * ALL_STEPS / N_STEPS / m2ib,
        "legrad / one forward pass": t["legrad"] / forward,
        "gradcam / one forward pass": t["gradcam"] / forward,
        "legrad / one forward pass, wall clock": wall["legrad"] / wall["one forward pass"],
        "gscorecam / one forward pass": gscorecam / forward,
        "m2ib / one forward pass": m2ib / forward,
    }
    costs = {"one forward pass": forward, "legrad": t["legrad"], "gradcam": t["gradcam"]}
    costs |= {"gscorecam": gscorecam, "m2ib": m2ib}
    return {
        "ratios": {name: round(value, 2) for name, value in ratios.items()},
        "processor seconds for one map": {name: round(value, 2) for name, value in costs.items()},
        "wall seconds of one forward pass": round(wall["one forward pass"], 3),
        "rounds": len(found["legrad"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(2)
    result = summary(rounds(args.rounds))
    print(json.dumps(result, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "saliency.json").write_text(json.dumps({"saliency": result}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
