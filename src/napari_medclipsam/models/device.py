"""Which processor a model runs on, and in which number format."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from napari_medclipsam.errors import ModelError

if TYPE_CHECKING:
    import torch

DEVICE_VARIABLE = "MEDCLIPSAM_DEVICE"


def available_devices() -> list[str]:
    """Return the devices of this machine, best first; "cpu" is always the last."""
    import torch

    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def choose_device(requested: str | None = None) -> torch.device:
    """Return the device to use.

    Parameters
    ----------
    requested : str, optional
        "cuda", "cuda:1", "mps" or "cpu"; None or "auto" takes the environment variable MEDCLIPSAM_DEVICE, and without
        it the best there is (cuda, then mps, then cpu).

    Raises
    ------
    ModelError
        If the device is not on this machine.
    """
    import torch

    wanted = (requested or "auto").strip().lower()
    if wanted == "auto":
        wanted = os.environ.get(DEVICE_VARIABLE, "auto").strip().lower() or "auto"
    available = available_devices()
    if wanted == "auto":
        return torch.device(available[0])
    if (f"{wanted}:0" if wanted == "cuda" else wanted) not in available:
        raise ModelError(
            f"The device {wanted!r} is not on this machine, which has {', '.join(available)}. "
            "Choose one of those, or leave the device out to have the best one chosen."
        )
    return torch.device(wanted)


def dtype_for(device: torch.device) -> torch.dtype:
    """Return the number format for large networks on `device`: half precision on CUDA, float32 elsewhere.

    bfloat16 has float32's range, so nothing overflows; cards that emulate it get float16.
    """
    import torch

    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
