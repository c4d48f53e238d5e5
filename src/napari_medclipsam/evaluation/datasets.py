"""Folders of images with masks.

A data set is a folder with ``images/`` and ``masks/`` whose files have the same names up to the suffix. An
``index.csv`` with a column ``name`` (and perhaps ``split`` and others) fixes which rows there are and to which split
each belongs.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napari_medclipsam.errors import ImageError
from napari_medclipsam.images.io import read_image, read_mask
from napari_medclipsam.images.slice import Slice


@dataclass(frozen=True)
class Sample:
    """One row: where its image and mask lie, and the columns of the index."""

    name: str
    image_path: Path
    mask_path: Path
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A named list of samples; `split` is "" when the rows are not split."""

    name: str
    split: str
    samples: tuple[Sample, ...]


def open_dataset(folder: Path, split: str = "test") -> Dataset:
    """Return the rows of a data set.

    Parameters
    ----------
    folder : pathlib.Path
        With ``images/``, ``masks/`` and perhaps ``index.csv``.
    split : str
        Rows of this split; "all" for every row. Ignored when the data set has no splits.

    Raises
    ------
    ImageError
        If the folder is not a data set, a file is missing, or the split has no rows.
    """
    images, masks = _by_stem(folder / "images"), _by_stem(folder / "masks")
    rows = _read_index(folder / "index.csv") if (folder / "index.csv").is_file() else [{"name": n} for n in images]
    is_split = bool(rows) and "split" in rows[0]
    if is_split and split != "all":
        known = Counter(row["split"] for row in rows)
        rows = [row for row in rows if row["split"] == split]
        if not rows:
            raise ImageError(
                f"{folder} has no rows of the split {split!r}; it has {', '.join(sorted(known))}; 'all' takes all."
            )
    if not rows:
        raise ImageError(f"{folder} holds no images; put pictures in its folder images and their masks in masks.")
    samples = []
    for row in rows:
        name = row["name"]
        if name not in images or name not in masks:
            missing = "image" if name not in images else "mask"
            raise ImageError(f"{folder} has no {missing} for {name!r}; add the file or take the row out of the index.")
        samples.append(Sample(name, images[name], masks[name], row))
    return Dataset(folder.resolve().name, split if is_split else "", tuple(samples))


def read_sample(sample: Sample) -> tuple[Slice, np.ndarray]:
    """Return the image of a row and its mask, bool at image size.

    Raises
    ------
    ImageError
        If either can't be read or is not a 2D picture.
    GeometryError
        If their sizes differ.
    """
    volume = read_image(sample.image_path)
    if volume.n_slices() != 1:
        raise ImageError(
            f"{sample.image_path} is a volume; a data set for evaluation holds 2D pictures (PNG, JPEG or TIFF)."
        )
    return volume.slice_pixels(0), read_mask(sample.mask_path, volume)[0] > 0


def _by_stem(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by name without suffix, sorted."""
    if not folder.is_dir():
        raise ImageError(
            f"{folder.parent} is not a data set: it has no folder {folder.name}; images and masks are needed."
        )
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
    return {p.stem: p for p in files}


def _read_index(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as lines:
            rows = [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(lines)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"{path} can't be read as a table ({error}); save it as CSV in UTF-8.") from error
    if not rows or "name" not in rows[0]:
        raise ImageError(f"{path} has no rows or no column 'name'; name the image of each row there, without suffix.")
    return rows
