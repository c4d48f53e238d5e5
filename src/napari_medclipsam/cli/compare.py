"""``medclipsam compare``: several phrasings of one question, side by side on one slice."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from napari_medclipsam.annotation.requests import verdict_of
from napari_medclipsam.cli import DONE, REFUSED
from napari_medclipsam.cli.outputs import plan_jobs, require_apart, require_suffix
from napari_medclipsam.cli.preview import render_comparison, write_png
from napari_medclipsam.cli.progress import progress_bar, shown_on
from napari_medclipsam.errors import ImageError, PromptError
from napari_medclipsam.images.folders import Found, only_study
from napari_medclipsam.images.io import read_image
from napari_medclipsam.models.contracts import SaliencyMap
from napari_medclipsam.prompting.text import phrasings_of
from napari_medclipsam.reading_view import ReadingView, reading_view
from napari_medclipsam.saliency.caution import caution_of
from napari_medclipsam.saliency.comparing import compare
from napari_medclipsam.saliency.pair import load_grounder
from napari_medclipsam.wording import slice_place

_HEAD = ("phrasing", "answer", "presence", "specificity")


def run(args: Namespace) -> int:
    """Write a sheet of the maps, and print a table."""
    if not all(map(str.strip, args.text)):
        raise PromptError("One of the phrasings is empty; write it, or leave it out.")
    texts = phrasings_of(args.text)
    require_suffix(args.output, "--output", (".png",))
    require_apart([args.input], (args.output,))
    found = Found(args.input, args.series) if args.series is not None else only_study(args.input)
    job = plan_jobs([found], False, None, None, args.output)[0]
    path = args.output or Path(f"{job.name}_compare.png")
    view = reading_view(read_image(found.path, args.volume_index, found.series_uid), args.axis)
    index = _stored_index(view, args.slice)
    image = view.turned.slice_pixels(view.index_of_stored(index), window=args.window)
    grounder = load_grounder(args.model, args.device, args.saliency_method)
    with progress_bar(0, "steps") as bar:
        answers = compare(grounder, image, texts, shown_on(bar))
    count = view.turned.n_slices()
    caption = job.name if count == 1 else f"{job.name}, {slice_place(index, count)}"
    sheet = render_comparison(image, [a.values_yx for a in answers], [_words(a) for a in answers], caption, view.sides)
    write_png(sheet, path)
    if args.json:
        print(json.dumps(_as_json(args.input, index, answers, path), ensure_ascii=False))
    else:
        print(_table([_figures(seen) for seen in answers]))
        print(f"{caption} → {path}")
    if caution := caution_of(answers, view.stored):
        print(f"medclipsam: {caution}", file=sys.stderr)
    return DONE if any(seen.known for seen in answers) else REFUSED


def _stored_index(view: ReadingView, given: int | None) -> int:
    """Return which slice is asked about, counted as it is stored; by default the middle one."""
    count = view.turned.n_slices()
    if given is None:
        return count // 2
    if not 0 <= given < count:
        raise ImageError(f"There is no slice {given}; this image has 0 to {count - 1}.")
    return given


def _figures(seen: SaliencyMap) -> tuple[str, str, str, str]:
    if not seen.known:
        return seen.text, verdict_of(seen), "–", "–"
    specificity = "–" if seen.specificity is None else f"{seen.specificity:.2f}"
    return seen.text, verdict_of(seen), f"{seen.presence:.2f}", specificity


def _words(seen: SaliencyMap) -> str:
    text, verdict, presence, specificity = _figures(seen)
    own = "" if seen.specificity is None else f", specificity {specificity}"
    return f"{text}\n{verdict} {presence}{own}" if seen.known else f"{text}\n{verdict}"


def _table(lines: Sequence[Sequence[str]]) -> str:
    rows = [_HEAD, *lines]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEAD))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _as_json(source: Path, index: int, answers: Sequence[SaliencyMap], path: Path) -> dict[str, object]:
    phrasings = [
        {
            "text": seen.text,
            "answer": verdict_of(seen),
            "known": seen.known,
            "presence": round(seen.presence, 4),
            "specificity": None if seen.specificity is None else round(seen.specificity, 4),
            "nearest_phrase": seen.nearest_phrase,
        }
        for seen in answers
    ]
    return {"input": str(source), "slice": index, "phrasings": phrasings, "sheet_path": str(path)}
