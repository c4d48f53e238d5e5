from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.images import Volume, read_image, read_mask, write_mask

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
GRAY16 = GRAY.astype(np.uint16) * 200
RGB = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=-1)


def only_slice(path: Path) -> np.ndarray:
    volume = read_image(path)
    assert volume.affine is None and volume.spacing_zyx_mm is None and volume.slice_pixels(0).spacing_mm is None
    assert volume.n_slices() == 1
    return volume.array_zyx[0]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("pixels", [GRAY, GRAY16, RGB], ids=["gray", "gray16", "rgb"])
def test_lossless_pictures_are_exact(pixels: np.ndarray, suffix: str, tmp_path: Path) -> None:
    Image.fromarray(pixels).save(tmp_path / f"p{suffix}")
    assert np.array_equal(only_slice(tmp_path / f"p{suffix}"), pixels)


def test_content_counts_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "p.jpg", format="PNG")
    assert np.array_equal(only_slice(tmp_path / "p.jpg"), GRAY)


@pytest.mark.parametrize(("mode", "shape"), [("L", (6, 8)), ("RGB", (6, 8, 3)), ("CMYK", (6, 8, 3))])
def test_jpeg(mode: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    Image.fromarray(RGB).convert(mode).save(tmp_path / "p.jpg", quality=95)
    assert only_slice(tmp_path / "p.jpg").shape == shape


def test_transparency_is_laid_on_black(tmp_path: Path) -> None:
    alpha = np.full((6, 8, 1), 255, np.uint8)
    alpha[0] = 0
    expected = RGB.copy()
    expected[0] = 0
    Image.fromarray(np.concatenate([RGB, alpha], axis=-1)).save(tmp_path / "rgba.png")
    assert np.array_equal(only_slice(tmp_path / "rgba.png"), expected)
    tifffile.imwrite(tmp_path / "rgba.tif", np.concatenate([RGB, alpha], axis=-1), photometric="rgb")
    assert np.array_equal(only_slice(tmp_path / "rgba.tif"), expected)
    Image.fromarray(np.stack([GRAY, alpha[..., 0]], axis=-1), "LA").save(tmp_path / "la.png")
    assert np.array_equal(only_slice(tmp_path / "la.png"), expected[..., 0])


def test_palettes_become_gray_or_colour(tmp_path: Path) -> None:
    Image.fromarray(GRAY).convert("P").save(tmp_path / "gray.png")
    assert np.array_equal(only_slice(tmp_path / "gray.png"), GRAY)
    coloured = Image.fromarray(RGB).quantize(255)
    for name in ("colour.png", "colour.tif"):
        coloured.save(tmp_path / name)
        assert np.array_equal(only_slice(tmp_path / name), np.asarray(coloured.convert("RGB")))


def test_one_bit_pictures(tmp_path: Path) -> None:
    for name in ("one.png", "one.tif"):
        Image.fromarray(GRAY > 100).save(tmp_path / name)
        assert np.array_equal(only_slice(tmp_path / name), (GRAY > 100) * np.uint8(255))


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_rotation_tags_are_honoured(tag: int, suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(GRAY).save(tmp_path / f"turned{suffix}", exif=exif)
    turns = {1: GRAY, 2: GRAY[:, ::-1], 3: GRAY[::-1, ::-1], 4: GRAY[::-1], 5: GRAY.T, 6: np.rot90(GRAY, -1),
             7: GRAY[::-1, ::-1].T, 8: np.rot90(GRAY)}  # fmt: skip
    assert np.array_equal(only_slice(tmp_path / f"turned{suffix}"), turns[tag])


@pytest.mark.parametrize("compression", [None, "zlib", "tiff_lzw", "jpeg"])
def test_tiff_stacks(compression: str | None, tmp_path: Path) -> None:
    stack = np.stack([GRAY, GRAY[::-1], GRAY // 2])
    if compression in (None, "zlib"):
        tifffile.imwrite(tmp_path / "s.tif", stack, compression=compression, photometric="minisblack")
    else:
        pages = [Image.fromarray(page) for page in stack]
        pages[0].save(tmp_path / "s.tif", save_all=True, append_images=pages[1:], compression=compression)
    volume = read_image(tmp_path / "s.tif")
    assert volume.shape_zyx == (3, 6, 8)
    if compression != "jpeg":
        assert np.array_equal(volume.array_zyx, stack)


def test_rarer_tiffs(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "white.tif", GRAY, photometric="miniswhite")
    assert np.array_equal(only_slice(tmp_path / "white.tif"), 255 - GRAY)
    tifffile.imwrite(tmp_path / "deep.tif", RGB.astype(np.uint16) * 257, photometric="rgb")
    assert np.array_equal(only_slice(tmp_path / "deep.tif"), RGB)
    tifffile.imwrite(tmp_path / "planes.tif", RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    assert np.array_equal(only_slice(tmp_path / "planes.tif"), RGB)
    tifffile.imwrite(tmp_path / "colours.tif", np.stack([RGB, RGB]), photometric="rgb")
    assert read_image(tmp_path / "colours.tif").array_zyx.shape == (2, 6, 8, 3)
    tifffile.imwrite(tmp_path / "float.tif", GRAY.astype(np.float32) / 7, photometric="minisblack")
    assert only_slice(tmp_path / "float.tif").dtype == np.float32


def test_pages_of_different_shapes_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as tiff:
        tiff.write(GRAY)
        tiff.write(GRAY[:3])
    with pytest.raises(ImageError, match="separate files"):
        read_image(tmp_path / "mixed.tif")
    tifffile.imwrite(tmp_path / "five.tif", np.zeros((2, 3, 4, 6, 8), np.uint8), imagej=True)
    with pytest.raises(ImageError, match="one stack of pages"):
        read_image(tmp_path / "five.tif")


def png_bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes that announces side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def test_decompression_bombs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_bomb(40_000))
    with pytest.raises(ImageError, match="decompression bomb"):
        read_image(tmp_path / "bomb.png")
    tifffile.imwrite(tmp_path / "bomb.tif", GRAY, compression="zlib")
    with tifffile.TiffFile(tmp_path / "bomb.tif", mode="r+") as tiff:
        for name in ("ImageWidth", "ImageLength"):
            tiff.pages.first.tags[name].overwrite(40_000)
    with pytest.raises(ImageError, match="bomb"):
        read_image(tmp_path / "bomb.tif")


def test_options_of_other_formats_are_refused(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "p.png")
    with pytest.raises(ImageError, match="without a number"):
        read_image(tmp_path / "p.png", volume_index=1)
    with pytest.raises(ImageError, match="without one"):
        read_image(tmp_path / "p.png", series_uid="1")


@pytest.mark.parametrize("most", [1, 255, 256, 65535])
def test_png_and_tiff_masks_round_trip(most: int, tmp_path: Path) -> None:
    source = Volume(GRAY[None])
    mask = np.zeros((1, 6, 8), np.int64)
    mask[0, 2:4] = most
    for name in ("m.png", "m.tif"):
        write_mask(mask, source, tmp_path / name)
        back = read_mask(tmp_path / name, source)
        assert np.array_equal(back, mask) and back.dtype == (np.uint8 if most < 256 else np.uint16)


def test_stacks_need_a_format_that_holds_them(tmp_path: Path) -> None:
    source = Volume(np.stack([GRAY, GRAY]))
    mask = source.array_zyx > 100
    with pytest.raises(ImageError, match=r"one slice and this mask has 2\. Use \.tif"):
        write_mask(mask, source, tmp_path / "m.png")
    write_mask(mask, source, tmp_path / "m.tif")
    assert np.array_equal(read_mask(tmp_path / "m.tif", source), mask)


def test_palette_masks_are_indices_and_colour_is_refused(tmp_path: Path) -> None:
    labels = Image.fromarray((GRAY > 100).astype(np.uint8) * 2, "P")
    labels.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    labels.save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png")[0], (GRAY > 100) * 2)
    Image.fromarray(np.stack([GRAY] * 3, axis=-1)).save(tmp_path / "gray.png")
    assert np.array_equal(read_mask(tmp_path / "gray.png")[0], GRAY)
    Image.fromarray(RGB).save(tmp_path / "rgb.png")
    with pytest.raises(ImageError, match="in colour"):
        read_mask(tmp_path / "rgb.png")
    Image.fromarray(GRAY).save(tmp_path / "m.jpg")
    with pytest.raises(ImageError, match="JPEG, which blurs"):
        read_mask(tmp_path / "m.jpg")


def test_masks_of_another_shape_or_kind_are_refused(tmp_path: Path) -> None:
    source = Volume(GRAY[None])
    for name in ("m.png", "m.tif", "m.nii.gz"):
        with pytest.raises(GeometryError, match=r"\(1, 6, 7\).*\(1, 6, 8\)"):
            write_mask(np.zeros((1, 6, 7), bool), source, tmp_path / name)
    with pytest.raises(GeometryError, match=r"\(6, 8\)"):
        write_mask(np.zeros((6, 8), bool), source, tmp_path / "m.png")
    with pytest.raises(ImageError, match="Can't tell the format"):
        write_mask(np.zeros((1, 6, 8), bool), source, tmp_path / "m.jpg")
    for bad in (-1, 70_000, 0.5, np.nan):
        with pytest.raises(ImageError, match="whole numbers from 0 to 65535"):
            write_mask(np.full((1, 6, 8), bad), source, tmp_path / "m.png")
    assert not any(tmp_path.iterdir())
