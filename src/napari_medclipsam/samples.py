"""A brain to try things on, without a download: a real template with a simulated lesion.

The template is the MNI152 T1 average (ICBM 2009a nonlinear symmetric, © McConnell Brain Imaging Centre; free to use,
copy and distribute with that notice), which the nilearn wheel carries. The lesion is drawn, so its mask is known. It is
a sample for demos and tests: no accuracy figure comes from it.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_medclipsam.errors import ImageError
from napari_medclipsam.files import atomic_path
from napari_medclipsam.images.io import read_image
from napari_medclipsam.images.volume import Volume

SAMPLE_TEXT = "brain tumor"

_TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
_CENTER_MM = (-31.0, 36.0, 16.0)  # MNI coordinates (right, anterior, superior): left frontal lobe
_RADIUS_MM = 15.0
_CORE_MM = 8.0
_OEDEMA_MM = 9.0


def template_path() -> Path:
    """Return where the installed nilearn keeps the MNI152 T1 template.

    Raises
    ------
    ImageError
        If nilearn is not installed, or its wheel no longer carries the template.
    """
    # find_spec does not import nilearn, which takes a second.
    spec = find_spec("nilearn")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        if (path := Path(folder) / _TEMPLATE).is_file():
            return path
    raise ImageError(
        "The sample brain is part of nilearn 0.14, which is missing here; run: pip install 'nilearn==0.14.*'"
    )


def sample_brain(
    center_mm: tuple[float, float, float] = _CENTER_MM, radius_mm: float = _RADIUS_MM, core_mm: float = _CORE_MM
) -> tuple[Volume, np.ndarray]:
    """Return the sample brain and the mask of its lesion.

    The lesion looks like a ring-enhancing mass on T1 with contrast: about 28 mm across, a bright uneven rim around a
    dark core of about 16 mm, in a slightly dark oedema. The same arrays come back each time.

    Parameters
    ----------
    center_mm : tuple of float
        Of the lesion, MNI coordinates (right, anterior, superior).
    radius_mm, core_mm : float
        Of the lesion and of its dark core.

    Returns
    -------
    volume : Volume
        T1-like, uint8, 1 mm.
    lesion_mask_zyx : numpy.ndarray
        bool, on the grid of the volume.
    """
    volume = read_image(template_path())
    # White matter of the template is nearly white; with contrast agent in the vessels of a tumour it is middle gray.
    image = np.asarray(volume.array_zyx, np.float32) * 0.6
    is_brain = volume.array_zyx > 0
    mask = np.zeros(image.shape, bool)
    box, depth = _about_the_lesion(volume, center_mm, radius_mm)
    inside = ndimage.gaussian_filter(is_brain[box].astype(np.float32), 1.0)
    # A smooth wobble of the distance makes the outline lobed, as grown lesions are, not a ball.
    depth = depth + 2.5 * _texture(depth.shape, smooth=7.0)
    noise = _texture(depth.shape)
    oedema = _soft(depth, radius_mm + _OEDEMA_MM, 2.0) * inside
    tumour = _soft(depth, radius_mm, 0.7) * inside
    core = _soft(depth, core_mm, 1.0)
    mass = (225 + 16 * noise) * (1 - core) + (55 + 8 * noise) * core
    swollen = image[box] * (1 - 0.3 * oedema)
    image[box] = swollen * (1 - tumour) + mass * tumour
    mask[box] = (depth < radius_mm) & is_brain[box]
    return replace(volume, array_zyx=np.rint(np.clip(image, 0, 255)).astype(np.uint8)), mask


def write_volume(volume: Volume, path: Path) -> None:
    """Write a volume with known geometry as NIfTI, all or nothing."""
    import nibabel

    with atomic_path(path) as temporary:
        nibabel.save(nibabel.Nifti1Image(volume.array_zyx.T, volume.affine), temporary)


def _about_the_lesion(
    volume: Volume, center_mm: tuple[float, float, float], radius_mm: float
) -> tuple[tuple[slice, slice, slice], np.ndarray]:
    """Return a box around the lesion, and in it each voxel's distance from the lesion's centre in mm."""
    assert volume.affine is not None and volume.spacing_zyx_mm is not None  # the template is NIfTI
    affine, spacing = volume.affine, volume.spacing_zyx_mm
    center_zyx = np.linalg.solve(affine[:3, :3], np.asarray(center_mm) - affine[:3, 3])[::-1]
    reach_mm = radius_mm + _OEDEMA_MM + 15
    starts = [max(0, int(c - reach_mm / mm)) for c, mm in zip(center_zyx, spacing, strict=True)]
    stops = [min(n, int(c + reach_mm / mm)) for c, mm, n in zip(center_zyx, spacing, volume.shape_zyx, strict=True)]
    steps = np.ogrid[tuple(slice(start, stop) for start, stop in zip(starts, stops, strict=True))]
    squares = [((step - c) * mm) ** 2 for step, c, mm in zip(steps, center_zyx, spacing, strict=True)]
    z, y, x = (slice(start, stop) for start, stop in zip(starts, stops, strict=True))
    return (z, y, x), np.sqrt(squares[0] + squares[1] + squares[2]).astype(np.float32)


def _texture(shape: tuple[int, ...], smooth: float = 1.5) -> np.ndarray:
    """Return smooth noise with mean 0 and standard deviation 1."""
    field = ndimage.gaussian_filter(np.random.default_rng(152).standard_normal(shape).astype(np.float32), smooth)
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def _soft(depth: np.ndarray, radius: float, width: float) -> np.ndarray:
    """Return 1 inside `radius`, 0 outside, with an edge about `width` mm wide."""
    return np.asarray(1 / (1 + np.exp(np.clip((depth - radius) / (width / 2), -30, 30))), np.float32)
