"""Options that several verbs have in common."""

from __future__ import annotations

import argparse

from napari_medclipsam.cli.option_types import window
from napari_medclipsam.saliency.methods import DEFAULT_METHOD, METHODS


def add_loaded_models(p: argparse.ArgumentParser) -> None:
    """Offer the models that are loaded, and where."""
    p.add_argument(
        "--model",
        default="lite",
        metavar="NAME",
        help="a model that does both, or GROUNDER+SEGMENTER such as biomedclip+sam-vit-b (default: lite)",
    )
    p.add_argument(
        "--saliency-method",
        choices=tuple(METHODS),
        metavar="NAME",
        help=f"for CLIP models (default: {DEFAULT_METHOD}). "
        + " ".join(f"{name}: {info.line}" for name, info in METHODS.items()).replace("%", "%%"),
    )
    p.add_argument("--device", metavar="NAME", help="cuda, mps or cpu (default: the best there is)")


def add_model_options(p: argparse.ArgumentParser) -> None:
    """The same, and how a first mask is made."""
    add_loaded_models(p)
    p.add_argument(
        "--coarse",
        choices=("threshold", "otsu", "kmeans", "crf"),
        default="threshold",
        help="from saliency to a first mask: threshold for lite; otsu, kmeans or crf (dense CRF) for CLIP models",
    )


def add_reading(p: argparse.ArgumentParser) -> None:
    """Say how an image is read."""
    p.add_argument("--volume-index", type=int, metavar="N", help="which volume of a 4D file, from 0")
    p.add_argument("--series", metavar="UID", help="which series of a DICOM folder")
    p.add_argument(
        "--window",
        type=window,
        default="auto",
        metavar="NAME",
        help="intensity window: a CT preset such as lung or brain, percentile, or LOW,HIGH (default: auto)",
    )
    p.add_argument(
        "--axis", choices=("axial", "coronal", "sagittal"), help="plane to slice a volume in (default: as acquired)"
    )


def add_format(p: argparse.ArgumentParser) -> None:
    """Offer the formats of masks."""
    p.add_argument(
        "--format",
        required=True,
        choices=("nifti", "nifti-per-class", "dicom-seg", "nnunet", "coco", "csv"),
        help="csv: volumes and diameters",
    )
