"""Small images in any orientation, as NIfTI-like volumes and as DICOM series, and masks for them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from images.dicom_samples import make_slice
from napari_medclipsam.exchange.case import Case, LabelClass
from napari_medclipsam.images.volume import Volume

TOWARDS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
ALL_ORIENTATIONS = [
    "".join(codes) for order in itertools.permutations(("LR", "PA", "IS")) for codes in itertools.product(*order)
]
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
CLASSES = (LabelClass(2, "Left lung", "#56B4E9"), LabelClass(5, "Läsion / 病変", "#E69F00"), LabelClass(9, "Heart"))


def affine_for(codes: str, spacing: tuple[float, float, float] = (1.5, 2.0, 3.0)) -> np.ndarray:
    """An affine whose (i, j, k) grow towards `codes`."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([TOWARDS[code] for code in codes]).T * spacing
    affine[:3, 3] = (11.25, -12.5, 13.75)
    return affine


def labels(shape_zyx: tuple[int, int, int] = (4, 6, 5), seed: int = 0) -> np.ndarray:
    """Labels 0, 2 and 5 with no symmetry; 9 stays empty."""
    return np.random.default_rng(seed).choice([0, 2, 5], shape_zyx).astype(np.uint8)


def case_of(source: Volume, **changes: Any) -> Case:
    """The case of `labels` on an image."""
    return Case("case one", source, changes.pop("labels_zyx", labels(source.shape_zyx)), CLASSES, **changes)


def overlapping_case(source: Volume) -> Case:
    """Three classes of which two share voxels and one is empty."""
    rng = np.random.default_rng(1)
    one, two = (rng.random(source.shape_zyx) < 0.4 for _ in range(2))
    nothing = np.zeros(source.shape_zyx, np.uint8)
    return Case("overlaps", source, nothing, CLASSES, {2: one, 5: two})


def volume(affine: np.ndarray, shape_zyx: tuple[int, int, int] = (4, 6, 5)) -> Volume:
    """An image with all voxels different."""
    return Volume(np.arange(np.prod(shape_zyx), dtype=np.int16).reshape(shape_zyx), affine, modality="CT")


def write_series(folder: Path, affine: np.ndarray, n_slices: int = 4, backwards: bool = False, **changes: Any) -> Path:
    """A CT series of 6 x 5 pixels on a grid of affine (i, j, k) to RAS mm; `backwards` numbers files the other way."""
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(n_slices):
        number = n_slices - 1 - k if backwards else k
        ds = make_slice(
            number,
            ImagePositionPatient=[float(f"{v:.8g}") for v in (lps @ [0, 0, k, 1])[:3]],
            ImageOrientationPatient=[float(f"{v:.10g}") for v in (lps[:3, :2] / spacing[:2]).T.ravel()],
            PixelSpacing=[float(spacing[1]), float(spacing[0])],
            SliceThickness=float(spacing[2]),
            **changes,
        )
        ds.save_as(folder / f"IM{number:04d}.dcm", enforce_file_format=True)
    return folder
