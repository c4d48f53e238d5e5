"""What medclipsam-lite is made of, on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch

from napari_medclipsam.errors import ModelError
from napari_medclipsam.models.lite.clicks import ClickDecoder
from napari_medclipsam.models.lite.grounding import GroundingHead
from napari_medclipsam.models.lite.known import PhraseBank
from napari_medclipsam.models.lite.phrases import phrase_book


@dataclass(frozen=True)
class Calibration:
    """What was set on the validation pictures.

    Parameters
    ----------
    presence_offset : float
        The presence logit that counts as 0.5.
    presence_offsets : dict of str to float
        The same for single structures that were seen often enough to set it: some are harder to be sure of.
    least_similarity, least_margin : float
        See `PhraseBank`.
    """

    presence_offset: float = 0.0
    presence_offsets: dict[str, float] = field(default_factory=dict)
    least_similarity: float = 0.0
    least_margin: float = 0.0


@dataclass(frozen=True)
class LiteFiles:
    """Where the parts of the model are; their hashes have been checked."""

    litemedsam: Path
    text_weights: Path
    tokenizer: Path
    grounding: Path
    clicks: Path
    regions: Path
    structures: Path


def load_grounding(path: Path) -> tuple[GroundingHead, PhraseBank, Calibration]:
    """Return the grounding head, the phrases it was taught and the thresholds.

    Raises
    ------
    ModelError
        If the phrases are not those of ``phrases.json``.
    """
    from safetensors import safe_open

    with safe_open(str(path), "pt") as stored:
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a dict
        calibration = Calibration(**json.loads((stored.metadata() or {})["calibration"]))
    taught, untaught = (tensors.pop(f"bank.{part}").numpy() for part in ("taught", "untaught"))
    limits = (calibration.least_similarity, calibration.least_margin)
    try:
        bank = PhraseBank(phrase_book(), taught, untaught, *limits)
    except ValueError as error:
        raise ModelError(f"The files of medclipsam-lite do not fit together: {error}.") from error
    head = GroundingHead()
    head.load_state_dict({key: value.float() for key, value in tensors.items()})
    return head.eval().requires_grad_(False), bank, calibration


def load_decoder(litemedsam: torch.nn.Module, weights: Path) -> ClickDecoder:
    """LiteMedSAM's decoder and the click network, with the weights trained here."""
    from safetensors.torch import load_file

    decoder = ClickDecoder(litemedsam)
    decoder.load_state_dict(load_file(weights))
    return decoder.eval().requires_grad_(False)
