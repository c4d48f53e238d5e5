"""``medclipsam ask``: a question about one slice of an image, or a region of it."""

from __future__ import annotations

import json
import os
import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.asking.answering import Asked
from napari_medclipsam.asking.answers import DISCLAIMER, Answer
from napari_medclipsam.asking.regions import box_region, clipped_note
from napari_medclipsam.asking.sentences import Question, parse_question
from napari_medclipsam.asking.words import checked_words
from napari_medclipsam.cli import DONE
from napari_medclipsam.cli.outputs import SALIENCY, require_suffix, require_suitable
from napari_medclipsam.cli.saliency_file import write_saliency
from napari_medclipsam.errors import ImageError, OutputError, PromptError
from napari_medclipsam.images.folders import Found, only_study
from napari_medclipsam.images.io import read_image, read_mask
from napari_medclipsam.images.volume import Volume
from napari_medclipsam.models.contracts import SaliencyMap
from napari_medclipsam.reading_view import ReadingView, reading_view
from napari_medclipsam.saliency.pair import load_grounder
from napari_medclipsam.wording import slice_place

_ORDER = 'IMAGE comes first, then the question in quotes: medclipsam ask brain.png "is there a brain tumor?"'


def run(args: Namespace) -> int:
    """Answer the question and say how sure the model is."""
    question, words = _asked(_text(args.input, args.question), args.words)
    if args.region is not None and args.box is not None:
        raise PromptError("Give --region or --box, not both: a question is about one region.")
    if args.saliency is not None:
        _require_writable(args.saliency, [args.input, args.region])
    found = Found(args.input, args.series) if args.series is not None else only_study(args.input)
    volume = read_image(found.path, args.volume_index, found.series_uid)
    if args.saliency is not None:
        require_suitable(args.saliency, volume)
    view = reading_view(volume, args.axis)
    region_zyx = _region(args, volume)
    across = view.across
    stored_index = _slice_index(args.slice, volume.shape_zyx[across], region_zyx, across)
    clipped: tuple[str, ...] = ()
    if args.box is not None:
        region_zyx = np.zeros(volume.shape_zyx, bool)
        plane = np.moveaxis(region_zyx, across, 0)[stored_index]
        shape_yx = (plane.shape[0], plane.shape[1])
        plane[...], clipped = box_region(args.box, shape_yx), clipped_note(args.box, shape_yx)
    index = view.index_of_stored(stored_index)
    region_yx = None if region_zyx is None else np.ascontiguousarray(view.to_turned(region_zyx)[index])
    image = view.turned.slice_pixels(index, window=args.window)
    asked = Asked.of(load_grounder(args.model, args.device, args.saliency_method), volume.looks_like)
    answer = asked.name(image, region_yx, words) if words else asked.answer(image, region_yx, question)
    answer = replace(answer, notes=(*clipped, *answer.notes))
    if args.saliency is not None and answer.saliency is not None:
        _write(answer.saliency, view, index, args.saliency)
    elif args.saliency is not None:
        answer = replace(answer, notes=(*answer.notes, "No saliency is written: there is no map of this answer."))
        args.saliency = None
    _tell(args, answer, stored_index, volume.shape_zyx[across], asked.grounder.name)
    return DONE


def _text(source: Path, given: Sequence[str]) -> str:
    """Return the question; refuse one without quotes, and one in the place of the image."""
    if len(given) > 1:
        raise PromptError(_ORDER)
    # Not `Path.exists`, which raises for a question longer than a file name may be.
    if not source.exists() and given[0].strip() and os.path.exists(given[0]):  # noqa: PTH110
        raise PromptError(f"{given[0]} is a file and {source} is none. {_ORDER}")
    return given[0]


def _asked(text: str, words: str | None) -> tuple[Question, list[str]]:
    """Return the question, and the words that "what is this?" chooses from; none for another question."""
    question = parse_question(text)
    if question.kind != "naming":
        if words is not None:
            raise PromptError('--words goes with the question "what is this?"; a closed question names its own words.')
        return question, []
    if words is None:
        raise PromptError('"What is this?" chooses among your own words; give them, such as --words "polyp,lung".')
    given = re.split("[,;]", words)
    checked_words(given)
    return question, given


def _region(args: Namespace, volume: Volume) -> np.ndarray | None:
    """Return the mask that the question is about, bool, on the stored grid."""
    if args.region is None:
        if args.label is not None:
            raise PromptError("--label chooses a label of --region MASK; give the mask too.")
        return None
    labels = read_mask(args.region, volume)
    region = labels == args.label if args.label is not None else labels > 0
    if not region.any():
        told = "is empty" if args.label is None else f"has no label {args.label}"
        raise PromptError(f"The mask {args.region} {told}, so there is no region to ask about.")
    return np.asarray(region)


def _slice_index(given: int | None, n: int, region_zyx: np.ndarray | None, across: int) -> int:
    """Return the slice that is asked about, as it is stored."""
    if given is not None:
        if not 0 <= given < n:
            raise ImageError(f"There is no slice {given}; this image has 0 to {n - 1}.")
        return given
    if region_zyx is not None:
        return int(np.moveaxis(region_zyx, across, 0).sum(axis=(1, 2)).argmax())
    if n > 1:
        raise ImageError(f"A question is about one slice and this image has {n}; say which one: --slice 0 to {n - 1}.")
    return 0


def _require_writable(path: Path, sources: Sequence[Path | None]) -> None:
    """Refuse a path for the saliency that can't be written, before the model runs: then the answer would be lost."""
    for source in sources:
        if source is not None and path.resolve() == source.resolve():
            raise OutputError(f"The saliency would replace {source}, which is read; choose another --saliency.")
    if path.is_dir():
        raise OutputError(f"--saliency {path} is a folder; name a file in it, such as {path / 'where.png'}.")
    require_suffix(path, "--saliency", SALIENCY)


def _write(seen: SaliencyMap, view: ReadingView, index: int, path: Path) -> None:
    """Write where the model looked, on the grid of the image; zero in the other slices."""
    map_zyx = np.zeros(view.turned.shape_zyx, np.float32)
    map_zyx[index] = seen.values_yx
    write_saliency(view.to_stored(map_zyx), view.stored, path)


def _tell(args: Namespace, answer: Answer, stored_index: int, n_slices: int, model: str) -> None:
    """Print the answer on standard output, and what a person must know of it on standard error."""
    if args.json:
        print(json.dumps(_as_json(args, answer, stored_index, model), ensure_ascii=False))
    else:
        at = f", {slice_place(stored_index, n_slices)}" if n_slices > 1 else ""
        print(f"{args.input}{at}: {answer.question} → {answer.sentence}")
        for candidate in answer.candidates:
            told = f"{candidate.probability:.2f}" if candidate.known else "not known"
            print(f"  {candidate.words}: {told}")
    for line in (*answer.notes, DISCLAIMER):
        print(f"medclipsam: {line}", file=sys.stderr)


def _as_json(args: Namespace, answer: Answer, stored_index: int, model: str) -> dict[str, Any]:
    # A phrase that is not known has no presence, rather than one of 0.
    seen = answer.saliency if answer.saliency is not None and answer.saliency.known else None
    return {
        "input": str(args.input),
        "question": answer.question,
        "answer": answer.verdict,
        "confidence": answer.confidence,
        "score": round(answer.score, 4) if answer.is_told else None,
        "reason": answer.reason,
        "about": answer.about,
        "slice": stored_index,
        "candidates": [
            {
                "words": candidate.words,
                "known": candidate.known,
                "score": round(candidate.probability, 4),
                "cosine": round(candidate.cosine, 4),
            }
            for candidate in answer.candidates
        ],
        "presence": None if seen is None else round(seen.presence, 4),
        "saliency_path": None if args.saliency is None else str(args.saliency),
        "model": model,
        "notes": [*answer.notes, DISCLAIMER],
    }
