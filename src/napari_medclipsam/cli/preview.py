"""Pictures of a result, drawn with Pillow alone: no display, no Qt."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from napari_medclipsam.files import atomic_path
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.results import SliceResult, StructureResult
from napari_medclipsam.saliency.overlay import overlaid

# Okabe and Ito's palette, told apart with every common colour blindness, in the order of contrast on gray.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0), (0, 114, 178))

_PANEL_PX = 512
_SMALL_PX, _SHEET_COLUMNS = 320, 3
_MARGIN_PX = 12
_LINE_PX = 26
_FONT_PX = 18
_BACKGROUND, _INK = (24, 24, 24), (240, 240, 240)
_DASHES = str.maketrans({"–": "-", "—": "-", "−": "-"})


def render_preview(
    image: Slice, result: SliceResult, caption: str, sides: tuple[str, str] = ("", ""), caution: str = ""
) -> Image.Image:
    """Return the image with masks and boxes, its saliency beside it, and what was found written above.

    Parameters
    ----------
    image : Slice
        What the model saw.
    result : SliceResult
        Of that slice.
    caption : str
        First line.
    sides : tuple of str
        Letters for the left and the right edge, see `ReadingView.sides`.
    caution : str
        What the answer can't be taken for; a line below the answers.
    """
    left, right = draw_mask(image, result, boxes=True), draw_saliency(image, result.saliency_yx)
    for panel in (left, right):
        _write_sides(panel, sides)
    lines = [_drawable(line) for line in (caption, *(_legend(s) for s in result.structures))]
    colours = [_INK, *(colour_of(s.label) for s in result.structures)]
    if caution:
        lines, colours = [*lines, caution], [*colours, _INK]
    header = _LINE_PX * len(lines) + _MARGIN_PX
    width = left.width + right.width + 3 * _MARGIN_PX
    font = _font()
    # A narrow image must not cut the words.
    width = max(width, *(int(font.getlength(line)) + 2 * _MARGIN_PX for line in lines))
    sheet = Image.new("RGB", (width, header + left.height + _MARGIN_PX + _LINE_PX), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for row, (line, colour) in enumerate(zip(lines, colours, strict=True)):
        draw.text((_MARGIN_PX, _MARGIN_PX // 2 + row * _LINE_PX), line, fill=colour, font=font)
    second = left.width + 2 * _MARGIN_PX
    sheet.paste(left, (_MARGIN_PX, header))
    sheet.paste(right, (second, header))
    below = header + left.height + 2
    draw.text((_MARGIN_PX, below), "mask and box", fill=_INK, font=font)
    draw.text((second, below), "saliency: dark 0, yellow 1", fill=_INK, font=font)
    return sheet


def render_comparison(
    image: Slice, maps: Sequence[np.ndarray], captions: Sequence[str], title: str, sides: tuple[str, str] = ("", "")
) -> Image.Image:
    """Return a sheet of maps of one slice, each over its own lines.

    Parameters
    ----------
    image : Slice
        The slice.
    maps : sequence of numpy.ndarray
        float in [0, 1] at image size.
    captions : sequence of str
        Of each; a line of its own after each line break.
    title : str
        First line of the sheet.
    sides : tuple of str
        As for `render_preview`.
    """
    panels = [draw_saliency(image, values_yx, _SMALL_PX) for values_yx in maps]
    for panel in panels:
        _write_sides(panel, sides)
    title, captions = _drawable(title), [_drawable(caption) for caption in captions]
    n_columns, font = min(_SHEET_COLUMNS, len(panels)), _font()
    n_lines = max(caption.count("\n") + 1 for caption in captions)
    words = max(font.getlength(line) for caption in captions for line in caption.splitlines())
    cell = max(panels[0].width, int(words)) + _MARGIN_PX, panels[0].height + n_lines * _LINE_PX + _MARGIN_PX
    size = n_columns * cell[0] + _MARGIN_PX, -(-len(panels) // n_columns) * cell[1] + _LINE_PX + 2 * _MARGIN_PX
    sheet = Image.new("RGB", (max(size[0], int(font.getlength(title)) + 2 * _MARGIN_PX), size[1]), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN_PX, _MARGIN_PX // 2), title, fill=_INK, font=font)
    for place, (panel, caption) in enumerate(zip(panels, captions, strict=True)):
        x = place % n_columns * cell[0] + _MARGIN_PX
        y = place // n_columns * cell[1] + _LINE_PX + _MARGIN_PX
        sheet.paste(panel, (x, y))
        for row, line in enumerate(caption.splitlines()):
            draw.text((x, y + panel.height + row * _LINE_PX), line, fill=_INK, font=font)
    return sheet


def draw_image(image: Slice) -> Image.Image:
    """Return a slice as RGB, enlarged to a fixed size with square millimetres."""
    pixels = image.pixels if image.pixels.ndim == 3 else np.repeat(image.pixels[..., None], 3, axis=2)
    return Image.fromarray(pixels).resize(image.drawn_size_xy(_PANEL_PX), Image.Resampling.BICUBIC)


def draw_mask(image: Slice, result: SliceResult, boxes: bool = False) -> Image.Image:
    """Return the slice with each structure tinted and outlined, and on request its boxes."""
    canvas = np.asarray(draw_image(image), np.float32)
    labels = np.asarray(
        Image.fromarray(result.label_yx).resize(image.drawn_size_xy(_PANEL_PX), Image.Resampling.NEAREST)
    )
    for structure in result.structures:
        mask = labels == structure.label
        colour = np.asarray(colour_of(structure.label), np.float32)
        canvas[mask] = 0.7 * canvas[mask] + 0.3 * colour
        canvas[mask & ~ndimage.binary_erosion(mask, iterations=2)] = colour
    picture = Image.fromarray(canvas.astype(np.uint8))
    return _with_prompts(picture, image, result, points=False) if boxes else picture


def draw_saliency(image: Slice, values_yx: np.ndarray, longest_px: int = _PANEL_PX) -> Image.Image:
    """Return a saliency map in colour over its slice."""
    size_xy = image.drawn_size_xy(longest_px)
    return Image.fromarray(overlaid(image, values_yx)).resize(size_xy, Image.Resampling.BICUBIC)


def draw_prompts(image: Slice, result: SliceResult) -> Image.Image:
    """Return the slice with the boxes and points that the segmenter was given."""
    return _with_prompts(draw_image(image), image, result, points=True)


def colour_of(label: int) -> tuple[int, int, int]:
    """Return the colour of a label; they repeat after seven."""
    return COLOURS[(label - 1) % len(COLOURS)]


def write_png(picture: Image.Image, path: Path) -> None:
    """Write a picture, all or nothing.

    Raises
    ------
    OutputError
        If it can't be written.
    """
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def _with_prompts(picture: Image.Image, image: Slice, result: SliceResult, points: bool) -> Image.Image:
    height, width = image.shape_yx
    scale = np.array([picture.width / width, picture.height / height])
    draw = ImageDraw.Draw(picture)
    for structure in result.structures:
        colour = colour_of(structure.label)
        for box in structure.boxes_xyxy if structure.present else ():
            # Pixel centres are whole numbers: a box reaches half a pixel beyond them.
            corners = (np.asarray(box).reshape(2, 2) + [[-0.5, -0.5], [0.5, 0.5]] + 0.5) * scale
            draw.rectangle(corners.ravel().tolist(), outline=(0, 0, 0), width=4)
            draw.rectangle(corners.ravel().tolist(), outline=colour, width=2)
        for x, y in ((structure.points_xy + 0.5) * scale).tolist() if points and structure.present else ():
            draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=colour, outline=(0, 0, 0), width=2)
    return picture


def _write_sides(picture: Image.Image, sides: tuple[str, str]) -> None:
    """Say at the edges which side of the patient they are."""
    draw, middle = ImageDraw.Draw(picture), picture.height / 2
    for letter, x, anchor in ((sides[0], 6, "lm"), (sides[1], picture.width - 6, "rm")):
        draw.text((x, middle), letter, fill=_INK, font=_font(), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _legend(structure: StructureResult) -> str:
    if not structure.known:
        return f"{structure.text}: not known"
    state = "present" if structure.present else "not present"
    return f"{structure.text}: {state} ({structure.presence:.2f})"


def _drawable(text: str) -> str:
    """Return a text without dashes and accents: the font that comes with Pillow has empty boxes for them."""
    plain = unicodedata.normalize("NFKD", text.translate(_DASHES))
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=_FONT_PX)
