"""COCO instance annotations: a PNG per slice, as a reader sees it, and one run-length mask per object and slice."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.errors import ImageError, OutputError
from napari_medclipsam.exchange.case import Case
from napari_medclipsam.exchange.objects import numbered_objects
from napari_medclipsam.files import atomic_folder


def export_coco(cases: Iterable[Case], folder: str | os.PathLike[str]) -> Path:
    """Write images/CASE_slice0012.png and annotations.json into a new folder.

    Every slice across the first stored axis is an image, those without an object too: they are the negatives. Pixels
    are 8 bit, windowed as the viewer shows them. Categories are the labels and names of the classes. Masks are
    uncompressed COCO run lengths, which pycocotools and what is built on it read; overlaps are kept. Each annotation
    has an "object" as well: the number of the connected part of the class in 3D, the same in every slice.

    Raises
    ------
    ImageError
        If there is no case, two have one name, or they use a label for different classes.
    OutputError
        If the folder exists, can't be written, or reads back as anything else; nothing is then left of it.
    """
    folder = Path(folder)
    categories: dict[int, str] = {}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    names: set[str] = set()
    with atomic_folder(folder) as temporary:
        (temporary / "images").mkdir()
        for case in cases:
            _require_agreement(case, categories, names)
            first_image = len(images) + 1
            images += _write_images(case, temporary, first_image)
            annotations += _annotations(case, first_image, len(annotations) + 1)
        if not images:
            raise ImageError("There is no case to export. Accept at least one slice first.")
        content = {
            "info": {"description": "Labels drawn with napari-medclipsam"},
            "images": images,
            "annotations": annotations,
            "categories": [{"id": label, "name": name} for label, name in sorted(categories.items())],
        }
        path = temporary / "annotations.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        if json.loads(path.read_text(encoding="utf-8")) != content:
            raise OutputError("annotations.json did not read back as it was written. Check the disk and try again.")
    return folder


def _require_agreement(case: Case, categories: dict[int, str], names: set[str]) -> None:
    for structure in case.classes:
        if categories.setdefault(structure.label, structure.name) != structure.name:
            raise ImageError(
                f"Label {structure.label} is '{structure.name}' in {case.name} and '{categories[structure.label]}' in "
                "a case before. Give the cases one class table."
            )
    if case.name.casefold() in names:
        raise ImageError(f"Two cases are called {case.name}. Rename one of them.")
    names.add(case.name.casefold())


def _write_images(case: Case, folder: Path, first_id: int) -> list[dict[str, Any]]:
    from PIL import Image

    n_slices, height, width = case.source.shape_zyx
    entries = []
    for index in range(n_slices):
        name = f"{case.name}_slice{index:04d}.png"
        pixels = case.source.slice_pixels(index).pixels
        Image.fromarray(pixels).save(folder / "images" / name)
        with Image.open(folder / "images" / name) as written:
            if not np.array_equal(np.asarray(written), pixels):
                raise OutputError(f"{name} did not read back as it was written. Check the disk and try again.")
        entry = {"id": first_id + index, "file_name": name, "width": width, "height": height}
        entries.append({**entry, "case": case.name, "slice": index})
    return entries


def _annotations(case: Case, first_image: int, first_id: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for structure in case.classes:
        numbers_zyx, (z, y, x) = numbered_objects(case.mask_zyx(structure.label))
        _, height, width = numbers_zyx.shape
        for index, numbers_yx in enumerate(numbers_zyx, z):
            for number in np.unique(numbers_yx[numbers_yx > 0]):
                mask_yx = np.zeros(case.source.shape_zyx[1:], bool)
                mask_yx[y : y + height, x : x + width] = numbers_yx == number
                entry = {"id": first_id + len(found), "image_id": first_image + index, "category_id": structure.label}
                found.append({**entry, **_outline(mask_yx, case.name), "iscrowd": 0, "object": int(number)})
    return found


def _outline(mask_yx: np.ndarray, name: str) -> dict[str, Any]:
    counts = run_lengths(mask_yx)
    if not np.array_equal(mask_of(counts, mask_yx.shape), mask_yx):
        raise OutputError(f"A mask of {name} can't be written as run lengths. Report this, please.")
    rle = {"size": list(mask_yx.shape), "counts": counts}
    return {"segmentation": rle, "area": int(mask_yx.sum()), "bbox": _box_xywh(mask_yx)}


def _box_xywh(mask_yx: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(mask_yx.any(axis=1)), np.flatnonzero(mask_yx.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]


def run_lengths(mask_yx: np.ndarray) -> list[int]:
    """Return COCO run lengths: column by column, first the pixels outside, then inside, and so on in turn."""
    flat = np.asarray(mask_yx, bool).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(edges).tolist()
    return [0, *counts] if flat[0] else counts


def mask_of(counts: Sequence[int], shape_yx: tuple[int, ...]) -> np.ndarray:
    """Return the bool mask (y, x) of COCO run lengths."""
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(shape_yx, order="F")
