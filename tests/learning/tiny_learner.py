"""A plug-in with the smallest learner that really learns, and the model it builds on, which knows no word."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from napari_medclipsam.errors import LearningError
from napari_medclipsam.files import atomic_path
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.contracts import Example, Settings, Watch
from napari_medclipsam.models.contracts import SaliencyMap
from napari_medclipsam.models.entry import ModelEntry
from synthetic import RegionGrower

BLIND = ModelEntry(
    "blind", "test", "knows no word", "", "1", "", "tiny_learner:load_blind", (), ("ground", "segment"), 64
)
DEAF = ModelEntry("deaf", "test", "takes no text", "", "1", "", "tiny_learner:load_deaf", (), ("segment",), 64)
N_STEPS = int(os.environ.get("TINY_STEPS", "12"))
STEP_S = float(os.environ.get("TINY_STEP_S", "0"))
#: What the learnt levels are off by: a learner that makes things worse.
WRONG_BY = float(os.environ.get("TINY_WRONG_BY", "0"))
FAILS_WITH = os.environ.get("TINY_FAILS_WITH", "")
CHECKPOINT_EVERY = 3
TOLERANCE = 15


class Blind(RegionGrower):
    """Answers clicks, and no text."""

    name = "blind"

    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        return SaliencyMap(np.zeros(image.shape_yx, np.float32), text, 0.0, False, known=False)


def load_blind(entry: ModelEntry, device: str | None) -> Blind:
    return Blind()


class Deaf(RegionGrower):
    """Answers clicks, and can't be asked for texts."""

    name = "deaf"


def load_deaf(entry: ModelEntry, device: str | None) -> Deaf:
    return Deaf()


class TinyLearner:
    """Learns the mean gray level of each class, a slice a step."""

    name = "tiny"

    def fit(
        self, examples: Sequence[Example], parent: Path | None, folder: Path, settings: Settings, watch: Watch
    ) -> Mapping[str, Any]:
        if FAILS_WITH:
            raise {"memory": MemoryError(), "disk": OSError(28, "No space left on device")}.get(
                FAILS_WITH, ValueError("Hans Müller")
            )
        names = sorted({name for e in examples for name, label in e.labels.items() if label.mask_yx.any()})
        if not names:
            raise LearningError("There is no slice in which something is drawn.")
        sums, start = np.zeros((len(names), 2)), 0
        checkpoint = folder / "checkpoint.safetensors"
        if checkpoint.exists():
            stored = load_file(checkpoint)
            sums, start = stored["sums"], int(stored["step"][0])
        for step in range(start, N_STEPS):
            time.sleep(STEP_S)
            example = examples[step % len(examples)]
            pixels = example.read().pixels
            for name, label in example.labels.items():
                if label.mask_yx.any():
                    sums[names.index(name)] += pixels[label.mask_yx].mean(), 1
            if (step + 1) % CHECKPOINT_EVERY == 0:
                with atomic_path(checkpoint) as temporary:
                    save_file({"sums": sums, "step": np.array([step + 1])}, temporary)
            watch.step((step + 1) / N_STEPS, loss=1 / (step + 1))
        seen = sums[:, 1] > 0
        levels = {n: float(s[0] / s[1] + WRONG_BY) for n, s, ok in zip(names, sums, seen, strict=True) if ok}
        save_file({"levels": np.array(list(levels.values()))}, folder / "levels.safetensors")
        (folder / "names.json").write_text(json.dumps(list(levels)))
        return {"steps": N_STEPS, "went_on_at": start, "classes": list(levels)}

    def load(self, folder: Path, base: Any, device: str) -> Any:
        names = json.loads((folder / "names.json").read_text())
        return Levels(dict(zip(names, load_file(folder / "levels.safetensors")["levels"], strict=True)), base)


class Levels:
    """Finds what has a learnt gray level."""

    name = "levels"

    def __init__(self, levels: dict[str, float], base: Any) -> None:
        self._levels, self._base = levels, base

    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        if text not in self._levels:
            return self._base.saliency(image, text)
        near = abs(image.pixels.astype(float) - self._levels[text]) <= TOLERANCE
        return SaliencyMap(near.astype(np.float32), text, 1.0, bool(near.sum() > 20))
