"""What `StructureNet` sees in a slice, and how it is joined with what the grounding head answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_medclipsam.files import sha256_of
from napari_medclipsam.models.embedding_cache import default_folder
from napari_medclipsam.models.lite.compiled import Compiled, runs_openvino, to_openvino
from napari_medclipsam.models.lite.converted import kept_model
from napari_medclipsam.models.lite.grounding import GRID
from napari_medclipsam.models.lite.preprocess import CANVAS
from napari_medclipsam.models.lite.region import STRUCTURE_REGIONS

if TYPE_CHECKING:
    import openvino

# Best of 0.3, 0.5, 0.7 and 1 on the pictures held out.
_SHARE = 0.7

# No more than 11.4 on the pictures held out.
_HIGHEST_OF_HEAD = 12.0

_ORDER = {name: position for position, name in enumerate(STRUCTURE_REGIONS)}


@dataclass(frozen=True, eq=False)
class Drawn:
    """The network's answers for one slice.

    Parameters
    ----------
    logits_nyx : torch.Tensor
        float32 (n, 128, 128), in the order of `region.STRUCTURE_REGIONS`.
    presences : torch.Tensor
        float32 (n,), logits.
    taught : frozenset of str
        The structures that it was shown; of the others it has nothing to say.
    """

    logits_nyx: torch.Tensor
    presences: torch.Tensor
    taught: frozenset[str]

    def joined_map(self, structure: str, logits_yx: torch.Tensor) -> torch.Tensor:
        """Return the head's saliency logits, (128, 128), and the network's as one."""
        if structure not in self.taught:
            return logits_yx
        return logits_yx.lerp(self.logits_nyx[_ORDER[structure]], _SHARE)

    def rules_out(self, structure: str, offset: float) -> bool:
        """Return whether no answer of the head could lift a structure's joined presence to `offset`."""
        if structure not in self.taught:
            return False
        return bool(self.joined_presences([structure], torch.tensor([_HIGHEST_OF_HEAD]))[0] < offset)

    def presence(self, structure: str) -> torch.Tensor:
        """Return the network's own presence logit of a structure that it was taught."""
        return self.presences[_ORDER[structure]]

    def joined_presences(self, structures: Sequence[str], logits: torch.Tensor) -> torch.Tensor:
        """Return the head's presence logits, (len(structures),), and the network's as one."""
        own = [self.presence(name) if name in self.taught else logits[k] for k, name in enumerate(structures)]
        return logits.lerp(torch.stack(own), _SHARE)


class StructureReader:
    """`StructureNet` with the weights that ship.

    Parameters
    ----------
    weights : pathlib.Path
        Safetensors; its metadata names the structures that were taught.
    device : str
        "cpu", "cuda" or "mps".

    Attributes
    ----------
    version : str
        Other weights have another one.
    """

    def __init__(self, weights: Path, device: str) -> None:
        from safetensors import safe_open

        with safe_open(str(weights), "pt") as stored:
            self.taught = frozenset(json.loads((stored.metadata() or {})["taught"]))
        self.version = sha256_of(weights)
        self._device = torch.device(device)
        self._run = _openvino(weights) if runs_openvino(device) else _torch(weights, device)

    def __call__(self, canvas: np.ndarray) -> np.ndarray:
        """Read a canvas, float32 (3, 256, 256); return a row for each structure, its presence and then its map."""
        logits, presences = self._run(canvas[None])
        return np.concatenate([presences[0][:, None], logits[0].reshape(len(presences[0]), -1)], 1)

    def unpacked(self, rows: np.ndarray) -> Drawn:
        """Return what `__call__` says, as it is used."""
        packed = torch.from_numpy(rows).to(self._device)
        return Drawn(packed[:, 1:].view(-1, GRID, GRID), packed[:, 0], self.taught)


def _openvino(weights: Path) -> Callable[[np.ndarray], list[np.ndarray]]:
    def converted() -> openvino.Model:
        example = torch.zeros(1, 3, CANVAS, CANVAS)
        return to_openvino(_network(weights), [example], [example.shape])

    return Compiled(kept_model(default_folder(), sha256_of(weights), converted))


def _torch(weights: Path, device: str) -> Callable[[np.ndarray], list[np.ndarray]]:
    network = _network(weights).to(device)

    def run(canvases: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [part.float().cpu().numpy() for part in network(torch.from_numpy(canvases).to(device))]

    return run


def _network(weights: Path) -> torch.nn.Module:
    from safetensors.torch import load_file

    # Here and not above: it imports timm, which takes longer than to read the network that is kept converted.
    from napari_medclipsam.models.lite.structure_net import StructureNet

    network = StructureNet()
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()})
    return network.eval().requires_grad_(False)
