"""From stored intensities to the 8-bit gray that readers and models see.

A window is ``"auto"``, ``"percentile"``, the name of a CT preset, or its two ends ``(low, high)`` in the units of the
image.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Literal

import numpy as np

from napari_medclipsam.errors import ImageError

Window = str | tuple[float, float]
#: What an image may seem to be, see `looks_like`.
Looks = Literal["", "CT", "mask"]

#: Name -> (level, width) in Hounsfield units, the presets in everyday use in radiology.
CT_WINDOWS = MappingProxyType(
    {
        "abdomen": (40.0, 400.0),
        "angiography": (300.0, 600.0),
        "bone": (400.0, 1800.0),
        "brain": (40.0, 80.0),
        "liver": (60.0, 160.0),
        "lung": (-600.0, 1500.0),
        "mediastinum": (50.0, 350.0),
        "soft-tissue": (50.0, 400.0),
        "spine": (50.0, 250.0),
        "stroke": (35.0, 40.0),
        "subdural": (75.0, 215.0),
        "temporal-bone": (600.0, 2800.0),
    }
)

#: What no other modality stores: air is -1000 HU, while MRI and films seldom go below zero.
_LOOKS_LIKE_CT_BELOW = -500.0
_PERCENTILES = (0.5, 99.5)
_ENOUGH_VOXELS = 4_000_000
#: Even the dullest scan has more grays among so many voxels.
_FEW_VALUES = 4
_ENOUGH_VALUES = 100_000


def ct_window_limits(name: str) -> tuple[float, float]:
    """Return (low, high) in Hounsfield units of a preset of `CT_WINDOWS`.

    Raises
    ------
    ImageError
        If there is no such preset; the message lists them.
    """
    key = name.strip().lower().replace(" ", "-").replace("_", "-")
    if key not in CT_WINDOWS:
        raise ImageError(
            f"There is no intensity window '{name}'. Use auto, percentile, two numbers (low, high), or one of: "
            f"{', '.join(CT_WINDOWS)}."
        )
    level, width = CT_WINDOWS[key]
    return (level - width / 2, level + width / 2)


def looks_like_ct(array: np.ndarray, modality: str = "") -> bool:
    """Tell whether values are Hounsfield units: by the modality tag, or by values at or below -500."""
    if modality:
        return modality.upper() == "CT"
    return array.dtype.kind in "if" and bool(array.min() <= _LOOKS_LIKE_CT_BELOW)


def looks_like_a_mask(array: np.ndarray) -> bool:
    """Tell whether there are so few values that they are labels rather than intensities."""
    # Along each axis, for a volume is not stored in the order that a flat view would need.
    step = max(1, math.ceil((array.size / _ENOUGH_VALUES) ** (1 / array.ndim)))
    return len(np.unique(array[(slice(None, None, step),) * array.ndim])) <= _FEW_VALUES


def looks_like(array: np.ndarray, modality: str = "") -> Looks:
    """Return what an image seems to be, where that decides what a model's answers are worth; "" for most."""
    if looks_like_a_mask(array):
        return "mask"
    return "CT" if looks_like_ct(array, modality) else ""


def percentile_limits(array: np.ndarray) -> tuple[float, float]:
    """Return the 0.5 and 99.5 percentiles of the voxels that are not zero, as LiteMedSAM scales MRI.

    Zero is background in most MRI, so that it would decide the percentiles of a small organ. Where the percentiles
    coincide (a label map) the minimum and maximum of all voxels serve.

    Raises
    ------
    ImageError
        If every voxel has the same value.
    """
    low, high = _value_range(array)
    flat = array.reshape(-1)
    # A fixed stride keeps this under a second for any CT and gives the same answer on every run.
    flat = flat[:: max(1, flat.size // _ENOUGH_VOXELS)]
    foreground = flat[flat != 0]
    if foreground.size:
        inner_low, inner_high = (float(p) for p in np.percentile(foreground, _PERCENTILES))
        if inner_low < inner_high:
            return (inner_low, inner_high)
    return (low, high)


def _value_range(array: np.ndarray) -> tuple[float, float]:
    low, high = float(array.min()), float(array.max())
    if not low < high:
        raise ImageError(
            f"Every voxel of the image has the same value ({low:g}), so there is nothing to see. "
            "Check that the right file, volume or series was chosen."
        )
    return (low, high)


def window_limits(array: np.ndarray, window: Window = "auto", modality: str = "") -> tuple[float, float]:
    """Return the intensities that become 0 and 255.

    ``"auto"`` leaves uint8 as it is, gives CT the abdomen window, and everything else `percentile_limits`. Give it the
    whole volume, so that neighbouring slices look alike.

    Raises
    ------
    ImageError
        If the window is unknown or empty, if every voxel has the same value, or if no voxel is inside the window.
    """
    low_value, high_value = _value_range(array)
    if window == "auto" and array.dtype == np.uint8:
        return (0.0, 255.0)
    if window == "auto" and looks_like_ct(array, modality):
        low, high = ct_window_limits("abdomen")
        if low_value < high and high_value > low:
            return (low, high)
    if window in ("auto", "percentile"):
        return percentile_limits(array)
    low, high = ct_window_limits(window) if isinstance(window, str) else checked_ends(window)
    if high_value <= low or low_value >= high:
        raise ImageError(
            f"The intensity window {low:g} to {high:g} is outside the image, whose values run from {low_value:g} to "
            f"{high_value:g}. Choose another window, or auto."
        )
    return (low, high)


def checked_ends(window: tuple[float, float]) -> tuple[float, float]:
    """Return the (low, high) of a window as floats; refuse anything but two finite numbers, low < high."""
    try:
        low, high = (float(end) for end in window)
    except (TypeError, ValueError):
        low = high = float("nan")
    if not (np.isfinite([low, high]).all() and low < high):
        raise ImageError(f"An intensity window is two finite numbers, low < high; got {window}.")
    return (low, high)


def apply_window(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map `low` and below to 0, `high` and above to 255, linearly in between; returns uint8 of the same shape."""
    scaled = (array.astype(np.float64) - low) * (255.0 / (high - low))
    return np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)


def percentile_scale(array: np.ndarray) -> np.ndarray:
    """Return `array` as uint8 between its `percentile_limits`."""
    return to_uint8(array, "percentile")


def to_uint8(array: np.ndarray, window: Window = "auto", modality: str = "") -> np.ndarray:
    """Return an image or volume as uint8 of the same shape.

    Parameters
    ----------
    array : numpy.ndarray
        Real numbers, any shape.
    window : str or tuple of float
        See the head of this module.
    modality : str
        DICOM modality ("CT", "MR") where it is known; it decides what ``"auto"`` does.

    Raises
    ------
    ImageError
        As `window_limits`.
    """
    low, high = window_limits(array, window, modality)
    if array.ndim < 3:
        return apply_window(array, low, high)
    result = np.empty(array.shape, np.uint8)
    # Plane by plane: a float64 copy of a whole CT would take gigabytes.
    for plane, target in zip(array, result, strict=True):
        target[...] = apply_window(plane, low, high)
    return result
