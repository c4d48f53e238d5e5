"""Reading tensors from files without running anything that is in them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medclipsam.errors import ModelError

if TYPE_CHECKING:
    import torch


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a .safetensors, .pth, .pt or .bin file, on the CPU.

    Pickles are read with ``weights_only=True``: anything but tensors and plain containers is refused, not run. A
    checkpoint that wraps its tensors in "state_dict" or "model" is unwrapped.

    Raises
    ------
    ModelError
        If the file is damaged, or holds something other than named tensors.
    """
    import torch

    try:
        content: Any
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path, device="cpu")
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is refused: it is damaged or holds program code, where only tensors are expected. "
            "Get the weights from the model's own source, as .safetensors if there is a choice."
        ) from error
    except Exception as error:  # torch, zipfile and safetensors each raise their own for a damaged file.
        raise ModelError(f"{path} can't be read as model weights ({error}). Fetch it again.") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ModelError(
            f"{path} does not hold named tensors, as a weights file does. Check that it is the right file."
        )
    return content


def fill(module: torch.nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Put `tensors` into `module`; every name and shape must fit.

    Raises
    ------
    ModelError
        If they don't; the first differences are named.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in tensors]
    unknown = [name for name in tensors if name not in own]
    unfit = [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    if missing or unknown or unfit:
        said = [
            f"{len(names)} {what} (such as {names[0]})"
            for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", unfit))
            if names
        ]
        raise ModelError(
            f"The weights in {path} are of another model: {', '.join(said)}. Use the file named in the catalogue."
        )
    module.load_state_dict(tensors)
