"""Figures of medclipsam-lite as a text–image encoder: naming regions, finding captions, finding slices.

    python benchmarks/regions.py DATA [--work FOLDER] [--parts classes retrieval slices]

`classes` and `slices` use the heads that ship; `retrieval` trains their last layers anew with each loss on pooled views
(`--pooled`, the folder ``work/regions`` of `medclipsam train lite`, beside its ``work`` folder `--views`) and measures
captions of test rows. Encoded test rows are kept in FOLDER, so that a stopped run goes on. Nothing here chooses a
threshold or a weight; what the search does by default was chosen on training patients with `--train`.
Writes benchmarks/results/regions.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional

from napari_medclipsam.evaluation.datasets import open_dataset, read_sample
from napari_medclipsam.images.io import read_image, read_mask
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.clip_losses import LOSSES, ContrastSettings, contrastive_loss
from napari_medclipsam.learning.lite_captions import Concepts, caption, read_films
from napari_medclipsam.learning.lite_embedding import HELD_OUT_FILMS, EmbeddingSettings, Taught, parted, view_weights
from napari_medclipsam.learning.lite_embedding_scale import CHOICES, balanced
from napari_medclipsam.learning.lite_region_views import Region, RegionStore
from napari_medclipsam.learning.lite_views import View
from napari_medclipsam.models.lite.phrases import phrase_book
from napari_medclipsam.models.lite.preprocess import Fit
from napari_medclipsam.models.lite.regions import (
    RegionHeads,
    parts_of,
    places,
    pooled,
    shares,
    slice_score,
    tokens,
    whole,
)
from napari_medclipsam.models.registry import load

RESULTS = Path(__file__).parent / "results"
N_TEST_PATIENTS = 4
QUERY, OPPOSITE = "brain tumor", "normal brain tissue"
SEEDS = (0, 1, 2)
RANKS = (1, 5, 10)


@dataclass
class Item:
    """A test picture as the heads take it."""

    view: View
    whole: np.ndarray
    tokens: np.ndarray
    regions: np.ndarray
    names: list[str]
    caption: str = ""
    more: dict[str, float] = field(default_factory=dict)


def features(model: Any, image: Slice, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `whole`, `tokens` and `pooled` of a picture."""
    with torch.inference_mode():
        seen = places(torch.from_numpy(model.embed(image).features)[None])
        fit = Fit.of(image.shape_yx)
        weights = torch.from_numpy(np.stack([shares(mask, fit) for mask in masks]))
        numbers = pooled(seen[0], weights, fit.inner_yx)
        return whole(seen)[0].numpy(), tokens(seen)[0].numpy(), numbers.numpy()


def kept(work: Path, key: str, make: Any) -> dict[str, np.ndarray]:
    """Return arrays from the work folder, or make and keep them."""
    path = work / f"{key}.npz"
    if not path.exists():
        temporary = path.with_suffix(".part.npz")
        np.savez(temporary, **make())
        temporary.rename(path)
    with np.load(path) as stored:
        return dict(stored)


STRUCTURE_OF = {"breast_us": "breast_lesion", "brain_mri": "brain_tumor", "chest_xray": "lungs", "polyps": "polyp"}
DATASETS = tuple(STRUCTURE_OF)


def test_rows(data: Path, model: Any, work: Path, datasets: Sequence[str] = DATASETS, every: int = 1) -> Iterator[Item]:
    """Test rows, or each `every`-th of them, with their captions."""
    films = read_films(data, "test")
    for dataset in datasets:
        for sample in open_dataset(data / dataset).samples[::every]:
            kind = sample.columns.get("tumor") or sample.columns.get("finding", "")
            kind = "" if dataset == "chest_xray" or kind == "normal" else kind
            structure = STRUCTURE_OF[dataset]

            def make(sample: Any = sample, structure: str = structure) -> dict[str, np.ndarray]:
                image, mask = read_sample(sample)
                name = structure
                if not mask.any():
                    # A normal breast has no region: the model's own proposal stands for one a reader would ask about.
                    values = model.saliency(image, "breast lesion").values_yx
                    mask, name = values >= min(0.5, float(np.quantile(values, 0.98))), "proposed"
                found = features(model, image, mask[None])
                return dict(zip(("whole", "tokens", "regions"), found, strict=True)) | {"names": np.array([name])}

            found = kept(work, f"{dataset}-{sample.name}", make)
            names = [str(name) for name in found["names"]]
            view = View(dataset, sample.name, (structure,), kind, False, False, (256, 256), 0)
            form = found["regions"][0]
            drawn = [Region(0, n, "drawn", float(form[-2]) ** 2, float(form[-6])) for n in names if n != "proposed"]
            item = Item(view, found["whole"], found["tokens"], found["regions"], names)
            yield replace(item, caption=caption(view, drawn, films)[0])


def kept_films(data: Path, model: Any, work: Path) -> Iterator[Item]:
    """The films of chest_structures that were kept out of training."""
    folder = data / "chest_structures"
    with open(folder / "index.csv", newline="", encoding="utf-8") as source:
        rows = sorted(csv.DictReader(source), key=lambda row: row["name"])[slice(*HELD_OUT_FILMS)]
    for row in rows:
        names = row["structures"].split()

        def make(row: Any = row, names: list[str] = names) -> dict[str, np.ndarray]:
            image = read_image(next((folder / "images").glob(f"{row['name']}.*"))).slice_pixels(0)
            masks = [
                np.asarray(Image.open(folder / "masks" / n / f"{row['name']}.png").convert("L")) > 0 for n in names
            ]
            there = [k for k, mask in enumerate(masks) if mask.any()]
            found = features(model, image, np.stack([masks[k] for k in there]))
            own = {"names": np.array([names[k] for k in there])}
            return dict(zip(("whole", "tokens", "regions"), found, strict=True)) | own

        found = kept(work, f"chest_structures-{row['name']}", make)
        view = View("chest_structures", row["name"], tuple(names), "", True, False, (256, 256), 0)
        yield Item(view, found["whole"], found["tokens"], found["regions"], [str(n) for n in found["names"]])


@torch.inference_mode()
def vectors(heads: Any, item: Item) -> dict[str, np.ndarray]:
    """Return the vectors of a picture's regions by the global branch, the region branch and both."""
    context = heads.context(torch.from_numpy(item.tokens)[None])
    image = heads.image(torch.from_numpy(item.whole)[None], context)
    own = heads.region(torch.from_numpy(item.regions)[None], context)
    both = heads.fused(image, own)[0].numpy()
    return {"global": np.repeat(image.numpy(), len(both), 0), "region": own[0].numpy(), "both": both}


def classes(model: Any, items: list[Item]) -> dict[str, Any]:
    """Balanced accuracy of "what is this?" among the words of each question."""
    heads = model._regions._heads
    questions = {"brain tumour kind": "brain_mri", "breast": "breast_us", "chest structures": "chest_structures"}
    table: dict[str, Any] = {}
    for question, dataset in questions.items():
        words = CHOICES[question]
        texts = model.embed_text([own[0] for own in words.values()])
        truths, found = [], {"global": [], "region": [], "both": []}
        for item in items:
            if item.view.dataset != dataset:
                continue
            for name, own in vectors(heads, item).items():
                found[name].append(own @ texts.T)
            kinds = (
                item.names if dataset == "chest_structures" else [item.view.kind or "normal breast"] * len(item.names)
            )
            truths += [list(words).index(kind) for kind in kinds]
        answers = {name: np.concatenate(own) for name, own in found.items()}
        table[question] = {"n": len(truths), "classes": len(words)}
        table[question] |= {name: balanced(own, np.array(truths)) for name, own in answers.items()}
        if question == "breast":
            lesions = np.array(truths) != list(words).index("normal breast")
            two = {n: balanced(own[lesions][:, :2], np.array(truths)[lesions]) for n, own in answers.items()}
            table["benign or malignant"] = {"n": int(lesions.sum()), "classes": 2} | two
        table[question]["expected calibration error"] = miscalibration(answers["both"] * model.scale, np.array(truths))
    return table


def miscalibration(logits: np.ndarray, truths: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error of the largest probability (Guo et al. 2017)."""
    chances = np.exp(logits - logits.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    sure, right = chances.max(1), chances.argmax(1) == truths
    places_ = np.minimum((sure * bins).astype(int), bins - 1)
    return float(sum(abs(sure[places_ == b].mean() - right[places_ == b].mean()) * (places_ == b).mean()
                     for b in np.unique(places_)))  # fmt: skip


class CaptionHeads(nn.Module):
    """The last layers of the global branch and the text head, new, over the attention of the heads that ship."""

    def __init__(self) -> None:
        super().__init__()
        heads = RegionHeads()
        self.of_whole, self.whole_in, self.whole_out = heads.of_whole, heads.whole_in, heads.whole_out
        self.text_linear, self.text_more = heads.text_linear, heads.text_more

    def image(self, overall: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """Vectors of pictures."""
        return functional.normalize(self.whole_out(torch.cat([self.whole_in(self.of_whole(overall)), found], 1)), dim=1)

    def text(self, vectors_nd: torch.Tensor) -> torch.Tensor:
        """Vectors of texts."""
        return functional.normalize(self.text_linear(vectors_nd) + self.text_more(vectors_nd), dim=1)


def retrieval(model: Any, items: list[Item], data: Path, pooled_at: Path, views_at: Path, steps: int) -> dict[str, Any]:
    """Recall of captions and pictures, per loss and seed; equal captions count as hits."""
    captions = [item.caption for item in items if item.caption]
    texts = list(dict.fromkeys(captions))
    own = np.array([texts.index(c) for c in captions])
    heads = model._regions._heads
    overall = np.stack([item.whole for item in items if item.caption]).astype(np.float32)
    asked = _asked(heads, np.stack([item.tokens for item in items if item.caption]))
    views = [View(**row) for row in json.loads((views_at / "views.json").read_text(encoding="utf-8"))]
    store = RegionStore(pooled_at)
    taught = Taught(store, views[: len(store.whole)], Concepts.of(phrase_book(), read_films(data)), model._texts)
    rows, _ = parted(taught.views)
    table: dict[str, Any] = {"pictures": len(own), "captions": len(texts), "chance": chance(own)}
    vectors_nd = torch.from_numpy(model._texts(texts))
    known = _asked(heads, store.tokens)
    for loss in LOSSES:
        found: list[dict[str, float]] = []
        for seed in SEEDS:
            trained = caption_heads(taught, rows, known, heads, loss, seed, steps)
            with torch.inference_mode():
                images = trained.image(torch.from_numpy(overall), asked).numpy()
                found.append(recalls(images @ trained.text(vectors_nd).numpy().T, own))
        seeds = {k: [f[k] for f in found] for k in found[0]}
        table[loss] = {k: [float(np.mean(own)), float(np.std(own))] for k, own in seeds.items()}
        print(loss, table[loss], flush=True)
    with torch.inference_mode():
        whole_in = heads.whole_in(heads.of_whole(torch.from_numpy(overall)))
        images = functional.normalize(heads.whole_out(torch.cat([whole_in, asked], 1)), dim=1).numpy()
    table["shipped"] = {k: [v, 0.0] for k, v in recalls(images @ model.embed_text(texts).T, own).items()}
    return table


def caption_heads(
    taught: Taught, rows: list[int], asked: torch.Tensor, shipped: Any, loss: str, seed: int, steps: int
) -> CaptionHeads:
    """Train on captions of training views alone, no caption twice in a batch."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    heads = CaptionHeads().train()
    heads.of_whole.load_state_dict(shipped.of_whole.state_dict())
    optimiser = torch.optim.AdamW(heads.parameters(), 1e-3, weight_decay=0.05)
    weights = view_weights(taught, rows)
    overall = torch.from_numpy(taught.store.whole.astype(np.float32))
    settings = ContrastSettings(EmbeddingSettings().temperature)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 1e-3 * 0.5 * (1 + np.cos(np.pi * step / steps))
        chosen = rng.choice(rows, 96, p=weights)
        said = [taught.said_of(row, rng) for row in chosen]
        # By their first phrasing: another phrasing of the same caption is no negative.
        kept_ = list({taught.captions[row][0]: k for k, row in enumerate(chosen)}.values())
        images = heads.image(overall[chosen[kept_]], asked[chosen[kept_]])
        value = contrastive_loss(images, heads.text(taught.vectors[[said[k] for k in kept_]]), loss, settings)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    return heads.eval()


@torch.inference_mode()
def _asked(heads: Any, grids: np.ndarray) -> torch.Tensor:
    """What the global branch's questions find in the tokens of many pictures."""
    found = []
    for start in range(0, len(grids), 64):
        context = heads.context(torch.from_numpy(grids[start : start + 64].astype(np.float32)))
        found.append(heads.attend(heads.asked.expand(len(context), 1, -1), context)[:, 0])
    return torch.cat(found).clone()


def recalls(cosines: np.ndarray, own: np.ndarray) -> dict[str, float]:
    """Recall@k both ways for cosines (pictures, captions); `own` is the caption of each picture."""
    ranked = (-cosines).argsort(1)
    found = {f"image → text @{k}": float((ranked[:, :k] == own[:, None]).any(1).mean()) for k in RANKS}
    back = (-cosines.T).argsort(1)
    right = own[back] == np.arange(cosines.shape[1])[:, None]
    return found | {f"text → image @{k}": float(right[:, :k].any(1).mean()) for k in RANKS}


def chance(own: np.ndarray) -> dict[str, float]:
    """Expected recall of a random order."""
    n, m = len(own), int(own.max()) + 1
    counts = np.bincount(own)
    found = {f"image → text @{k}": k / m for k in RANKS}
    for k in RANKS:
        miss = [np.prod([(n - c - i) / (n - i) for i in range(k)]) for c in counts]
        found[f"text → image @{k}"] = float(1 - np.mean(miss))
    return found


def slices(model: Any, data: Path, work: Path, train: bool) -> dict[str, Any]:
    """AUC of each way to rank the slices of a FLAIR volume for a text, patient by patient."""
    folder = data / "volumes" / "lgg"
    patients = sorted(p.name.removesuffix("_tumor.nii.gz") for p in folder.glob("*_tumor.nii.gz"))
    chosen = patients[:-N_TEST_PATIENTS][-3:] if train else patients[-N_TEST_PATIENTS:]
    texts = model.embed_text([QUERY, OPPOSITE])
    heads = model._regions._heads
    table: dict[str, Any] = {}
    pooled_scores: dict[str, list[float]] = {}
    pooled_truth: list[bool] = []
    for patient in chosen:
        image = read_image(folder / f"{patient}_flair.nii.gz")
        truth = read_mask(folder / f"{patient}_tumor.nii.gz", image) > 0
        scores: dict[str, list[float]] = {}
        there = []
        for z in range(len(truth)):
            pixels = image.slice_pixels(z)
            if pixels.pixels.min() == pixels.pixels.max():
                continue

            def make(pixels: Slice = pixels) -> dict[str, np.ndarray]:
                everything = np.ones((1, *pixels.shape_yx), bool)
                found = features(model, pixels, np.concatenate([everything, parts_of(pixels.pixels)]))
                presence = np.array(model.saliency(pixels, QUERY).presence)
                return dict(zip(("whole", "tokens", "regions"), found, strict=True)) | {"presence": presence}

            found = kept(work, f"{patient}-{z}", make)
            view = View("lgg", patient, (), "", False, False, (256, 256), 0)
            own = vectors(heads, Item(view, found["whole"], found["tokens"], found["regions"], []))
            for name, value in ways(own, texts, float(found["presence"])).items():
                scores.setdefault(name, []).append(value)
            there.append(bool(truth[z].any()))
        table[patient] = {name: float(roc_auc_score(there, value)) for name, value in scores.items()}
        table[patient] |= {"slices": len(there), "with tumour": sum(there)}
        for name, value in scores.items():
            pooled_scores.setdefault(name, []).extend(value)
        pooled_truth += there
        print(patient, table[patient], flush=True)
    names = list(pooled_scores)
    table["mean"] = {name: float(np.mean([table[p][name] for p in chosen])) for name in names}
    table["all slices together"] = {n: float(roc_auc_score(pooled_truth, v)) for n, v in pooled_scores.items()}
    return table


def ways(own: dict[str, np.ndarray], texts: np.ndarray, presence: float) -> dict[str, float]:
    """Return the score of a slice by each way of ranking."""
    image, fused = own["global"][0] @ texts.T, own["both"][min(1, len(own["both"]) - 1) :] @ texts.T
    parts = own["region"][-len(fused) :] @ texts.T
    return {
        "whole slice": float(image[0]),
        "whole slice, minus its opposite": float(image[0] - image[1]),
        "best part": float(fused[:, 0].max()),
        "best part, without its surroundings": float(parts[:, 0].max()),
        "three best parts": slice_score(fused[:, 0]),
        "whole slice + three best parts": float(image[0]) + slice_score(fused[:, 0]),
        "presence of the grounder": presence,
    }


def main() -> None:
    """Measure the parts that are asked for and write them beside what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path(".cache/benchmark-regions"))
    parser.add_argument("--pooled", type=Path, default=Path(".cache/lite/regions"))
    parser.add_argument("--views", type=Path, default=Path(".cache/lite"))
    parser.add_argument("--steps", type=int, default=800, help="of each training for `retrieval`")
    parser.add_argument("--every", type=int, default=1, help="take each n-th test row")
    parser.add_argument("--train", action="store_true", help="slices of training patients; writes nothing")
    parser.add_argument("--parts", nargs="+", default=["classes", "retrieval", "slices"])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    model = load("lite")
    if args.train:
        print(json.dumps(slices(model, args.data, args.work, True), indent=1))
        return
    path = RESULTS / "regions.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"regions": {}}
    items = []
    if {"classes", "retrieval"} & {*args.parts}:
        items = [*test_rows(args.data, model, args.work, every=args.every), *kept_films(args.data, model, args.work)]
    for part in args.parts:
        started = time.monotonic()
        if part == "classes":
            found = classes(model, items)
        elif part == "retrieval":
            found = retrieval(model, items, args.data, args.pooled, args.views, args.steps)
        else:
            found = slices(model, args.data, args.work, False)
        content["regions"][part] = found
        print(part, round(time.monotonic() - started), json.dumps(found, indent=1), flush=True)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
