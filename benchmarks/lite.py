"""Figures of medclipsam-lite on the test rows: text, absent prompts, corruptions, clicks, speed, memory.

    python benchmarks/lite.py DATA text corruptions clicks speed click_speed memory

Each part writes benchmarks/results/PART.json. Nothing here chooses a threshold or a weight.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from corruptions import CORRUPTIONS
from napari_medclipsam.evaluation.datasets import Dataset, open_dataset, read_sample
from napari_medclipsam.evaluation.metrics import dice
from napari_medclipsam.evaluation.run import evaluate
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.lite_clicks import central_pixel, largest_error
from napari_medclipsam.models.contracts import PromptSet
from napari_medclipsam.models.registry import load
from napari_medclipsam.pipeline import segment_slice

RESULTS = Path(__file__).parent / "results"

# Phrasings that occur nowhere in models/lite/phrases.json.
TEXTS = {
    "brain_mri": "tumorous mass visible on this head MRI",
    "breast_us": "suspicious mass in the mammary gland",
    "polyps": "mucosal growth in the large bowel, polyp",
    "chest_xray": "the patient's two lungs on the chest film",
}
WRONG_ORGAN = {
    "brain_mri": ("colonic polypoid growth", "mammary tumour", "the two lungs on a chest film"),
    "breast_us": ("colonic polypoid growth", "cerebral mass", "the two lungs on a chest film"),
    "polyps": ("mammary tumour", "cerebral mass", "the two lungs on a chest film"),
    "chest_xray": ("colonic polypoid growth", "mammary tumour", "cerebral mass"),
}
NONSENSE = ("flying carpet", "lkjh poiu", "two slices of bread", "the minister's speech")
UNTAUGHT = ("renal pelvis", "torn meniscus", "liver metastasis")
CLICK_SETS = ("brain_mri", "breast_us", "polyps")


def text(data: Path) -> dict[str, Any]:
    """Text → mask on all test rows, with texts that are absent."""
    model = load("lite")
    found = {}
    for name, phrase in TEXTS.items():
        dataset = open_dataset(data / name)
        absent = (*WRONG_ORGAN[name], *NONSENSE, *UNTAUGHT)
        result = evaluate(dataset, phrase, model, model, absent=absent, model="lite", progress=_progress(name))
        rates = result.absent_false_positive_rate
        row = json.loads(result.to_json())
        for kind, phrases in (("wrong organ", WRONG_ORGAN[name]), ("nonsense", NONSENSE), ("untaught", UNTAUGHT)):
            row[f"drawn, {kind}"] = float(np.mean([rates[p] for p in phrases]))
        found[name] = row
        print(result.to_table(), flush=True)
    dataset = open_dataset(data / "brain_mri")
    result = evaluate(
        dataset,
        TEXTS["brain_mri"],
        model,
        model,
        text_column="paper_prompt",
        model="lite",
    )
    found["brain_mri, the paper's own prompts"] = json.loads(result.to_json())
    print(result.to_table(), flush=True)
    return found


def corruptions(data: Path) -> dict[str, Any]:
    """DSC lost under each corruption, on every k-th test row so that each set gives 8."""
    model = load("lite")
    found: dict[str, Any] = {}
    for name, phrase in TEXTS.items():
        rows = [pair for pair in _rows(open_dataset(data / name), 16) if pair[1].any()][:8]
        clean = [dice(segment_slice(image, phrase, model, model).label_yx > 0, truth) for image, truth in rows]
        found[name] = {"n": len(rows), "clean": float(np.mean(clean))}
        for kind, change in CORRUPTIONS.items():
            rng = np.random.default_rng(0)
            changed = [(Slice(np.ascontiguousarray(change(image.pixels, rng))), truth) for image, truth in rows]
            scores = [dice(segment_slice(image, phrase, model, model).label_yx > 0, truth) for image, truth in changed]
            found[name][kind] = float(np.mean(scores))
            print(name, kind, round(found[name]["clean"], 3), round(found[name][kind], 3), flush=True)
        found[name]["mean loss"] = found[name]["clean"] - float(np.mean([found[name][k] for k in CORRUPTIONS]))
    found["mean loss"] = float(np.mean([found[name]["mean loss"] for name in TEXTS]))
    return found


def clicks(data: Path) -> dict[str, Any]:
    """Dice after a true box and 1, 3, 5 clicks, beside LiteMedSAM as released, on the same test rows."""
    from napari_medclipsam.models.lite.clicks import ClickDecoder
    from napari_medclipsam.models.lite.encoder import load_litemedsam
    from napari_medclipsam.models.lite.few_tokens import build_clicks
    from napari_medclipsam.models.registry import find_entry
    from napari_medclipsam.models.store import verified_paths

    model = load("lite")
    paths = {path.name: path for path in verified_paths(find_entry("lite")).values()}
    decoder = ClickDecoder(load_litemedsam(paths["lite_medsam.pth"]), share=0.0).eval()
    original = build_clicks(lambda: decoder, model._device.type)
    trained = model._clicks
    found: dict[str, Any] = {}
    for name in CLICK_SETS:
        scores: dict[str, dict[str, list[float]]] = {"lite": {}, "LiteMedSAM": {}}
        for image, truth in _rows(open_dataset(data / name), 60):
            if not truth.any():
                continue
            embedding = model.embed(image)
            for who, runner in (("lite", trained), ("LiteMedSAM", original)):
                model._clicks = runner
                for key, value in _interact(model, embedding, truth).items():
                    scores[who].setdefault(key, []).append(value)
        model._clicks = trained
        found[name] = {who: {k: float(np.mean(v)) for k, v in s.items()} for who, s in scores.items()}
        found[name]["n"] = len(scores["lite"]["box"])
        print(name, json.dumps(found[name], indent=1), flush=True)
    keys = found["polyps"]["lite"]
    found["mean"] = {w: {k: float(np.mean([found[n][w][k] for n in CLICK_SETS])) for k in keys} for w in scores}
    return found


def _interact(model: Any, embedding: Any, truth: np.ndarray) -> dict[str, float]:
    """The standard protocol: first click in the middle, each next one in the middle of the largest error."""
    ys, xs = np.nonzero(truth)
    box = (float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max()))
    found = {"box": dice(model.masks(embedding, PromptSet(box_xyxy=box)).mask_yx, truth)}
    points, labels, logits = [central_pixel(truth)], [1], None
    for count in range(1, 6):
        prompts = PromptSet(np.array(points, np.float32), np.array(labels), mask_logits_yx=logits)
        result = model.masks(embedding, prompts)
        if count in (1, 3, 5):
            found[f"{count} clicks"] = dice(result.mask_yx, truth)
        error = largest_error(result.mask_yx, truth)
        if error is not None:
            points.append(error[0])
            labels.append(error[1])
        logits = result.logits_yx
    return found


def speed(data: Path) -> dict[str, Any]:
    """Ratios in one run, medians, warm: LiteMedSAM eager, SAM ViT-B, and lite's encode, text and click."""
    from segment_anything import sam_model_registry

    from napari_medclipsam.models.embedding_cache import EmbeddingCache
    from napari_medclipsam.models.lite.encoder import load_litemedsam
    from napari_medclipsam.models.lite.preprocess import to_canvas
    from napari_medclipsam.models.registry import find_entry
    from napari_medclipsam.models.store import verified_paths

    model = load("lite")
    model._cache = EmbeddingCache(disk_bytes=0)
    image, truth = next(p for p in _rows(open_dataset(data / "brain_mri"), 20) if p[1].any())
    paths = {path.name: path for path in verified_paths(find_entry("lite")).values()}
    eager = load_litemedsam(paths["lite_medsam.pth"]).image_encoder
    canvas = to_canvas(image.pixels)
    example = torch.from_numpy(canvas)[None]
    sam = sam_model_registry["vit_b"]().eval().image_encoder
    embedding = model.embed(image)
    prompt = PromptSet(np.array([central_pixel(truth)], np.float32), np.array([1]))
    words = iter(f"brain tumor number {k}" for k in range(1000))

    def ground() -> None:
        model._remembered.clear()
        model.saliency(image, next(words))

    def ground_again() -> None:
        model.saliency(image, next(words))

    def sam_encode() -> None:
        with torch.inference_mode():
            sam(torch.zeros(1, 3, 1024, 1024))

    def eager_encode() -> None:
        with torch.inference_mode():
            eager(example)

    seconds = {
        "LiteMedSAM float32 eager": _median(eager_encode, 7),
        "lite encode": _median(lambda: (model._encode(canvas), model._structures(canvas)), 9),
        "lite text to saliency, first text on a cached slice": _median(ground, 21),
        "lite text to saliency, next text on the slice": _median(ground_again, 21),
        "lite click to mask": _median(lambda: model.masks(embedding, prompt), 21),
        "SAM ViT-B encode": _median(sam_encode, 2),
    }
    encode = seconds["lite encode"]
    return {
        "seconds": seconds,
        "encode, times faster than LiteMedSAM eager": seconds["LiteMedSAM float32 eager"] / encode,
        "encode, times faster than SAM ViT-B": seconds["SAM ViT-B encode"] / encode,
        "first text, encodes": seconds["lite text to saliency, first text on a cached slice"] / encode,
        "next text, encodes": seconds["lite text to saliency, next text on the slice"] / encode,
        "click, encodes": seconds["lite click to mask"] / encode,
    }


def click_speed(data: Path) -> dict[str, Any]:
    """Milliseconds of a first click and of a correction, beside the same network in eager torch; medians, in turns."""
    from napari_medclipsam.models.lite.encoder import load_litemedsam
    from napari_medclipsam.models.lite.few_tokens import _TorchClicks
    from napari_medclipsam.models.lite.parts import load_decoder
    from napari_medclipsam.models.registry import find_entry
    from napari_medclipsam.models.store import verified_paths

    runners = {"eager": load("lite", "cpu"), "lite": load("lite", "cpu")}
    paths = {path.name: path for path in verified_paths(find_entry("lite")).values()}
    decoder = load_decoder(load_litemedsam(paths["lite_medsam.pth"]), paths["clicks.safetensors"])
    runners["eager"]._clicks = _TorchClicks(decoder, "cpu")
    image, truth = next(p for p in _rows(open_dataset(data / "brain_mri"), 20) if p[1].any())
    embedding = runners["lite"].embed(image)
    click = PromptSet(np.array([central_pixel(truth)], np.float32), np.array([1]))
    earlier = runners["lite"].masks(embedding, click).logits_yx
    asked = {"first click": click, "correction": PromptSet(click.points_xy, click.point_labels, None, earlier)}
    found: dict[str, Any] = {}
    for kind, prompts in asked.items():
        taken: dict[str, list[float]] = {who: [] for who in runners}
        for _ in range(41):
            for who, model in runners.items():
                start = time.perf_counter()
                model.masks(embedding, prompts)
                taken[who].append(1e3 * (time.perf_counter() - start))
                # Torch's threads spin on a while after their work; the other network is not to pay for it.
                time.sleep(0.3)
        found[kind] = {who: float(np.median(times[3:])) for who, times in taken.items()}
        found[kind]["times faster"] = found[kind]["eager"] / found[kind]["lite"]
    return found


def memory(data: Path) -> dict[str, Any]:
    """Peak resident memory of a run over 256 slices, in a process of its own."""
    program = (
        "import resource, numpy as np\n"
        "from napari_medclipsam.images.volume import Volume\n"
        "from napari_medclipsam.models.registry import load\n"
        "from napari_medclipsam.pipeline import segment_volume\n"
        "from napari_medclipsam.samples import sample_brain\n"
        "volume, _ = sample_brain()\n"
        "stack = np.concatenate([volume.array_zyx] * 4)[:256]\n"
        "volume = Volume(stack, volume.affine)\n"
        "model = load('lite')\n"
        "n = sum(1 for _ in segment_volume(volume, 'brain tumor', model, model))\n"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    return {"slices": int(out[-2]), "peak RSS in GB": int(out[-1]) / 1e6}


def _median(call: Any, repeats: int) -> float:
    call()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def _rows(dataset: Dataset, most: int) -> list[tuple[Slice, np.ndarray]]:
    """About `most` rows, evenly spread."""
    chosen = np.linspace(0, len(dataset.samples) - 1, min(most, len(dataset.samples))).round().astype(int)
    return [read_sample(dataset.samples[k]) for k in chosen]


def _progress(name: str) -> Any:
    def tell(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            print(f"{name}: {done} of {total}", file=sys.stderr, flush=True)

    return tell


def main() -> None:
    """Run the parts named on the command line."""
    parts = {f.__name__: f for f in (text, corruptions, clicks, speed, click_speed, memory)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("parts", nargs="+", choices=parts)
    args = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    machine = {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    for part in args.parts:
        figures = parts[part](args.data)
        content = {"date": time.strftime("%Y-%m-%d"), "machine": machine, "torch": torch.__version__, part: figures}
        (RESULTS / f"{part}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
