"""medclipsam-lite, the embedded default model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_medclipsam.models.entry import ModelEntry
    from napari_medclipsam.models.lite.model import LiteModel


def load(entry: ModelEntry, device: str | None = None) -> LiteModel:
    """Load medclipsam-lite after checking the hash of every file; see `models.registry.load`."""
    from napari_medclipsam.models.device import choose_device
    from napari_medclipsam.models.lite.model import LiteModel
    from napari_medclipsam.models.lite.parts import LiteFiles
    from napari_medclipsam.models.store import verified_paths

    paths = {path.name: path for path in verified_paths(entry).values()}
    files = LiteFiles(
        paths["lite_medsam.pth"],
        paths["model.safetensors"],
        paths["tokenizer.json"],
        paths["grounding.safetensors"],
        paths["clicks.safetensors"],
        paths["regions.safetensors"],
        paths["structures.safetensors"],
    )
    encoder = next(file for file in entry.files if file.name.endswith("lite_medsam.pth"))
    return LiteModel(files, str(encoder.sha256), str(choose_device(device)))
