"""The names of the labels of a mask, in a table beside its file: NAME.tsv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_medclipsam.errors import ImageError, OutputError
from napari_medclipsam.exchange.case import LabelClass
from napari_medclipsam.files import atomic_path
from napari_medclipsam.images.io import PICTURES, VOLUMES, write_mask
from napari_medclipsam.images.volume import Volume

_COLUMNS = ("index", "name", "color")


def table_path(path: Path) -> Path:
    """Return where the names of the labels of a mask are: NAME.tsv."""
    suffix = next((s for s in sorted((*VOLUMES, *PICTURES), key=len)[::-1] if path.name.lower().endswith(s)), "")
    return path.with_name(path.name[: len(path.name) - len(suffix)] + ".tsv")


def table_text(classes: Sequence[LabelClass]) -> str:
    """Return a BIDS look-up table: index, name and colour of each label."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows((c.label, c.name, c.color) for c in classes)
    return text.getvalue()


def names_beside(path: Path) -> tuple[LabelClass, ...]:
    """Return the classes in the table of a mask; none where there is no table. Raises as `read_table`."""
    table = table_path(path)
    return read_table(table) if table.exists() else ()


def read_table(path: Path) -> tuple[LabelClass, ...]:
    """Read a look-up table of labels; background rows (index 0) are passed over.

    Raises
    ------
    ImageError
        If it lacks the columns index and name, or holds other things than labels there.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        return tuple(
            LabelClass(int(row["index"]), row["name"], (row.get("color") or "").strip())
            for row in rows
            if int(row["index"]) != 0
        )
    except (KeyError, ValueError, TypeError, OSError, csv.Error):
        raise ImageError(
            f"{path} should be a table of labels, separated by tabs, with the columns index and name. "
            "Correct it, or move it away to import the labels without names."
        ) from None


def require_own_table(path: Path) -> None:
    """Refuse to name the labels of a mask where its table would replace something else.

    Raises
    ------
    OutputError
        If NAME.tsv beside the mask is there and is no table of labels.
    """
    try:
        names_beside(path)
    except ImageError as error:
        raise OutputError(
            f"The names of the labels go into {table_path(path)}, which is there already and is no table of labels. "
            "Choose another name for the mask."
        ) from error


def write_named_mask(mask_zyx: np.ndarray, source: Volume, path: Path, classes: Sequence[LabelClass]) -> None:
    """Write a mask of any format and the names of its labels beside it; raises as `images.io.write_mask`."""
    with atomic_path(table_path(path)) as table:
        table.write_text(table_text(classes), encoding="utf-8", newline="")
        write_mask(mask_zyx, source, path)
