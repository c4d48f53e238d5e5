"""From the positions of DICOM planes to one regular grid, or a sentence on why there is none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.images.dicom_frames import Frame
from napari_medclipsam.wording import slice_place

#: Positions closer than this are one position; scanners round to a few micrometres.
_SAME_MM = 1e-3
#: A step may differ from the median step by this share of it, but never counts as uneven below `_SLACK_MM`.
_UNEVEN = 0.02
_SLACK_MM = 0.02
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def sorted_stack(path: Path, frames: list[Frame], volume_index: int | None) -> list[Frame]:
    """Return the frames of one volume, sorted along the normal of the image plane.

    Raises
    ------
    GeometryError
        If positions or directions are missing or differ, or planes are doubled, missing or unevenly spaced.
    ImageError
        If there are several images at each position and `volume_index` does not choose, or chooses none.
    """
    _require_same_directions(path, frames)
    normal = _normal(frames[0])
    # Ties (echoes, time points) go by the scanner's own numbering.
    ordered = sorted(frames, key=lambda f: (_depth_mm(f, normal), f.number, f.index, str(f.path)))
    positions: list[list[Frame]] = []
    for frame in ordered:
        new = not positions or _depth_mm(frame, normal) - _depth_mm(positions[-1][0], normal) > _SAME_MM
        if new:
            positions.append([])
        positions[-1].append(frame)
    repeats = _repeats(path, positions)
    index = _checked_volume(path, repeats, volume_index)
    stack = [sorted(planes, key=lambda f: (f.number, f.index, str(f.path)))[index] for planes in positions]
    _require_even_steps(path, np.array([_depth_mm(frame, normal) for frame in stack]))
    return stack


def _require_same_directions(path: Path, frames: list[Frame]) -> None:
    missing = sum(f.position_lps_mm is None or f.directions_lps is None or f.spacing_yx_mm is None for f in frames)
    if missing:
        raise GeometryError(
            f"{missing} of {len(frames)} images of {path} do not say where they lie in the patient (position, "
            "orientation or pixel spacing). Export the series again from its source; geometry is never guessed."
        )
    numbers = np.array(
        [(*(f.position_lps_mm or ()), *(f.directions_lps or ()), *(f.spacing_yx_mm or ())) for f in frames]
    )
    if not np.isfinite(numbers).all() or (numbers[:, 9:] <= 0).any():
        raise GeometryError(f"Positions or pixel spacings of {path} are not finite or not positive. Export it again.")
    directions = numbers[:, 3:9].reshape(-1, 2, 3)
    gram = directions @ directions.transpose(0, 2, 1)
    if np.abs(gram - np.eye(2)).max() > 1e-2:
        raise GeometryError(f"The image orientation of {path} is not two perpendicular unit vectors. Export it again.")
    same = np.abs(numbers[:, 3:] - numbers[0, 3:]).max(axis=1) < 1e-3
    if not same.all():
        raise GeometryError(
            f"The images of {path} are tilted against each other or have different pixel spacings: {int(same.sum())} "
            f"are like the first, {int((~same).sum())} are not. Keep the images of one orientation in a folder."
        )


def _normal(frame: Frame) -> np.ndarray:
    directions = np.array(frame.directions_lps)
    normal = np.cross(directions[:3], directions[3:])
    unit: np.ndarray = normal / np.linalg.norm(normal)
    return unit


def _depth_mm(frame: Frame, normal: np.ndarray) -> float:
    return float(np.dot(np.array(frame.position_lps_mm), normal))


def _repeats(path: Path, positions: list[list[Frame]]) -> int:
    counts = Counter(len(planes) for planes in positions)
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        odd = next(place for place, planes in enumerate(positions) if len(planes) != usual)
        raise GeometryError(
            f"{path} has doubled or missing images: {slice_place(odd, len(positions))} has {len(positions[odd])} "
            f"images at its position, most have {usual}. Remove the extra images or get the missing ones."
        )
    return len(positions[0])


def _checked_volume(path: Path, count: int, volume_index: int | None) -> int:
    if volume_index is None and count > 1:
        raise ImageError(
            f"{path} has {count} images at each position (echoes, time points or repeats). "
            f"Choose one of 0 to {count - 1} (on the command line: --volume-index), or give each a folder."
        )
    index = volume_index or 0
    if not 0 <= index < count:
        raise ImageError(
            f"{path} has no volume {index}: it holds {count}, numbered 0 to {count - 1}. Choose one of these."
        )
    return index


def _require_even_steps(path: Path, depths_mm: np.ndarray) -> None:
    steps = np.diff(depths_mm)
    if len(steps) < 2:
        return
    usual = float(np.median(steps))
    uneven = np.abs(steps - usual) > max(_UNEVEN * usual, _SLACK_MM)
    if not uneven.any():
        return
    wide = [place for place in np.flatnonzero(uneven) if steps[place] > 1.5 * usual]
    if wide:
        places = ", ".join(
            f"{round(steps[p] / usual) - 1} between slices {p} and {p + 1} (at {depths_mm[p]:.1f} and "
            f"{depths_mm[p + 1]:.1f} mm)"
            for p in wide[:5]
        )
        more = f" and in {len(wide) - 5} more places" if len(wide) > 5 else ""
        raise GeometryError(
            f"Slices are missing from {path}: {places}{more}; the usual step is {usual:.2f} mm. Get the whole series."
        )
    first = int(np.flatnonzero(uneven)[0])
    raise GeometryError(
        f"The slices of {path} are unevenly spaced: {steps[first]:.3f} mm between slices {first} and {first + 1}, "
        f"{usual:.3f} mm elsewhere. Resample the series to even slices, or check for missing and doubled images."
    )


def grid_affine_ras(path: Path, stack: list[Frame]) -> np.ndarray | None:
    """Return the affine from (i, j, k) to RAS millimetres; None for a single slice of unknown thickness.

    The step between slices comes from the first and last position, so the shear of a tilted gantry is kept.

    Raises
    ------
    GeometryError
        If the positions are not on one straight line.
    """
    first = stack[0]
    directions = np.array(first.directions_lps).reshape(2, 3)
    spacing_y, spacing_x = first.spacing_yx_mm or (np.nan, np.nan)
    positions = np.array([frame.position_lps_mm for frame in stack])
    if len(stack) > 1:
        step = (positions[-1] - positions[0]) / (len(stack) - 1)
        line = positions[0] + np.arange(len(stack))[:, None] * step
        off = np.linalg.norm(positions - line, axis=1)
        if off.max() > max(_UNEVEN * float(np.linalg.norm(step)), _SLACK_MM) * max(1.0, len(stack) / 50):
            raise GeometryError(
                f"Slice {int(off.argmax())} of {path} lies {off.max():.2f} mm off the line through the others. "
                "Resample the series to a straight stack, or remove the slice."
            )
    elif first.thickness_mm:
        step = _normal(first) * first.thickness_mm
    else:
        return None
    affine_lps = np.eye(4)
    affine_lps[:3, 0] = directions[0] * spacing_x
    affine_lps[:3, 1] = directions[1] * spacing_y
    affine_lps[:3, 2] = step
    affine_lps[:3, 3] = positions[0]
    affine_ras: np.ndarray = _LPS_TO_RAS @ affine_lps
    return affine_ras
