"""The decoder learner: minutes of practice on accepted slices, after which fewer clicks are needed.

Two parts of medclipsam-lite practise on the slices of a project, one after the other. Its grounding head learns where
the classes are from their names, and may change as much as it likes: only they are answered by it. Its click decoder
meets the simulated reader that it was trained with (see `lite_clicks`), and answers only on pictures like those it
practised on (see `alike`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_medclipsam.errors import LearningError
from napari_medclipsam.files import atomic_path, sha256_of
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.alike import is_alike, summary
from napari_medclipsam.learning.contracts import Example, Label, Settings, Watch
from napari_medclipsam.learning.encoded import lite_base, require_lite, require_slices
from napari_medclipsam.learning.kernel import near_even
from napari_medclipsam.learning.practice import SEEN, Practice, load_parts
from napari_medclipsam.learning.practice_slices import practice_slices
from napari_medclipsam.learning.settings import seeded
from napari_medclipsam.learning.tensors import halved, save_tensors
from napari_medclipsam.learning.wrapped import WrappedLite
from napari_medclipsam.models.contracts import Embedding, MaskResult, PromptSet, SaliencyMap
from napari_medclipsam.models.lite.model import LiteModel

_FORMAT, _VERSION = "medclipsam-decoder", 1
_FILE, _WEIGHTS = "decoder.json", "decoder.safetensors"
LEAST_SLICES = 4


class DecoderLearner:
    """See the module."""

    name = "decoder"

    def fit(
        self,
        examples: Sequence[Example],
        parent: Path | None,
        folder: Path,
        settings: Settings,
        watch: Watch,
    ) -> Mapping[str, Any]:
        """Learn; see `contracts.Learner.fit`."""
        require_slices(examples, LEAST_SLICES)
        return self.learn(lite_base(settings.base, settings.device), examples, parent, folder, settings, watch)

    def learn(
        self,
        base: LiteModel,
        examples: Sequence[Example],
        parent: Path | None,
        folder: Path,
        settings: Settings,
        watch: Watch,
    ) -> Mapping[str, Any]:
        """Learn with a base model that is loaded already; else as `fit`."""
        classes = require_slices(examples, LEAST_SLICES)
        head, decoder = base.parts()
        known: dict[str, list[str]] = {}
        empty = {name for name, those in classes.items() if any(_is_empty(one.labels[name]) for one in those)}
        if parent is not None:
            document = _read(parent)
            known, empty = document["classes"], empty | set(document.get("empty", document["classes"]))
            # Clicks begin anew: from version to version their decoder would stray further from what it knew.
            load_parts(parent / _WEIGHTS, head)
        slices = practice_slices(base, examples, set(classes), settings, watch)
        vectors = {name: base.phrase_vector(name) for name in classes}
        with seeded(settings):
            practice = Practice(head, decoder, slices, vectors, folder, settings, watch)
            figures = practice.run()
        head, practised = practice.parts()
        state = {f"head.{k}": v for k, v in head.state_dict().items()}
        if practised is not None:
            state |= {f"decoder.{k}": v for k, v in practised.state_dict().items()}
            state[SEEN] = torch.from_numpy(np.stack([summary(s.features) for s in slices]))
        save_tensors(folder / _WEIGHTS, halved(state))
        taught = known | {name: list(settings.phrases.get(name, ())) for name in classes}
        document = {"format": _FORMAT, "version": _VERSION, "classes": taught, "empty": sorted(empty)}
        with atomic_path(folder / _FILE) as temporary:
            temporary.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")
        practice.tidy()
        return {**figures, "classes": sorted(taught), "learnt": {k: len(v) for k, v in classes.items()}}

    def load(self, folder: Path, base: Any, device: str) -> DecoderModel:
        """Return the fitted model; see `contracts.Learner.load`."""
        base = require_lite(base)
        document = _read(folder)
        head, decoder = base.parts()
        seen = load_parts(folder / _WEIGHTS, head, decoder)
        adapted = base.adapted(head, None if seen is None else decoder, sha256_of(folder / _WEIGHTS))
        return DecoderModel(base, adapted, document["classes"], document.get("empty", document["classes"]), seen)


class DecoderModel(WrappedLite):
    """medclipsam-lite with another click decoder, and other saliency for the classes that were learnt.

    Parameters
    ----------
    base : LiteModel
        Answers phrases that were not learnt, and clicks on other pictures.
    adapted : LiteModel
        Answers phrases that were, and clicks on pictures like those it practised on.
    classes : dict of str to list of str
        Names, and the other texts for each.
    empty : collection of str
        Classes that were seen in slices and missed in others: of no other is presence more than "unsure", unless the
        base knows it.
    seen : numpy.ndarray, optional
        (n, 256): the `summary` of each picture that clicks were practised on; None where they were not.
    """

    def __init__(
        self,
        base: LiteModel,
        adapted: LiteModel,
        classes: Mapping[str, Sequence[str]],
        empty: Collection[str],
        seen: np.ndarray | None,
    ) -> None:
        super().__init__(base)
        self._adapted, self._empty, self._seen = adapted, frozenset(empty), seen
        self._names = {_plain(text): name for name, texts in classes.items() for text in (name, *texts)}

    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        """Say where a phrase is seen."""
        name = self._names.get(_plain(text))
        if name is None:
            return self.base.saliency(image, text)
        vector = self.base.phrase_vector(name)
        near = self.base.bank.judge(name, vector)
        # What the base reads from the picture under a name that it was taught is worth keeping.
        found = self._adapted.grounded(image, text, vector, 0.0, near.structure if near.known else "")
        found = replace(found, knows_ct=self.knows_ct)
        if near.known or name in self._empty:
            return found
        return replace(found, presence=near_even(found.presence))

    def masks(self, embedding: Embedding, prompts: PromptSet) -> MaskResult:
        """Outline what clicks, a box and an earlier mask describe."""
        is_practised = self._seen is not None and is_alike(embedding, self._seen)
        return (self._adapted if is_practised else self.base).masks(embedding, prompts)


def _is_empty(label: Label) -> bool:
    return label.provenance != "refused" and not label.mask_yx.any()


def _read(folder: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads((folder / _FILE).read_text("utf-8"))
        if (
            document["format"] != _FORMAT
            or document["version"] != _VERSION
            or not isinstance(document["classes"], dict)
        ):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LearningError(f"The model in {folder} is damaged or gone; go back a version, or learn again.") from error
    return document


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
