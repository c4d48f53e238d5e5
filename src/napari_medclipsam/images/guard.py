"""What every reader shares: one place where foreign errors become a sentence, and limits against absurd headers."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from napari_medclipsam.errors import ImageError, MedclipsamError

#: Pixels of one plane beyond which a file is taken for damaged or hostile (a 9,000 x 9,000 film has 81 million).
MAX_PLANE_PIXELS = 2**28

#: Deflate can't shrink data more than this, so a header that promises more is lying.
MAX_DEFLATE_RATIO = 1032

_LOGGERS = ("nibabel.global", "nibabel.batteryrunners", "pydicom", "tifffile", "PIL")


@contextmanager
def reading(path: str | os.PathLike[str], what: str, keep_cause: bool = True) -> Iterator[None]:
    """Turn whatever a file library raises inside the block into an `ImageError`, and keep its warnings quiet.

    Parameters
    ----------
    path : path-like
        Named in the message.
    what : str
        The kind of file, for the message ("NIfTI image").
    keep_cause : bool
        False leaves the foreign exception out of the traceback too: DICOM libraries quote element values, which may
        be about the patient.

    Raises
    ------
    ImageError
        In place of any exception that is not a `MedclipsamError`.
    """
    try:
        with _quiet():
            yield
    except MedclipsamError:
        raise
    # Damaged bytes make the libraries raise nearly anything (zlib.error, struct.error, KeyError, RecursionError...).
    except Exception as error:
        raise ImageError(_sentence(path, what, error)) from (error if keep_cause else None)


def _sentence(path: str | os.PathLike[str], what: str, error: Exception) -> str:
    match error:
        case FileNotFoundError():
            return f"There is no file or folder {path}. Check the path."
        case PermissionError():
            return f"No permission to read {path}. Change its permissions or copy it to a folder of yours."
        case MemoryError():
            return (
                f"{path} asks for more memory than this machine has. If the image should be smaller, the file is "
                "damaged: get it again; otherwise crop or resample it."
            )
    return (
        f"Can't read {path} as a {what}: the file is damaged, incomplete or of another kind "
        f"({type(error).__name__}). Get it again from its source."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    def drop(record: logging.LogRecord) -> bool:
        return False

    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.addFilter(drop)
            stack.callback(logger.removeFilter, drop)
        yield


def require_content(path: str | os.PathLike[str]) -> int:
    """Return the size of a file in bytes; refuse one that is missing or empty."""
    with reading(path, "file"):
        size = Path(path).stat().st_size
    if size == 0:
        raise ImageError(f"{path} is empty (0 bytes). Get it again from its source.")
    return size


def require_plane(path: str | os.PathLike[str], height: int, width: int) -> None:
    """Refuse a plane that no medical device makes, before memory is taken for it."""
    if height < 1 or width < 1 or height * width > MAX_PLANE_PIXELS:
        raise ImageError(
            f"{path} says it is {width} x {height} pixels; expected between 1 and {MAX_PLANE_PIXELS:,} pixels. "
            "The file is damaged or a decompression bomb: get it again, or crop it if it is real."
        )
