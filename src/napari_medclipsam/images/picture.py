"""PNG, JPEG and TIFF in; PNG and TIFF masks out. Pictures have no geometry: spacing stays unknown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.errors import ImageError
from napari_medclipsam.files import atomic_path
from napari_medclipsam.images.guard import reading, require_content, require_plane
from napari_medclipsam.images.labels import as_labels
from napari_medclipsam.images.volume import Volume

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: More than any TIFF compression reaches on real pixels; guards memory, not correctness.
_MAX_TIFF_RATIO = 4000


def read_picture(path: str | os.PathLike[str]) -> Volume:
    """Read a PNG, JPEG or TIFF file as a volume without geometry.

    8-bit pictures keep their values, 16-bit gray stays uint16, 16-bit colour is cut to 8 bits; transparency is laid on
    black; palettes become gray or RGB; EXIF rotation is applied; the pages of a TIFF become slices.

    Raises
    ------
    ImageError
        If the file is damaged, of another kind, or unreasonably large.
    """
    path = Path(path)
    size = require_content(path)
    with reading(path, "picture"):
        with open(path, "rb") as file:
            tiff = file.read(4) in _TIFF_MAGIC
        return Volume(_read_tiff(path, size) if tiff else _read_with_pillow(path))


def _read_with_pillow(path: Path) -> np.ndarray:
    from PIL import ImageOps, ImageSequence

    with _opened(path, "PNG", "JPEG", "TIFF") as picture:
        pages = ImageSequence.Iterator(picture) if picture.format == "TIFF" else [picture]
        planes = [_plane(ImageOps.exif_transpose(page)) for page in pages]
    return _stacked(path, planes)


def _opened(path: Path, *formats: str) -> Any:
    """Open a picture with Pillow, which refuses what would not fit in memory (a decompression bomb)."""
    from PIL import Image

    try:
        return Image.open(path, formats=formats)
    except Image.DecompressionBombError:
        raise ImageError(
            f"{path} says it has more pixels than any picture should: it is damaged or a decompression bomb. "
            "Get it again, or crop it if it is real."
        ) from None


def _plane(picture: Any) -> np.ndarray:
    """Return one Pillow image as gray (y, x) or RGB (y, x, 3)."""
    from PIL import Image

    if picture.mode == "P" and "transparency" not in picture.info:
        colours = np.asarray(picture.convert("RGB"))
        return colours[..., 0].copy() if _is_gray(colours) else colours
    if picture.mode in ("LA", "La", "RGBA", "RGBa", "PA", "P"):
        gray = picture.mode in ("LA", "La")
        over = picture.convert("RGBA")
        colours = np.asarray(Image.alpha_composite(Image.new("RGBA", over.size, "black"), over).convert("RGB"))
        return colours[..., 0].copy() if gray else colours
    if picture.mode in ("L", "RGB", "F", "I") or picture.mode.startswith("I;16"):
        return np.asarray(picture)
    return np.asarray(picture.convert("L" if picture.mode == "1" else "RGB"))


def _is_gray(colours: np.ndarray) -> bool:
    return bool((colours[..., :1] == colours).all())


def _stacked(path: Path, planes: list[np.ndarray]) -> np.ndarray:
    shapes = {plane.shape for plane in planes}
    if len(shapes) != 1:
        raise ImageError(
            f"The pages of {path} have {len(shapes)} different shapes, expected one. Save the pages as separate files."
        )
    return np.stack(planes)


def _read_tiff(path: Path, size_bytes: int) -> np.ndarray:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        require_plane(path, page.imagelength, page.imagewidth)
        if len(tiff.series) != 1:
            raise ImageError(
                f"{path} holds {len(tiff.series)} sets of pages of different shapes, expected one. "
                "Save the pages as separate files."
            )
        series = tiff.series[0]
        if series.nbytes > size_bytes * (1 if page.compression == 1 else _MAX_TIFF_RATIO):
            raise ImageError(f"{path} is incomplete: it announces more pixels than it holds. Get it again.")
        try:
            pixels, axes = series.asarray(), series.axes
        except ValueError as error:
            # tifffile leaves the rarer compressions to a large optional package; Pillow has the usual ones built in.
            if "imagecodecs" not in str(error):
                raise
            return _read_with_pillow(path)
        rotation = page.tags.get("Orientation")
        planes = _tiff_planes(path, pixels, axes, page)
        return np.stack([_rotated(plane, int(rotation.value) if rotation else 1) for plane in planes])


def _tiff_planes(path: Path, pixels: np.ndarray, axes: str, page: Any) -> np.ndarray:
    """Return TIFF pixels as (page, y, x) or (page, y, x, 3), as they are meant to look."""
    if "S" in axes:
        pixels = np.moveaxis(pixels, axes.index("S"), -1)
        axes = axes.replace("S", "") + "S"
    page_axes = axes.removesuffix("S")
    if len(page_axes) not in (2, 3) or not page_axes.endswith("YX"):
        raise ImageError(f"{path} has the axes {axes} {pixels.shape}; expected one stack of pages. Split it first.")
    if len(page_axes) == 2:
        pixels = pixels[None]
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    kind = page.photometric.name if hasattr(page.photometric, "name") else ""
    if kind == "PALETTE" and page.colormap is not None:
        pixels = (page.colormap[:, pixels] >> 8).astype(np.uint8).transpose(1, 2, 3, 0)
        return pixels[..., 0] if _is_gray(pixels) else pixels
    if kind == "MINISWHITE" and pixels.dtype.kind == "u":
        pixels = np.iinfo(pixels.dtype).max - pixels
    return _without_alpha(pixels) if "S" in axes else pixels


def _without_alpha(pixels: np.ndarray) -> np.ndarray:
    """Lay the alpha channel, if any, on black, and cut 16-bit colour to 8 bits."""
    if pixels.shape[-1] in (2, 4):
        most = np.iinfo(pixels.dtype).max
        alpha = pixels[..., -1:].astype(np.float64) / most
        pixels = np.rint(pixels[..., :-1] * alpha).astype(pixels.dtype)
    if pixels.shape[-1] == 1:
        return pixels[..., 0]
    return (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def _rotated(plane: np.ndarray, tag: int) -> np.ndarray:
    """Undo the rotation that the TIFF/EXIF orientation tag (1 to 8) announces."""
    if tag in (5, 6, 7, 8):
        plane = plane.swapaxes(0, 1)
    if tag in (3, 4, 7, 8):
        plane = plane[::-1]
    if tag in (2, 3, 6, 7):
        plane = plane[:, ::-1]
    return plane


def read_mask_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a PNG or TIFF label mask, (z, y, x) uint8 or uint16; the indices of a palette PNG are the labels.

    Raises
    ------
    ImageError
        If it is a JPEG (lossy), is in colour, or can't be read.
    """
    path = Path(path)
    require_content(path)
    with reading(path, "mask picture"):
        with open(path, "rb") as file:
            start = file.read(8)
        if start[:3] == b"\xff\xd8\xff":
            raise ImageError(f"{path} is a JPEG, which blurs labels. Save the mask as PNG and open that.")
        if start[:4] == b"\x89PNG":
            with _opened(path, "PNG") as picture:
                if picture.mode == "P":
                    return as_labels(np.asarray(picture)[None])
        array = read_picture(path).array_zyx
        if array.ndim == 4:
            if not _is_gray(array):
                raise ImageError(f"{path} is in colour; expected one number per pixel. Save the mask as gray PNG.")
            array = array[..., 0]
        return as_labels(array)


def write_mask_png(mask_zyx: np.ndarray, source: Volume, path: str | os.PathLike[str]) -> None:
    """Write the mask of a one-slice image as gray PNG, 8 bits or 16 when a label is above 255; all or nothing.

    Raises
    ------
    GeometryError
        If the shape is not the source's.
    ImageError
        If the source has several slices.
    OutputError
        If the file can't be written.
    """
    from PIL import Image

    source.require_mask_shape(mask_zyx)
    if len(mask_zyx) != 1:
        raise ImageError(
            f"Can't write {path}: a PNG holds one slice and this mask has {len(mask_zyx)}. "
            f"Use {'.nii.gz' if source.affine is not None else '.tif'} instead."
        )
    picture = Image.fromarray(as_labels(mask_zyx)[0])
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def write_mask_tiff(mask_zyx: np.ndarray, source: Volume, path: str | os.PathLike[str]) -> None:
    """Write a mask as deflated TIFF, one page per slice, for stacks without geometry; all or nothing.

    Raises
    ------
    GeometryError
        If the shape is not the source's.
    OutputError
        If the file can't be written.
    """
    import tifffile

    source.require_mask_shape(mask_zyx)
    labels = as_labels(mask_zyx)
    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, labels, photometric="minisblack", compression="zlib", metadata={"axes": "ZYX"})
