"""medclipsam-lite without some data sets: train it briefly on views that are encoded already, and load it.

    medclipsam train lite --data DATA --output OUT --leave-out brain_mri lgg     # in full: three hours on a CPU
    python benchmarks/left_out.py WORK OUT [--sets brain_mri lgg] [--head 160] [--clicks 0]

The second takes WORK, the subfolder of that name which any run of the first leaves behind, and makes the head and the
click decoder in fewer steps (the defaults are those of docs/benchmarks.md; without --clicks the decoder is that of
LiteMedSAM, which knows boxes alone; no click network, no thresholds of presence). A part that is there already is not
made again. Both write what `left_out_model` loads.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.lite_calibration import calibrate_known
from napari_medclipsam.learning.lite_clicks import ClickSettings, train_clicks
from napari_medclipsam.learning.lite_grounding import GroundingSettings, train_grounding
from napari_medclipsam.learning.lite_training import _frozen_parts, asker_of
from napari_medclipsam.learning.lite_views import ViewStore
from napari_medclipsam.learning.tensors import save_tensors
from napari_medclipsam.learning.wrapped import WrappedLite
from napari_medclipsam.models.contracts import Embedding, MaskResult, PromptSet, SaliencyMap
from napari_medclipsam.models.embedding_cache import EmbeddingCache
from napari_medclipsam.models.lite.clicks import ClickDecoder
from napari_medclipsam.models.lite.encoder import load_litemedsam
from napari_medclipsam.models.lite.known import PhraseBank
from napari_medclipsam.models.lite.model import LiteModel
from napari_medclipsam.models.lite.parts import Calibration, LiteFiles
from napari_medclipsam.models.lite.phrases import phrase_book
from napari_medclipsam.models.lite.text import TextEncoder
from napari_medclipsam.models.registry import find_entry
from napari_medclipsam.models.store import verified_paths

HEAD_BATCH = 6
CLICK_ROUNDS = (1, 1, 2, 2, 3)


class AlwaysAnswers(WrappedLite):
    """The model without its verdicts: on a finding that it was never shown, presence and body region say little."""

    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        """Say where a phrase is seen most."""
        vector = self.base.bank.judge(text, self.base.phrase_vector(text)).vector
        return replace(self.base.grounded(image, text, vector, 0.0), present=True)


class BoxesOnly(WrappedLite):
    """The model without mask prompts, of which LiteMedSAM's own decoder makes little."""

    def masks(self, embedding: Embedding, prompts: PromptSet) -> MaskResult:
        """Outline what clicks and a box describe."""
        return self.base.masks(embedding, replace(prompts, mask_logits_yx=None))


def left_out_model(folder: Path, *, shipped_clicks: bool = False) -> LiteModel:
    """Load what was trained into a folder, with the frozen encoders that are installed.

    With `shipped_clicks` the click decoder is that of medclipsam-lite, which has seen every data set.
    """
    frozen = _frozen_parts()
    shipped = {path.name: path for path in verified_paths(find_entry("lite")).values()}
    files = LiteFiles(
        frozen["lite_medsam.pth"],
        frozen["model.safetensors"],
        frozen["tokenizer.json"],
        folder / "grounding.safetensors",
        shipped["clicks.safetensors"] if shipped_clicks else folder / "clicks.safetensors",
        # They have seen all sets: the regions are not asked, and the structures told below to say nothing.
        shipped["regions.safetensors"],
        shipped["structures.safetensors"],
    )
    encoder = next(file for file in find_entry("lite").files if file.name.endswith("lite_medsam.pth"))
    model = LiteModel(files, str(encoder.sha256), "cpu", EmbeddingCache(memory_bytes=1 << 30))
    model._structures.taught = frozenset()
    return model


def train(work: Path, out: Path, sets: list[str], head_steps: int, click_steps: int) -> None:
    """Make what is missing, in few steps."""
    out.mkdir(parents=True, exist_ok=True)
    store, frozen, book = ViewStore(work, sets), _frozen_parts(), phrase_book()
    texts = TextEncoder(frozen["model.safetensors"], frozen["tokenizer.json"])

    def log(row: dict[str, float]) -> None:
        print(row, flush=True)
        with open(out / "training-log.jsonl", "a", encoding="utf-8") as target:
            target.write(json.dumps(row) + "\n")

    if not (out / "grounding.safetensors").exists():
        head = train_grounding(
            store, asker_of(store, texts), GroundingSettings(steps=head_steps, batch=HEAD_BATCH), log
        )
        bank = PhraseBank.build(book, texts)
        similarity, margin, _ = calibrate_known(bank, book, texts)
        calibration = Calibration(least_similarity=round(similarity, 4), least_margin=round(margin, 4))
        phrases = {"bank.taught": torch.from_numpy(bank.taught), "bank.untaught": torch.from_numpy(bank.untaught)}
        document = {"calibration": json.dumps(asdict(calibration))}
        save_tensors(out / "grounding.safetensors", head.state_dict() | phrases, document)
    if not (out / "clicks.safetensors").exists():
        decoder = ClickDecoder(load_litemedsam(frozen["lite_medsam.pth"]), share=0.0)
        settings = ClickSettings(steps=click_steps, averaging=0.97, rounds=CLICK_ROUNDS)
        decoder = train_clicks(store, decoder, settings, log)
        save_tensors(out / "clicks.safetensors", decoder.state_dict())


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="+", default=["brain_mri", "lgg"])
    parser.add_argument("--head", type=int, default=160, help="steps of the grounding head")
    parser.add_argument("--clicks", type=int, default=0, help="steps of the click decoder; 0: LiteMedSAM's")
    args = parser.parse_args()
    train(args.work, args.out, args.sets, args.head, args.clicks)


if __name__ == "__main__":
    main()
