"""A dataset folder for nnU-Net v2 (its documentation/dataset_format.md): images, consecutive labels, dataset.json."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from napari_medclipsam.errors import ImageError, OutputError
from napari_medclipsam.exchange.case import Case, safe_name
from napari_medclipsam.exchange.nifti_files import require_rectangular, write_image_nifti
from napari_medclipsam.files import atomic_folder
from napari_medclipsam.images.labels import as_labels
from napari_medclipsam.images.picture import read_mask_picture, read_picture, write_mask_png
from napari_medclipsam.images.volume import Volume


def export_nnunet(cases: Iterable[Case], folder: str | os.PathLike[str]) -> Path:
    """Write a training data set with imagesTr, labelsTr and dataset.json.

    Volumes become .nii.gz, one-slice pictures without geometry .png. Labels are numbered 1, 2, 3 … in the order of the
    classes' labels, as nnU-Net wants them, and named in dataset.json. Every file is read back before it counts.

    Parameters
    ----------
    cases : iterable of Case
        At least one; taken one at a time. All with the same class names and kind of image, one channel each.
    folder : path-like
        A new folder called DatasetNNN_NAME, such as nnUNet_raw/Dataset042_Liver.

    Raises
    ------
    ImageError
        If there is no case, or cases do not go together or have one name.
    GeometryError
        If classes overlap, or a volume has slanted axes.
    OutputError
        If the folder has another name, exists, can't be written, or reads back as anything else; nothing is then left
        of it.
    """
    folder = Path(folder)
    named = re.fullmatch(r"Dataset[0-9]{3}_([A-Za-z0-9_]+)", folder.name)
    if not named:
        raise OutputError(
            f"nnU-Net looks for folders called DatasetNNN_NAME, such as Dataset042_Liver; got {folder.name}. Choose "
            "such a name."
        )
    with atomic_folder(folder) as temporary:
        (temporary / "imagesTr").mkdir()
        (temporary / "labelsTr").mkdir()
        first: tuple[dict[str, str], dict[str, int], str] | None = None
        names: set[str] = set()
        for case in cases:
            described = _channels(case.source), _labels(case), _ending(case)
            first = first or described
            _require_alike(case, described, first, names)
            _write(case, temporary, described[2])
        if first is None:
            raise ImageError("There is no case to export. Accept at least one slice first.")
        channels, labels, ending = first
        description = {
            "channel_names": channels,
            "labels": labels,
            "numTraining": len(names),
            "file_ending": ending,
            "name": named[1],
            "description": "Labels drawn with napari-medclipsam",
        }
        (temporary / "dataset.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    return folder


def _channels(source: Volume) -> dict[str, str]:
    """Name the channels: nnU-Net normalises "CT" by Hounsfield units and everything else by its own mean."""
    if source.rgb:
        return {"0": "R", "1": "G", "2": "B"}
    return {"0": source.modality or "image"}


def _labels(case: Case) -> dict[str, int]:
    return {"background": 0, **{c.name: number for number, c in enumerate(case.classes, 1)}}


def _ending(case: Case) -> str:
    source = case.source
    if source.affine is not None:
        require_rectangular(source, "nnU-Net")
        return ".nii.gz"
    if source.shape_zyx[0] > 1:
        raise ImageError(
            f"{case.name} is a stack without geometry, which nnU-Net can't take. Convert it to NIfTI first."
        )
    return ".png"


def _require_alike(
    case: Case,
    described: tuple[dict[str, str], dict[str, int], str],
    first: tuple[dict[str, str], dict[str, int], str],
    names: set[str],
) -> None:
    for what, mine, others in zip(("channels", "classes", "file type"), described, first, strict=True):
        if mine != others:
            raise ImageError(
                f"{case.name} has other {what} than the first case: {_listed(mine)} and not {_listed(others)}. Export "
                "cases of one kind, with the same classes."
            )
    # Not all file systems tell upper from lower case.
    if case.name.casefold() in names:
        raise ImageError(f"Two cases are called {case.name}. Rename one of them.")
    names.add(case.name.casefold())


def _listed(values: object) -> str:
    return str(values) if not isinstance(values, dict) else ", ".join(f"{key} {value}" for key, value in values.items())


def _write(case: Case, folder: Path, ending: str) -> None:
    image_path = folder / "imagesTr" / f"{safe_name(case.name)}_0000{ending}"
    label_path = folder / "labelsTr" / f"{safe_name(case.name)}{ending}"
    lookup = np.zeros(max((c.label for c in case.classes), default=0) + 1, np.uint16)
    lookup[[c.label for c in case.classes]] = np.arange(1, len(case.classes) + 1)
    labels_zyx = as_labels(lookup[case.single_labels_zyx()])
    if ending == ".nii.gz":
        write_image_nifti(case.source, image_path)
        # With the very header fields of the image: nnU-Net compares them.
        write_image_nifti(Volume(labels_zyx, case.source.affine), label_path)
        return
    from PIL import Image

    plane = case.source.array_zyx[0]
    if plane.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{case.name} has {plane.dtype} pixels, which a PNG can't hold. Convert it to 8 or 16 bits.")
    Image.fromarray(plane).save(image_path)
    write_mask_png(labels_zyx, case.source, label_path)
    same_image = np.array_equal(read_picture(image_path).array_zyx[0], plane)
    if not same_image or not np.array_equal(read_mask_picture(label_path), labels_zyx):
        raise OutputError(f"{image_path.name} did not read back as it was written. Check the disk and try again.")
