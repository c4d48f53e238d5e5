"""How far a fit is, as one safetensors file: trained weights, those of finished cycles, and the optimiser's memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.tensors import save_tensors


def checkpoint_path(folder: Path) -> Path:
    """Return where the checkpoint of a fit is."""
    return folder / "checkpoint.safetensors"


def trained_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return copies, on the CPU, of the weights of a network that are trained, and of its running statistics."""
    frozen = {name for name, value in network.named_parameters() if not value.requires_grad}
    buffers = {name for name, _ in network.named_buffers()}
    # A network of which parts are frozen is used as in evaluation: its buffers do not change.
    left_out = frozen | (buffers if frozen else set())
    return {k: v.detach().cpu().clone() for k, v in network.state_dict().items() if k not in left_out}


@dataclass
class Checkpoint:
    """The state of a fit.

    Parameters
    ----------
    signature : str
        Of what is fitted.
    steps : int
        That were made.
    progress : float
        In [0, 1].
    snapshots : list of dict
        Trained weights at the end of each finished cycle.
    """

    signature: str
    steps: int = 0
    progress: float = 0.0
    snapshots: list[dict[str, torch.Tensor]] = field(default_factory=list)
    _stored: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def new(cls, signature: str) -> Checkpoint:
        """Return the state of a fit that begins."""
        return cls(signature)

    @classmethod
    def read(cls, path: Path, signature: str) -> Checkpoint | None:
        """Return what is stored; None where there is nothing, or of something else.

        Raises
        ------
        LearningError
            If it is damaged.
        """
        from safetensors import SafetensorError, safe_open

        if not path.exists():
            return None
        try:
            with safe_open(str(path), "pt") as stored:
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a dict
                state = json.loads((stored.metadata() or {})["state"])
            if state["signature"] != signature:
                return None
            snapshots = [_under(tensors, f"snapshot.{k}.") for k in range(state["n_snapshots"])]
            return cls(signature, int(state["steps"]), float(state["progress"]), snapshots, tensors)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise _damaged(path) from error

    def into(self, network: torch.nn.Module) -> None:
        """Put the stored weights into a network."""
        try:
            missing = network.load_state_dict(_under(self._stored, "network."), strict=False)
        except RuntimeError as error:
            raise LearningError("The checkpoint does not fit this network; delete it to learn anew.") from error
        if missing.unexpected_keys:
            raise LearningError("The checkpoint does not fit this network; delete it to learn anew.")

    def into_optimiser(self, trained: Sequence[torch.nn.Parameter], optimiser: torch.optim.Optimizer) -> None:
        """Put the stored memory of gradients into an optimiser of `trained`."""
        for number, parameter in enumerate(trained):
            stored = _under(self._stored, f"optimiser.{number}.")
            if stored:
                moved = {k: v.to(parameter.device) if k != "step" else v for k, v in stored.items()}
                optimiser.state[parameter] = moved
        self._stored = {}

    def keep(self, network: torch.nn.Module) -> None:
        """Take the weights of a network as those of a finished cycle."""
        self.snapshots.append(trained_state(network))

    def write(
        self,
        path: Path,
        network: torch.nn.Module,
        trained: Sequence[torch.nn.Parameter],
        optimiser: torch.optim.Optimizer,
    ) -> None:
        """Write it, whole or not at all; raises `OutputError` where that is not possible."""
        tensors = {f"network.{k}": v for k, v in trained_state(network).items()}
        for number, parameter in enumerate(trained):
            for k, v in optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{number}.{k}"] = torch.as_tensor(v)
        for number, snapshot in enumerate(self.snapshots):
            tensors |= {f"snapshot.{number}.{k}": v for k, v in snapshot.items()}
        state = {
            "signature": self.signature,
            "steps": self.steps,
            "progress": self.progress,
            "n_snapshots": len(self.snapshots),
        }
        save_tensors(path, tensors, {"state": json.dumps(state)})


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a fit; what it was for is written."""
    with suppress(OSError):
        checkpoint_path(folder).unlink()


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _damaged(path: Path) -> LearningError:
    return LearningError(
        f"The checkpoint in {path.parent} is damaged; delete {path.name} there to learn from the start."
    )
