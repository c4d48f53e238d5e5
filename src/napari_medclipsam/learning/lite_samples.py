"""The pictures medclipsam-lite is trained on, each with what is known to be in it and what is known not to be.

Reads the data folder described in docs/model-card.md. Rows marked `test` are never touched here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_medclipsam.models.lite.region import STRUCTURE_REGIONS

STRUCTURES = tuple(STRUCTURE_REGIONS)
"""What medclipsam-lite is taught to find; the position is the bit in a mask."""

GROUPS = {
    "brain_mri": "neuro",
    "lgg": "neuro",
    "mni": "neuro",
    "hippocampus": "neuro",
    "spinal_cord": "neuro",
    "breast_us": "breast",
    "polyps": "colon",
    "chest_xray": "chest",
    "chest_structures": "chest",
}
"""Data set to body region: a structure of another region is certainly absent."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A training picture.

    Parameters
    ----------
    dataset, name : str
        Where it comes from.
    pixels : numpy.ndarray
        uint8 (height, width) or (height, width, 3).
    bits : numpy.ndarray
        uint16 (height, width); bit k is the mask of STRUCTURES[k].
    labelled : frozenset of str
        The structures of its own body region whose presence or absence is known.
    kind : str
        Finer kind, "" if none: glioma, meningioma, pituitary, benign, malignant.
    validation : bool
        Held out, by blocks of neighbouring names, to watch the training and to set thresholds.
    """

    dataset: str
    name: str
    pixels: np.ndarray
    bits: np.ndarray
    labelled: frozenset[str]
    kind: str = ""
    validation: bool = False


@dataclass
class Bits:
    """Collects one mask per structure into bits."""

    shape_yx: tuple[int, int]
    array: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.array = np.zeros(self.shape_yx, np.uint16)

    def add(self, structure: str, mask_yx: np.ndarray) -> None:
        """Mark `structure` where `mask_yx` is non-zero."""
        self.array |= (mask_yx > 0).astype(np.uint16) << STRUCTURES.index(structure)


def _rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "index.csv", newline="", encoding="utf-8") as source:
        return list(csv.DictReader(source))


def _picture(folder: Path, name: str) -> np.ndarray:
    path = next(p for p in (folder / "images" / f"{name}{ending}" for ending in (".jpg", ".png")) if p.exists())
    image = Image.open(path)
    return np.asarray(image.convert("L" if image.mode in ("L", "1") else "RGB"))


def _mask(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L")) > 0


def _brain(root: Path) -> Iterator[Sample]:
    folder = root / "brain_mri"
    for row in _rows(folder):
        if row["split"] != "train":
            continue
        pixels = _picture(folder, row["name"])
        bits = Bits(pixels.shape[:2])
        bits.add("brain_tumor", _mask(folder / "masks" / f"{row['name']}.png"))
        # Neighbouring numbers are often one patient: hold out whole blocks of 50.
        held = int(row["name"]) // 50 % 12 == 5
        yield Sample("brain_mri", row["name"], pixels, bits.array, frozenset({"brain_tumor"}), row["tumor"], held)


def _breast(root: Path) -> Iterator[Sample]:
    folder = root / "breast_us"
    for row in _rows(folder):
        if row["split"] != "train":
            continue
        pixels = _picture(folder, row["name"])
        bits = Bits(pixels.shape[:2])
        bits.add("breast_lesion", _mask(folder / "masks" / f"{row['name']}.png"))
        held = int(row["name"].rsplit("_", 1)[1]) // 10 % 10 == 4
        kind = "" if row["finding"] == "normal" else row["finding"]
        yield Sample("breast_us", row["name"], pixels, bits.array, frozenset({"breast_lesion"}), kind, held)


def _polyps(root: Path) -> Iterator[Sample]:
    folder = root / "polyps"
    for row in _rows(folder):
        if row["split"] == "test":
            continue
        pixels = _picture(folder, row["name"])
        bits = Bits(pixels.shape[:2])
        bits.add("polyp", _mask(folder / "masks" / f"{row['name']}.png"))
        held = row["split"] == "validation"
        yield Sample("polyps", row["name"], pixels, bits.array, frozenset({"polyp"}), "", held)


def _split_lungs(mask_yx: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (right, left) lung where the mask has two parts side by side, as in a frontal film; else None."""
    from scipy import ndimage

    parts, count = ndimage.label(mask_yx)
    sizes = np.bincount(parts.ravel(), minlength=3)[1:]
    large = [i + 1 for i in range(count) if sizes[i] > 0.05 * mask_yx.sum()]
    if len(large) != 2:
        return None
    first, second = sorted(large, key=lambda k: float(ndimage.center_of_mass(parts == k)[1]))
    # The patient faces the reader: the patient's right lung is on the left of the film.
    return parts == first, parts == second


def _chest(root: Path) -> Iterator[Sample]:
    folder = root / "chest_xray"
    rows = [r for r in _rows(folder) if r["split"] == "train"]
    for position, row in enumerate(rows):
        pixels = _picture(folder, row["name"])
        lungs = _mask(folder / "masks" / f"{row['name']}.png")
        bits = Bits(pixels.shape[:2])
        bits.add("lungs", lungs)
        labelled = {"lungs"}
        sides = _split_lungs(lungs)
        if sides:
            bits.add("right_lung", sides[0])
            bits.add("left_lung", sides[1])
            labelled |= {"right_lung", "left_lung"}
        held = position // 8 % 10 == 7
        yield Sample("chest_xray", row["name"], pixels, bits.array, frozenset(labelled), "", held)


def _chest_structures(root: Path) -> Iterator[Sample]:
    folder = root / "chest_structures"
    for row in _rows(folder):
        pixels = _picture(folder, row["name"])
        bits = Bits(pixels.shape[:2])
        structures = row["structures"].split()
        for structure in structures:
            bits.add(structure, _mask(folder / "masks" / structure / f"{row['name']}.png"))
        yield Sample("chest_structures", row["name"], pixels, bits.array, frozenset(structures))


def _to_uint8(volume: np.ndarray) -> np.ndarray:
    low, high = np.percentile(volume[volume > 0], (0.5, 99.5))
    return (np.clip((volume - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _load_nifti(path: Path) -> Any:
    import nibabel

    # Any: nibabel's own types do not know `dataobj`.
    return nibabel.load(path)


def _lgg(root: Path, rng: np.random.Generator) -> Iterator[Sample]:
    folder = root / "volumes" / "lgg"
    patients = sorted(p.name.removesuffix("_tumor.nii.gz") for p in folder.glob("*_tumor.nii.gz"))[:-4]
    for patient in patients:
        mask = np.asarray(_load_nifti(folder / f"{patient}_tumor.nii.gz").dataobj).T > 0
        for modality in ("flair", "t1gd", "t1"):
            path = folder / f"{patient}_{modality}.nii.gz"
            if not path.exists():
                continue
            image = _to_uint8(np.asarray(_load_nifti(path).dataobj).T.astype(np.float32))
            visible = np.flatnonzero(mask.sum((1, 2)) > 30)
            empty = np.flatnonzero((mask.sum((1, 2)) == 0) & ((image > 20).mean((1, 2)) > 0.1))
            count = {"flair": 14, "t1gd": 7, "t1": 5}[modality]
            chosen = [*rng.permutation(visible)[:count], *rng.permutation(empty)[: count // 2]]
            for z in sorted(int(i) for i in chosen):
                bits = Bits(image.shape[1:])
                bits.add("brain_tumor", mask[z])
                kind = "glioma" if mask[z].any() else ""
                yield Sample("lgg", f"{patient}_{modality}_{z}", image[z], bits.array, frozenset({"brain_tumor"}), kind)


def _plane(array: np.ndarray, axis: int, index: int) -> np.ndarray:
    """A slice of an RAS array as it is shown: head or front up."""
    return np.ascontiguousarray(np.take(array, index, axis=axis).T[::-1])


def _hippocampus(root: Path, rng: np.random.Generator) -> Iterator[Sample]:
    folder = root / "volumes" / "hippocampus"
    names = sorted(p.name for p in (folder / "images").glob("*.nii.gz"))[:-40]
    for position, name in enumerate(names):
        image = _to_uint8(np.asarray(_load_nifti(folder / "images" / name).dataobj).astype(np.float32))
        labels = np.asarray(_load_nifti(folder / "labels" / name).dataobj)
        for axis in rng.permutation(3)[:2]:
            inside = np.flatnonzero((labels > 0).sum(tuple(a for a in range(3) if a != axis)) > 12)
            index = int(rng.choice(inside))
            pixels, plane = _plane(image, axis, index), _plane(labels, axis, index)
            if rng.random() < 0.5:  # napari shows a volume unturned: learn both ways of lying
                pixels, plane = np.ascontiguousarray(pixels[::-1]), np.ascontiguousarray(plane[::-1])
            bits = Bits(pixels.shape)
            bits.add("hippocampus", plane > 0)
            bits.add("anterior_hippocampus", plane == 1)
            bits.add("posterior_hippocampus", plane == 2)
            known = frozenset({"hippocampus", "anterior_hippocampus", "posterior_hippocampus", "brain_tumor"})
            yield Sample("hippocampus", f"{name}_{axis}_{index}", pixels, bits.array, known, "", position % 12 == 5)


def _cord(root: Path, rng: np.random.Generator) -> Iterator[Sample]:
    import nibabel

    folder = root / "volumes" / "spinal_cord"
    for contrast in ("t1", "t2"):
        source = nibabel.as_closest_canonical(_load_nifti(folder / f"{contrast}.nii.gz"))
        target = nibabel.as_closest_canonical(_load_nifti(folder / f"{contrast}_cord.nii.gz"))
        image = _to_uint8(np.asarray(source.dataobj).astype(np.float32))
        labels = np.asarray(target.dataobj) > 0
        for axis, count in ((2, 22), (0, 8), (1, 8)):
            inside = np.flatnonzero(labels.sum(tuple(a for a in range(3) if a != axis)) > 8)
            for index in sorted(rng.permutation(inside)[:count]):
                bits = Bits(_plane(image, axis, index).shape)
                bits.add("spinal_cord", _plane(labels, axis, index))
                known = frozenset({"spinal_cord", "brain_tumor"})
                yield Sample("spinal_cord", f"{contrast}_{axis}_{index}", _plane(image, axis, index), bits.array, known)


def _template(rng: np.random.Generator) -> Iterator[Sample]:
    """The MNI152 template with simulated lesions, and slices of it without: brains without a skull.

    The lesion of the demo, in the left frontal lobe, is not among them.
    """
    from napari_medclipsam.samples import sample_brain

    for case in range(10):
        center = (float(rng.uniform(12, 45)), float(rng.uniform(-70, 35)), float(rng.uniform(-10, 45)))
        if case % 3 == 2:
            center = (-center[0], min(center[1], -5.0), center[2])
        radius = float(rng.uniform(7, 18))
        volume, mask = sample_brain(center, radius, radius * float(rng.uniform(0.0, 0.7)))
        turned = volume.reoriented("LPS").array_zyx
        truth = replace(volume, array_zyx=mask.astype(np.uint8)).reoriented("LPS").array_zyx
        touched = np.flatnonzero(truth.sum((1, 2)) > 40)
        empty = np.flatnonzero((truth.sum((1, 2)) == 0) & ((turned > 0).mean((1, 2)) > 0.1))
        for z in sorted(int(i) for i in [*rng.permutation(touched)[:6], *rng.permutation(empty)[:3]]):
            bits = Bits((turned.shape[1], turned.shape[2]))
            bits.add("brain_tumor", truth[z])
            yield Sample("mni", f"{case}_{z}", np.array(turned[z]), bits.array, frozenset({"brain_tumor"}))


def collect(root: Path, seed: int) -> Iterator[Sample]:
    """Yield every training and validation picture of the data folder, in a fixed order.

    Parameters
    ----------
    root : pathlib.Path
        The data folder.
    seed : int
        Chooses the slices taken from volumes.
    """
    rng = np.random.default_rng(seed)
    yield from _brain(root)
    yield from _breast(root)
    yield from _polyps(root)
    yield from _chest(root)
    yield from _chest_structures(root)
    yield from _lgg(root, rng)
    yield from _hippocampus(root, rng)
    yield from _cord(root, rng)
    yield from _template(rng)
