"""How often a finding is called present where it is not: python benchmarks/false_alarms.py DATA [lite] [clip].

Three kinds of images without the finding: normal breast ultrasound beside ultrasound with a lesion, images of another
organ, and the slices of test volumes (volumes/lgg) without tumour beside those with it. Reported are the area under
the ROC of presence, false alarms at the threshold that finds 90 % (read off the ROC; nothing is set by it), and false
alarms and found findings as shipped. Test rows only; nothing here chooses a threshold or a weight.

`clip` asks the same of each saliency method on fewer rows. BiomedCLIP's weights are not at hand, so a small CLIP is
trained here, on the train rows alone: its figures compare the methods and say nothing of BiomedCLIP.
Writes benchmarks/results/false_alarms.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from lite import TEXTS, WRONG_ORGAN
from napari_medclipsam.evaluation.datasets import open_dataset, read_sample
from napari_medclipsam.images.io import read_image
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.clip_losses import ContrastSettings, contrastive_loss
from napari_medclipsam.models.clip import OpenClipEncoder
from napari_medclipsam.models.contracts import MIN_SPECIFICITY
from napari_medclipsam.models.registry import load
from napari_medclipsam.pipeline import segment_slice
from napari_medclipsam.saliency.grounder import ClipGrounder
from napari_medclipsam.saliency.methods import METHODS
from napari_medclipsam.saliency.prompt_book import prompt_book

RESULTS = Path(__file__).parent / "results"
SENSITIVITY = 0.9
N_TEST_VOLUMES = 4
LEAST_TUMOUR_PX = 30
LEAST_BRAIN_SHARE = 0.1
# What the CLIP models are asked for: words that the prompt book has templates and opposites for.
CLIP_TEXTS = {"brain_mri": "brain tumor", "breast_us": "breast lesion", "polyps": "polyp", "chest_xray": "lungs"}
SIDE, TEMPERATURE, GROUPS = 48, 0.1, 4
# Every third row, so that minutes are enough.
TRAIN_STEP = 3
VISION = {"image_size": SIDE, "patch_size": 8, "width": 128, "layers": 4, "head_width": 32}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2}


@dataclass(frozen=True)
class Asked:
    """One question: its figures, and whether what was asked for is there."""

    presence: float
    specificity: float
    drawn: bool
    there: bool


@dataclass(frozen=True, eq=False)
class Case:
    """An image and what is asked of it."""

    image: Slice
    text: str
    there: bool


def normal_breast(data: Path, most: int | None = None) -> Iterator[Case]:
    """Breast ultrasound with and without a lesion; at most so many of either, spread over the rows."""
    samples = open_dataset(data / "breast_us").samples
    for there in (True, False):
        kind = [s for s in samples if (s.columns["finding"] != "normal") == there]
        for sample in kind if most is None else kind[:: max(1, len(kind) // most)][:most]:
            yield Case(read_sample(sample)[0], "breast_us", there)


def wrong_organ(data: Path, most: int) -> Iterator[Case]:
    """Rows of each set that show its finding, asked for that and for those of the other sets."""
    for name in TEXTS:
        samples = open_dataset(data / name).samples
        for sample in samples[:: max(1, len(samples) // most)]:
            image, truth = read_sample(sample)
            if truth.any():
                yield from (Case(image, other, other == name) for other in TEXTS)


def lgg_slices(data: Path, test: bool, step: int) -> Iterator[Case]:
    """FLAIR slices of the test patients, or of the others; slices with a sliver of tumour or little brain are left."""
    folder = data / "volumes" / "lgg"
    patients = sorted(p.name.removesuffix("_tumor.nii.gz") for p in folder.glob("*_tumor.nii.gz"))
    for patient in patients[-N_TEST_VOLUMES:] if test else patients[:-N_TEST_VOLUMES]:
        volume = read_image(folder / f"{patient}_flair.nii.gz")
        truth = read_image(folder / f"{patient}_tumor.nii.gz").array_zyx
        for index in range(0, volume.n_slices(), step):
            image, n_tumour = volume.slice_pixels(index), int((truth[index] > 0).sum())
            if (image.pixels > 20).mean() > LEAST_BRAIN_SHARE and not 0 < n_tumour < LEAST_TUMOUR_PX:
                yield Case(image, "brain_mri", n_tumour > 0)


def figures(asked: list[Asked], least_specificity: float = 0.0) -> dict[str, float]:
    """Return what the docs show; a map that does not depend on the text counts as presence 0."""
    scores = np.array([a.presence if a.specificity > least_specificity else 0.0 for a in asked])
    there, drawn = np.array([a.there for a in asked]), np.array([a.drawn for a in asked])
    # As high as it can be while 90 % or more of the findings reach it.
    threshold = float(np.quantile(scores[there], 1 - SENSITIVITY, method="lower"))
    return {
        "with": int(there.sum()),
        "without": int((~there).sum()),
        "ROC area": _area(scores, there),
        "ROC area of specificity": _area(np.array([a.specificity for a in asked]), there),
        "threshold that finds 90 %": threshold,
        "false alarms at 90 %": float((scores[~there] >= threshold).mean()) if threshold > 0 else 1.0,
        "found, as shipped": float(drawn[there].mean()),
        "false alarms, as shipped": float(drawn[~there].mean()),
    }


def _area(scores: np.ndarray, there: np.ndarray) -> float:
    n_there, n_not = int(there.sum()), int((~there).sum())
    return float((rankdata(scores)[there].sum() - n_there * (n_there + 1) / 2) / (n_there * n_not))


def lite(data: Path) -> dict[str, Any]:
    """medclipsam-lite; the threshold as shipped is its own, and a mask must be drawn."""
    model = load("lite")

    def ask(case: Case, text: str) -> Asked:
        found = segment_slice(case.image, text, model, model).structures[0]
        return Asked(found.presence, found.saliency.specificity or 0.0, found.present, case.there)

    def phrase(case: Case, n: int) -> str:
        if case.there:
            return TEXTS[case.text]
        others = [t for texts in WRONG_ORGAN.values() for t in texts if _means(t) == case.text]
        return others[n % len(others)]

    found = {
        "normal breast ultrasound": [ask(c, TEXTS["breast_us"]) for c in normal_breast(data)],
        "another organ": [ask(c, phrase(c, n)) for n, c in enumerate(wrong_organ(data, 10))],
        "slices without tumour": [ask(c, TEXTS["brain_mri"]) for c in lgg_slices(data, test=True, step=3)],
    }
    return {name: figures(asked) for name, asked in found.items()}


def _means(text: str) -> str:
    """Return the data set whose finding a phrase of `WRONG_ORGAN` names."""
    words = {"colonic": "polyps", "mammary": "breast_us", "cerebral": "brain_mri", "lungs": "chest_xray"}
    return next(name for word, name in words.items() if word in text)


def clip(data: Path) -> dict[str, Any]:
    """Each saliency method on one small CLIP that is trained here."""
    began = time.monotonic()
    encoder, told = trained_clip(data)
    cases = {
        "normal breast ultrasound": list(normal_breast(data, 15)),
        "another organ": list(wrong_organ(data, 3)),
        "slices without tumour": list(lgg_slices(data, test=True, step=8)),
    }
    found: dict[str, Any] = {"encoder": told}
    for method in METHODS:
        grounder = ClipGrounder(encoder, method)
        found[method] = {}
        for name, rows in cases.items():
            maps = [(grounder.saliency(c.image, CLIP_TEXTS[c.text]), c.there) for c in rows]
            asked = [Asked(m.presence, m.specificity or 0.0, m.present and bool(m.values_yx.any()), t) for m, t in maps]
            found[method][name] = figures(asked, MIN_SPECIFICITY)
        print(method, round(time.monotonic() - began), json.dumps(found[method], indent=1), flush=True)
    return found


def trained_clip(data: Path, n_steps: int = 120) -> tuple[OpenClipEncoder, dict[str, Any]]:
    """Train a small open_clip model on the train rows and their captions."""
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = open_clip.CustomTextCLIP(embed_dim=64, vision_cfg=dict(VISION), text_cfg=dict(TEXT))
    network.logit_scale.data.fill_(float(np.log(1 / TEMPERATURE)))
    transform = image_transform_v2(PreprocessCfg(size=SIDE, resize_mode="squash"), is_train=False)
    encoder = OpenClipEncoder(network, transform, open_clip.SimpleTokenizer(context_length=16), name="tiny")
    kinds = _training_rows(data, encoder.image_tensor)
    n_images = sum(len(images) for images, _ in kinds.values())
    weights = [p for n, p in network.named_parameters() if n != "logit_scale"]
    optimizer = torch.optim.AdamW(weights, lr=5e-4, weight_decay=0.05)
    began, losses = time.process_time(), []
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=n_steps)
    settings = ContrastSettings(temperature=TEMPERATURE)
    for step in range(n_steps):
        # One of each kind in a group: equal captions would be each other's negatives.
        chosen = [(images[rng.integers(len(images))], str(rng.choice(captions))) for images, captions in kinds.values()
                  for _ in range(GROUPS)]  # fmt: skip
        pixels = torch.stack([image if rng.random() < 0.5 else image.flip(-1) for image, _ in chosen])
        tokens = encoder.token_tensor([caption for _, caption in chosen])
        vectors = network.encode_image(pixels), network.encode_text(tokens)
        pairs = [v.unflatten(0, (len(kinds), GROUPS)).transpose(0, 1) for v in vectors]
        loss = sum(contrastive_loss(i, t, "dhn-nce", settings) for i, t in zip(*pairs, strict=True)) / GROUPS
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 50 == 0:
            print(f"step {step} of {n_steps}: {np.mean(losses[-50:]):.3f}", flush=True)
    network.eval().requires_grad_(False)
    told = {
        "what": f"ViT of {VISION['layers']} blocks, {VISION['width']} channels, {SIDE} px, {SIDE // 8} × {SIDE // 8} "
        f"patches; text tower of {TEXT['layers']} blocks; DHN-NCE on {n_images} train rows with captions",
        "steps": n_steps,
        "processor seconds": round(time.process_time() - began),
        "last loss": round(float(np.mean(losses[-20:])), 3),
    }
    return encoder, told


def _training_rows(
    data: Path, tensor: Callable[[Slice], torch.Tensor]
) -> dict[str, tuple[list[torch.Tensor], list[str]]]:
    """Return images and captions by kind of finding; what a kind is not goes into other kinds' captions."""
    book = prompt_book()
    opposites = {name: [*book.question(text).negative, book.null[1]] for name, text in CLIP_TEXTS.items()}
    kinds: dict[str, tuple[list[torch.Tensor], list[str]]] = {}

    def add(kind: str, captions: list[str], image: Slice) -> None:
        kinds.setdefault(kind, ([], captions))[0].append(tensor(image)[0])

    for name, text in CLIP_TEXTS.items():
        for sample in open_dataset(data / name, "train").samples[::TRAIN_STEP]:
            kind = sample.columns.get("tumor") or sample.columns.get("finding", "") if name != "chest_xray" else ""
            image, truth = read_sample(sample)
            if truth.any():
                captions = [*book.question(text).positive, *([f"{kind} {text}", f"{kind}: {text}"] if kind else [])]
                add(f"{name} {kind}", captions, image)
            else:
                add(f"{name} without", opposites[name], image)
    for case in lgg_slices(data, test=False, step=2 * TRAIN_STEP):
        captions = list(book.question(CLIP_TEXTS["brain_mri"]).positive) if case.there else opposites["brain_mri"]
        add("flair with" if case.there else "flair without", captions, case.image)
    return kinds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("parts", nargs="*", default=["lite", "clip"])
    args = parser.parse_args()
    path = RESULTS / "false_alarms.json"
    kept = json.loads(path.read_text("utf-8"))["false_alarms"] if path.exists() else {}
    for part in args.parts:
        kept[part] = {"lite": lite, "clip": clip}[part](args.data)
        print(json.dumps(kept[part], indent=1), flush=True)
        path.write_text(json.dumps({"false_alarms": kept}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
