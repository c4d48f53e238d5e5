"""Label arrays: which values a mask may hold, and in which type it is stored."""

from __future__ import annotations

import numpy as np

from napari_medclipsam.errors import ImageError

_MOST = 65535


def as_labels(values: np.ndarray) -> np.ndarray:
    """Return a mask as uint8, or uint16 when a label is above 255.

    Floating-point masks, as many programs write them, are taken when every value is a whole number.

    Raises
    ------
    ImageError
        If a value is not a whole number from 0 to 65535.
    """
    if values.dtype == bool:
        return values.astype(np.uint8)
    usable = values.dtype.kind in "iuf" and values.size > 0
    if usable and values.dtype.kind == "f":
        usable = bool(np.isfinite(values).all() and (values == np.rint(values)).all())
    if not usable or values.min() < 0 or values.max() > _MOST:
        found = f", {values.min():g} to {values.max():g}" if values.dtype.kind in "iuf" and values.size else ""
        raise ImageError(
            f"A mask holds whole numbers from 0 to {_MOST}; got {values.dtype}{found}. "
            "Threshold or round it first, or check that the file is a mask and not an image."
        )
    return values.astype(np.uint8 if values.max() <= 255 else np.uint16)
