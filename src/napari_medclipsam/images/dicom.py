"""One DICOM series to a volume: classic (a file per slice) and enhanced multi-frame."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.images.dicom_frames import Frame, frames_of
from napari_medclipsam.images.dicom_grid import grid_affine_ras, sorted_stack
from napari_medclipsam.images.dicom_series import Series, find_series
from napari_medclipsam.images.guard import reading, require_plane
from napari_medclipsam.images.volume import Volume

#: pydicom's decoders in the order we trust them with damaged data; GDCM alone reads lossless JPEG.
_DECODERS = ("pydicom", "pyjpegls", "pylibjpeg", "pillow", "gdcm")
#: Baseline, extended, and the two lossless ones.
_JPEG_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70))
_JPEG_SCAN = 0xDA
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: MONOCHROME1 says how to show these, but their stored values are physical and stay as they are.
_QUANTITATIVE = {"CT", "PT"}


def read_dicom(path: str | os.PathLike[str], series_uid: str | None = None, volume_index: int | None = None) -> Volume:
    """Read a DICOM series.

    Parameters
    ----------
    path : path-like
        A folder, or one file of the series (the rest is gathered from its folder).
    series_uid : str, optional
        SeriesInstanceUID or series number, where there are several.
    volume_index : int, optional
        Which image at each position, from 0, where there are several (echoes, time points).

    Returns
    -------
    Volume
        Rescaled; slices sorted along the normal of the image plane; the affine turned from DICOM's LPS to RAS.
        Without an affine for single films and cine loops, which have no place in the patient.

    Raises
    ------
    ImageError
        If files are missing, damaged, mixed, or compressed in a way that can't be read.
    GeometryError
        If slices are missing, doubled, tilted against each other or unevenly spaced.
    """
    path = Path(path)
    series = find_series(path, series_uid)
    with reading(path, "DICOM series", keep_cause=False):
        frames = frames_of(series)
        _require_one_shape(path, series, frames)
        spacing_yx_mm = frames[0].spacing_yx_mm
        if not any(frame.placed for frame in frames) and len(series.headers) == 1:
            if volume_index not in (None, 0):
                raise ImageError(
                    f"{path} holds one volume, and none with the number {volume_index}. Take it without a number."
                )
            return Volume(_pixels(path, frames), None, spacing_yx_mm, _modality(series), notes=series.notes)
        stack = sorted_stack(path, frames, volume_index)
        affine = grid_affine_ras(path, stack)
        if affine is None:
            return Volume(_pixels(path, stack), None, spacing_yx_mm, _modality(series), notes=series.notes)
        return Volume(_pixels(path, stack), affine, modality=_modality(series), notes=series.notes)


def _modality(series: Series) -> str:
    return str(series.headers[0][1].get("Modality") or "")


def _require_one_shape(path: Path, series: Series, frames: list[Frame]) -> None:
    if not frames:
        raise ImageError(f"{path} announces no frames. Get the file again from its source.")
    counts: dict[tuple[int, int], int] = {}
    for frame in frames:
        counts[frame.shape_yx] = counts.get(frame.shape_yx, 0) + 1
    if len(counts) > 1:
        listed = ", ".join(f"{n} of {x} x {y}" for (y, x), n in counts.items())
        raise GeometryError(
            f"The images of {path} have different sizes ({listed} pixels), expected one. "
            "Keep the images of one size in a folder of their own."
        )
    require_plane(path, *frames[0].shape_yx)


def _pixels(path: Path, stack: list[Frame]) -> np.ndarray:
    """Decode frames and return them as (z, y, x) or (z, y, x, 3), each rescaled by its own slope and intercept."""
    files: dict[Path, list[int]] = {}
    for place, frame in enumerate(stack):
        files.setdefault(frame.path, []).append(place)
    result: np.ndarray | None = None
    kind = _result_dtype(stack)
    for file, places in files.items():
        for place, plane in zip(places, _decoded(file, [stack[p].index for p in places]), strict=True):
            frame = stack[place]
            if plane.shape[:2] != frame.shape_yx:
                raise ImageError(f"An image of {path} has another size than its header says. Get it again.")
            if plane.ndim == 2 and kind is not None:
                plane = (plane.astype(np.float64) * frame.slope + frame.intercept).astype(kind)
            if result is None:
                result = np.empty((len(stack), *plane.shape), plane.dtype)
            if plane.shape != result.shape[1:] or plane.dtype != result.dtype:
                raise ImageError(f"{path} mixes gray and colour or several bit depths. Keep one kind in the folder.")
            result[place] = plane
    if result is None:
        raise ImageError(f"{path} holds no pixels. Get it again from its source.")
    if result.dtype == np.int32 and result.min() >= -32768 and result.max() <= 32767:
        return result.astype(np.int16)
    return result


def _result_dtype(stack: list[Frame]) -> type[np.generic] | None:
    """Return what holds the rescaled values exactly; None where there is nothing to rescale."""
    factors = np.array([(frame.slope, frame.intercept) for frame in stack])
    if not np.isfinite(factors).all() or (factors[:, 0] == 0).any():
        raise ImageError("The rescale slope of an image is zero or not a number. Get the series again from its source.")
    if (factors == (1.0, 0.0)).all():
        return None
    whole = (factors == np.rint(factors)).all() and np.abs(factors).max() < 2**15
    return np.int32 if whole else np.float32


def _decoded(path: Path, indices: list[int]) -> Iterator[np.ndarray]:
    """Decode some frames of a file, one at a time."""
    import pydicom
    from pydicom.pixels.utils import iter_pixels
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    dataset = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    plugin = _decoding_plugin(path, dataset.file_meta.TransferSyntaxUID)
    if plugin == "gdcm" and dataset.file_meta.TransferSyntaxUID in _JPEG_SYNTAXES:
        _require_sound_jpeg(path, dataset, indices)
    for plane in iter_pixels(dataset, indices=indices, decoding_plugin=plugin):
        yield _as_shown(np.asarray(plane), dataset)


def _decoding_plugin(path: Path, transfer_syntax: Any) -> str:
    from pydicom.pixels.decoders.base import get_decoder

    if not transfer_syntax.is_encapsulated:
        return ""
    available = get_decoder(transfer_syntax).available_plugins
    for plugin in _DECODERS:
        if plugin in available:
            return plugin
    raise ImageError(
        f"{path} is compressed as {transfer_syntax.name}, for which no decoder is installed. "
        "Install one with: pip install python-gdcm pylibjpeg-openjpeg pylibjpeg-rle"
    )


def _require_sound_jpeg(path: Path, dataset: Any, indices: list[int]) -> None:
    """Compare the size that each JPEG frame announces with the header: GDCM crashes the process where they differ."""
    from pydicom.encaps import generate_frames

    expected = (int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel))
    count = int(dataset.get("NumberOfFrames") or 1)
    for index, frame in enumerate(generate_frames(dataset.PixelData, number_of_frames=count)):
        if index in indices and _jpeg_frame_size(frame, int(dataset.BitsAllocated)) != expected:
            raise ImageError(f"The compressed pixels of {path} are damaged. Get the file again from its source.")


def _jpeg_frame_size(frame: bytes, most_bits: int) -> tuple[int, int, int] | None:
    """Return (rows, columns, samples) of a JPEG stream; None where the segments before the pixels are damaged."""
    size = None
    place = 2
    while frame[:2] == b"\xff\xd8" and place + 4 <= len(frame) and frame[place] == 0xFF:
        if frame[place + 1] == 0xFF:  # padding between segments
            place += 1
            continue
        marker, length = frame[place + 1], int.from_bytes(frame[place + 2 : place + 4])
        body = frame[place + 4 : place + 2 + length]
        if length < 2 or len(body) != length - 2:
            return None
        if marker == _JPEG_SCAN:
            return size
        if marker in _JPEG_FRAMES:
            if size is not None or len(body) < 6 or len(body) != 6 + 3 * body[5] or not 2 <= body[0] <= most_bits:
                return None
            size = (int.from_bytes(body[1:3]), int.from_bytes(body[3:5]), body[5])
        place += 2 + length
    return None


def _as_shown(plane: np.ndarray, dataset: Any) -> np.ndarray:
    """Apply palette, modality table and MONOCHROME1."""
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    photometric = str(dataset.get("PhotometricInterpretation") or "")
    if photometric == "PALETTE COLOR":
        colours = apply_color_lut(plane, dataset)[..., :3]
        return (colours >> 8).astype(np.uint8) if colours.dtype == np.uint16 else colours
    if plane.ndim == 3:
        return (plane >> 8).astype(np.uint8) if plane.dtype == np.uint16 else plane
    if "ModalityLUTSequence" in dataset:
        plane = np.asarray(apply_modality_lut(plane, dataset))
    if photometric == "MONOCHROME1" and dataset.get("Modality") not in _QUANTITATIVE:
        # The bitwise complement within the stored bits: the brightest value becomes the darkest.
        top = -1 if plane.dtype.kind == "i" else 2 ** int(dataset.BitsStored) - 1
        return (top - plane.astype(np.int64)).astype(plane.dtype)
    return plane
