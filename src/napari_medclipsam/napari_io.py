"""Files to napari layers and back: the readers, writers and sample data of the manifest. No Qt here."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.errors import GeometryError, ImageError, MedclipsamError, OutputError
from napari_medclipsam.images.dicom_series import list_series
from napari_medclipsam.images.folders import Found, list_studies
from napari_medclipsam.images.io import VOLUMES, kind_of, read_image, write_mask
from napari_medclipsam.images.labels import as_labels
from napari_medclipsam.images.nifti import read_nifti_frames
from napari_medclipsam.images.volume import Volume
from napari_medclipsam.public_samples import PublicSample, require
from napari_medclipsam.reading_view import ReadingView, reading_view
from napari_medclipsam.samples import sample_brain

LayerData = tuple[Any, dict[str, Any], str]
METADATA_KEY = "medclipsam"

_MOST_OPENED = 12

# What a reader function returns when there is nothing to add: napari then adds no layer and raises nothing.
_NOTHING: list[tuple[None]] = [(None,)]


@dataclass(frozen=True, eq=False)
class LayerSource:
    """Where the voxels of a layer come from; kept in its metadata so that masks go back to the very same grid.

    Parameters
    ----------
    views : tuple of ReadingView
        One per volume: several for a 4D image, whose first axis counts them.
    flat : bool
        True for a picture, which is shown without its slice axis of length one.
    """

    views: tuple[ReadingView, ...]
    flat: bool = False

    @property
    def codes_zyx(self) -> tuple[str, str, str] | None:
        """Where the last three axes of the layer grow to in the patient; None where that is not known."""
        codes = self.views[0].turned.axis_codes
        return None if codes is None else (codes[2], codes[1], codes[0])

    def stored_masks(self, mask: np.ndarray) -> list[tuple[Volume, np.ndarray]]:
        """Return a mask on the layer's grid as (image, mask) per volume, on the grids of the files.

        Raises
        ------
        GeometryError
            If the mask has another shape than the layer had.
        """
        expected = self.views[0].turned.shape_zyx
        masks = [mask[None]] if self.flat else [mask] if len(self.views) == 1 else list(mask)
        if len(masks) != len(self.views) or any(m.shape != expected for m in masks):
            raise GeometryError(
                f"The mask has shape {mask.shape} but its image has {expected}. Make the mask on this very image."
            )
        return [(view.stored, view.to_stored(m)) for view, m in zip(self.views, masks, strict=True)]


def image_layer(volumes: Sequence[Volume], name: str) -> LayerData:
    """Return an image as napari layer data, turned the way it is read.

    Parameters
    ----------
    volumes : sequence of Volume
        One, or the volumes of a 4D image on one grid.
    name : str
        Of the layer.
    """
    return view_layer(tuple(reading_view(volume) for volume in volumes), name)


def view_layer(views: tuple[ReadingView, ...], name: str) -> LayerData:
    """Return an image as `image_layer`, on the grid that it was turned to before."""
    turned = views[0].turned
    flat = turned.affine is None and turned.shape_zyx[0] == 1
    arrays = [view.turned.array_zyx[0] if flat else view.turned.array_zyx for view in views]
    array = arrays[0] if len(arrays) == 1 else np.stack(arrays)
    # Said outright: napari takes any stack whose last axis is 3 for colour.
    shown: dict[str, Any] = {"name": name, "rgb": turned.rgb, "metadata": {METADATA_KEY: LayerSource(views, flat)}}
    if not turned.rgb:
        shown["contrast_limits"] = _limits(views[0].stored)
    return array, shown | _place(turned, flat, array.ndim - int(turned.rgb)), "image"


def _limits(volume: Volume) -> tuple[float, float]:
    try:
        return volume.intensity_limits("auto")
    except MedclipsamError:
        # All voxels are equal: nothing to see, but no reason not to open it.
        low = float(volume.array_zyx.flat[0])
        return (low, low + 1)


def _place(turned: Volume, flat: bool, n_axes: int) -> dict[str, Any]:
    """Return scale, translation, units and names of the axes, in mm along them; nothing where that is not known."""
    if turned.affine is None or turned.spacing_zyx_mm is None or turned.axis_codes is None:
        spacing = turned.pixel_spacing_yx_mm
        return {"scale": spacing, "units": ("mm", "mm")} if flat and spacing else {}
    # An axis that grows to the left has the coordinate "mm to the left", so that series of one patient and one
    # orientation lie over each other.
    origin_ras = dict(zip("RAS", turned.affine[:3, 3], strict=True))
    opposite = {"L": "R", "P": "A", "I": "S"}
    translate = [
        float(origin_ras[code] if code in origin_ras else -origin_ras[opposite[code]])
        for code in reversed(turned.axis_codes)
    ]
    frames = n_axes - 3
    return {
        "scale": (*[1.0] * frames, *turned.spacing_zyx_mm),
        "translate": (*[0.0] * frames, *translate),
        "units": (*["pixel"] * frames, "mm", "mm", "mm"),
        # What the sliders are called.
        "axis_labels": (*["time"] * frames, "slice", "y", "x"),
    }


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Any]] | None:
    """Return a function that reads `path` to layer data, or None where it can't be read here."""
    if not isinstance(path, (str, os.PathLike)):
        return None
    try:
        kind_of(path)
    except MedclipsamError:
        return None
    return read_layers


def read_layers(path: str | Sequence[str]) -> list[Any]:
    """Read a file, or all images of a folder, to layers; what can't be read is said in a notification of napari."""
    assert isinstance(path, (str, os.PathLike))  # `get_reader` takes nothing else
    layers: list[Any] = []
    try:
        found = _named_studies(Path(path))
    except MedclipsamError as error:
        _tell(str(error), is_error=True)
        return _NOTHING
    for name, study in found:
        try:
            volumes = _volumes(study)
        except MedclipsamError as error:
            _tell(str(error), is_error=True)
            continue
        layers.append(image_layer(volumes, name))
        for note in volumes[0].notes:
            _tell(note)
    return layers or _NOTHING


def _named_studies(path: Path) -> list[tuple[str, Found]]:
    """Return what a file or folder holds, with a name for each layer."""
    listing = list_studies(path)
    if len(listing.studies) > _MOST_OPENED:
        raise ImageError(
            f"{path} holds {len(listing.studies)} images, more than the {_MOST_OPENED} that are opened at once. Drop "
            "the folder on the page Project of the dock to label them one by one, or open the ones that you want."
        )
    if listing.note:
        _tell(listing.note)
    names: list[tuple[str, Found]] = []
    for study in listing.studies:
        name = study.path.name
        if study.series_uid is not None and sum(other.path == study.path for other in listing.studies) > 1:
            series = list_series(study.path)
            number, chosen = next((n, s) for n, s in enumerate(series, start=1) if s.uid == study.series_uid)
            name = f"{name} {chosen.description or chosen.number or number}"
        elif not study.path.is_dir():
            name = name.removesuffix(".gz").removesuffix(".nii") if name.endswith(VOLUMES) else study.path.stem
        names.append((name, study))
    return names


def _volumes(study: Found) -> Sequence[Volume]:
    if kind_of(study.path) == "nifti":
        return read_nifti_frames(study.path)
    return [read_image(study.path, series_uid=study.series_uid)]


def _tell(message: str, *, is_error: bool = False) -> None:
    from napari.utils.notifications import show_error, show_info

    (show_error if is_error else show_info)(message)


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a labels layer on the grid of the image it was made on.

    Parameters
    ----------
    path : str
        .nii, .nii.gz, .png or .tif; the masks of a 4D image get numbered names.
    data : array
        The labels.
    meta : dict
        Of the layer; its metadata hold the `LayerSource`.

    Raises
    ------
    MedclipsamError
        If it can't be written: see `images.io.write_mask`.
    """
    labels = as_labels(np.asarray(data))
    source = meta.get("metadata", {}).get(METADATA_KEY)
    if isinstance(source, LayerSource):
        parts = source.stored_masks(labels)
    elif labels.ndim in (2, 3):
        # A layer from elsewhere has no geometry that could be trusted: pictures can be written, NIfTI is refused.
        stack = labels if labels.ndim == 3 else labels[None]
        parts = [(Volume(np.zeros_like(stack)), stack)]
    else:
        raise OutputError(
            f"A mask of {labels.ndim} axes from another program can't be written here. Save it with napari as .tif."
        )
    paths = [path] if len(parts) == 1 else [_numbered(path, n) for n in range(len(parts))]
    for target, (volume, mask_zyx) in zip(paths, parts, strict=True):
        write_mask(mask_zyx, volume, target)
    return paths


def _numbered(path: str, number: int) -> str:
    name = Path(path).name
    stem, dot, suffix = name.partition(".")
    return str(Path(path).with_name(f"{stem}_{number:03d}{dot}{suffix}"))


def sample_layers() -> list[LayerData]:
    """Return the sample brain and its lesion as napari layer data, for File > Open Sample."""
    volume, mask_zyx = sample_brain()
    array, shown, kind = image_layer([volume], "T1 sample brain")
    view = shown["metadata"][METADATA_KEY].views[0]
    place = {key: shown[key] for key in ("scale", "translate", "units", "axis_labels", "metadata")}
    lesion = replace(volume, array_zyx=mask_zyx.astype(np.uint8))
    return [
        (array, shown, kind),
        (view.to_turned(lesion.array_zyx), {"name": "simulated lesion", "visible": False, **place}, "labels"),
    ]


def public_sample_layers(sample: PublicSample) -> list[LayerData]:
    """Return a public sample that is on this machine as napari layer data: the image, and the mask, hidden.

    Raises
    ------
    MedclipsamError
        If it has not been downloaded, or can't be read.
    """
    image, mask = (read_image(path) for path in require(sample))
    array, shown, _ = image_layer([mask], "given mask")
    placed = {key: value for key, value in shown.items() if key not in ("rgb", "contrast_limits")}
    return [image_layer([image], sample.title), (as_labels(array), placed | {"visible": False}, "labels")]
