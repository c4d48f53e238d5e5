"""What is exported and what an import returns: one image, its masks and the names of their classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from napari_medclipsam.annotation.classes import COLORS
from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.images.labels import as_labels
from napari_medclipsam.images.volume import Volume


@dataclass(frozen=True)
class LabelClass:
    """One kind of structure.

    Parameters
    ----------
    label : int
        Its value in the label array, from 1.
    name : str
        What the reader calls it.
    color : str
        "#RRGGBB"; by default one that colour-blind readers tell apart.
    prompt : str
        The text it was found with; used to find a coded term where the name has none.
    """

    label: int
    name: str
    color: str = ""
    prompt: str = ""

    def __post_init__(self) -> None:
        if not self.color:
            object.__setattr__(self, "color", COLORS[(self.label - 1) % len(COLORS)])
        if self.label < 1 or not self.name.strip() or not re.fullmatch("#[0-9A-Fa-f]{6}", self.color):
            raise ImageError(
                f"A class needs a label from 1, a name and a colour like #E69F00; got {self.label}, '{self.name}', "
                f"'{self.color}'. Correct the class table."
            )

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as 0 to 255."""
        red, green, blue = bytes.fromhex(self.color[1:])
        return (red, green, blue)


@dataclass(frozen=True, eq=False)
class Case:
    """An image with its masks.

    Parameters
    ----------
    name : str
        Names the files; letters, digits, "-", "_" and "." are kept, everything else becomes "_".
    source : Volume
        The image, as it was read.
    labels_zyx : numpy.ndarray
        Whole numbers, (z, y, x) of `source`, 0 where there is nothing; stored as uint8 or uint16.
    classes : sequence of LabelClass
        One for every label, in any order; classes without a voxel are kept.
    overlapping_zyx : mapping of int to numpy.ndarray
        Masks, bool (z, y, x), of the classes that share voxels with others, by label. Such a label is not in
        `labels_zyx`.

    Raises
    ------
    GeometryError
        If a mask has another shape than the image.
    ImageError
        If labels and classes do not belong together.
    """

    name: str
    source: Volume
    labels_zyx: np.ndarray
    classes: Sequence[LabelClass]
    overlapping_zyx: Mapping[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.source.require_mask_shape(self.labels_zyx)
        for mask_zyx in self.overlapping_zyx.values():
            self.source.require_mask_shape(mask_zyx)
        object.__setattr__(self, "labels_zyx", as_labels(np.asarray(self.labels_zyx)))
        object.__setattr__(self, "classes", tuple(sorted(self.classes, key=lambda c: c.label)))
        object.__setattr__(self, "name", safe_name(self.name))
        self._require_one_class_per_label()

    def _require_one_class_per_label(self) -> None:
        names = Counter(" ".join(c.name.casefold().split()) for c in self.classes)
        labels = Counter(c.label for c in self.classes)
        doubled = [str(key) for counter in (names, labels) for key, count in counter.items() if count > 1]
        if doubled:
            raise ImageError(f"Several classes share the name or label {', '.join(doubled)}. Rename or join them.")
        used = {int(label) for label in np.unique(self.labels_zyx)} - {0}
        missing = sorted((used | set(self.overlapping_zyx)) - set(labels))
        if missing:
            raise ImageError(f"The mask of {self.name} has labels without a class: {missing}. Add classes for them.")
        twice = sorted(used & set(self.overlapping_zyx))
        if twice:
            raise ImageError(
                f"The labels {twice} are in the label array and have masks of their own. Keep one of them."
            )

    def mask_zyx(self, label: int) -> np.ndarray:
        """Return the voxels of one class, bool (z, y, x)."""
        own = self.overlapping_zyx.get(label)
        return self.labels_zyx == label if own is None else np.asarray(own, bool)

    @property
    def overlaps(self) -> bool:
        """True when some voxel belongs to several classes."""
        taken = self.labels_zyx > 0
        for label in self.overlapping_zyx:
            mask_zyx = self.mask_zyx(label)
            if (taken & mask_zyx).any():
                return True
            taken = taken | mask_zyx
        return False

    def single_labels_zyx(self) -> np.ndarray:
        """Return one label per voxel.

        Raises
        ------
        GeometryError
            If classes overlap: then a voxel has no single label.
        """
        if self.overlaps:
            raise GeometryError(
                f"Classes of {self.name} overlap, and this format holds one label per voxel. Export one file per "
                "class, or DICOM-SEG, which holds overlapping segments."
            )
        if not self.overlapping_zyx:
            return self.labels_zyx
        joined = self.labels_zyx.astype(np.uint16)
        for label in self.overlapping_zyx:
            joined[self.mask_zyx(label)] = label
        return as_labels(joined)

    def renamed(self, name: str) -> Case:
        """Return the same case under another name."""
        return replace(self, name=name)


def safe_name(text: str) -> str:
    """Return a text as part of a file name: letters, digits, "-", "_" and "." only, at most 80 of them."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._")
    return cleaned[:80] or "unnamed"
