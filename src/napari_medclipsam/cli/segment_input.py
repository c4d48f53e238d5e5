"""One input from file to mask file: what ``medclipsam segment`` does for each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_medclipsam.cli.outputs import Job, require_suitable
from napari_medclipsam.cli.preview import render_preview, write_png
from napari_medclipsam.cli.report import Report, StructureReport
from napari_medclipsam.cli.saliency_file import write_saliency
from napari_medclipsam.errors import ImageError, OutputError, PromptError
from napari_medclipsam.exchange.case import LabelClass
from napari_medclipsam.exchange.label_table import require_own_table, write_named_mask
from napari_medclipsam.files import require_writable
from napari_medclipsam.images.intensity import Window
from napari_medclipsam.images.io import mask_suffix, read_image
from napari_medclipsam.images.volume import Volume
from napari_medclipsam.models.contracts import PromptableSegmenter, TextGrounder
from napari_medclipsam.pipeline import PipelineOptions, segment_volume
from napari_medclipsam.prompting.text import parse_structures
from napari_medclipsam.reading_view import ReadingView, reading_view
from napari_medclipsam.results import SliceResult, StructureResult
from napari_medclipsam.saliency.caution import cautions_of
from napari_medclipsam.wording import slice_place

Progress = Callable[[int, int], None]
Models = tuple[TextGrounder, PromptableSegmenter]


@dataclass(frozen=True)
class Request:
    """What is asked of every input of a run."""

    text: str
    options: PipelineOptions
    volume_index: int | None = None
    series_uid: str | None = None
    window: Window = "auto"
    plane: str | None = None


@dataclass(frozen=True)
class Opened:
    """An input that was read, and can be written about.

    Parameters
    ----------
    job : Job
        Which input, and where its picture goes.
    view : ReadingView
        The image.
    mask_path : pathlib.Path
        Where the mask goes.
    saliency_path : pathlib.Path or None
        Where the saliency goes, if it is asked for.
    report : Report
        To be filled in.
    """

    job: Job
    view: ReadingView
    mask_path: Path
    saliency_path: Path | None
    report: Report


def open_input(job: Job, request: Request) -> Opened:
    """Read one input and check all that can be checked without a model, which takes long to load.

    Raises
    ------
    MedclipsamError
        If it can't be read, can't be shown as is asked for, or a result can't be written.
    """
    start = time.perf_counter()
    source = job.found.path
    volume = read_image(
        source, volume_index=request.volume_index, series_uid=request.series_uid or job.found.series_uid
    )
    view = reading_view(volume, request.plane)
    view.turned.intensity_limits(request.window)
    mask_path = job.mask_target(mask_suffix(volume))
    saliency_path = job.saliency_target(mask_suffix(volume))
    for path in (mask_path, saliency_path):
        if path is not None:
            require_suitable(path, volume)
    if mask_path.resolve() == source.resolve():
        raise OutputError(f"The mask would replace its own image {source}; choose another --output.")
    for path in (mask_path, saliency_path, job.preview_path):
        if path is not None:
            require_writable(path)
    require_own_table(mask_path)
    report = Report(str(source), request.text, seconds={"load": time.perf_counter() - start})
    return Opened(job, view, mask_path, saliency_path, report)


def segment_opened(opened: Opened, request: Request, models: Models, progress: Progress | None = None) -> Report:
    """Segment one input and write its results; nothing is written unless all slices are done.

    Raises
    ------
    MedclipsamError
        If no phrase is known, or a result can't be written.
    """
    view, report, (grounder, segmenter) = opened.view, opened.report, models
    run = _Run(view, report, keep_saliency=opened.saliency_path is not None)
    slices = segment_volume(
        view.turned,
        request.text,
        grounder,
        segmenter,
        request.options,
        window=request.window,
        # A single image is answered in full, its specificity too.
        needs_maps=opened.saliency_path is not None or view.turned.n_slices() == 1,
    )
    for index, result in slices:
        run.add(index, result)
        if progress is not None:
            progress(index + 1, view.turned.n_slices())
    _require_known(report, grounder.name)
    _finish(report, view.stored)
    _write(opened, request, run)
    return report


class _Run:
    """Gathers the slices of one input."""

    def __init__(self, view: ReadingView, report: Report, keep_saliency: bool) -> None:
        shape_zyx = view.turned.shape_zyx
        self.view, self.report = view, report
        self.label_zyx = np.zeros(shape_zyx, np.uint8)
        self.saliency_zyx = np.zeros(shape_zyx, np.float32) if keep_saliency else None
        self.best: tuple[int, SliceResult] | None = None
        report.structures = [StructureReport(i, p) for i, p in enumerate(parse_structures(report.text), start=1)]
        report.seconds |= {"embed": 0.0, "ground": 0.0, "segment": 0.0}

    def add(self, index: int, result: SliceResult) -> None:
        """Take in one slice."""
        self.label_zyx[index] = result.label_yx
        if self.saliency_zyx is not None:
            self.saliency_zyx[index] = result.saliency_yx
        for name, value in result.seconds.items():
            self.report.seconds[name] += value
        for found, told in zip(result.structures, self.report.structures, strict=True):
            self._add_structure(index, found, told, int((result.label_yx == found.label).sum()))
        if self.report.caution is None:
            self.report.caution = cautions_of((s.saliency for s in result.structures), self.view.stored) or None
        if self.best is None or _weight(result) > _weight(self.best[1]):
            self.best = (index, result)

    def _add_structure(self, index: int, found: StructureResult, told: StructureReport, pixels: int) -> None:
        total = told.mask_pixels + pixels
        if pixels:
            # The mean over slices, weighted by area, as the estimate of one slice is over its components.
            told.estimated_iou += (found.estimated_iou - told.estimated_iou) * pixels / total
        told.mask_pixels = total
        told.known &= found.known
        told.seen |= found.saliency.present
        told.present |= found.present
        told.presence = max(told.presence, found.presence)
        if found.saliency.specificity is not None:
            told.specificity = max(told.specificity or 0.0, found.saliency.specificity)
        told.nearest_phrase = told.nearest_phrase or found.saliency.nearest_phrase
        for box in found.boxes_xyxy if found.present else ():
            stored_index, stored_box = self.view.box_to_stored(index, box)
            self.report.boxes_xyxy.append(list(stored_box))
            self.report.box_slices.append(stored_index)
            self.report.box_labels.append(found.label)


def _write(opened: Opened, request: Request, run: _Run) -> None:
    """Write what was asked for and note it in the report."""
    job, view, report = opened.job, opened.view, opened.report
    mask_path, saliency_path = opened.mask_path, opened.saliency_path
    report.replaced = mask_path.exists()
    # What is not known has no voxel, and is not to be taken for looked for and not found.
    classes = [LabelClass(s.label, s.text) for s in report.structures if s.known]
    write_named_mask(view.to_stored(run.label_zyx), view.stored, mask_path, classes)
    report.mask_path = str(mask_path)
    if run.saliency_zyx is not None and saliency_path is not None:
        write_saliency(view.to_stored(run.saliency_zyx), view.stored, saliency_path)
        report.saliency_path = str(saliency_path)
    if job.preview_path is not None and run.best is not None:
        index, result = run.best
        image = view.turned.slice_pixels(index, window=request.window)
        sheet = render_preview(image, result, _caption(job, index, view), view.sides, report.caution or "")
        write_png(sheet, job.preview_path)
        report.preview_path = str(job.preview_path)


def _weight(result: SliceResult) -> tuple[int, float]:
    """Order slices for the preview: the largest mask, or without any mask the highest presence."""
    return int(np.count_nonzero(result.label_yx)), result.presence


def _require_known(report: Report, model: str) -> None:
    """Refuse when no phrase is known: an empty mask would read as "not there"."""
    if not any(s.known for s in report.structures):
        raise PromptError(_unknown_sentence(report.structures, model))


def _finish(report: Report, volume: Volume) -> None:
    """Fill in what follows from the slices."""
    if not report.structures:
        raise ImageError("The image has no slices; check the file.")
    report.present = any(s.present for s in report.structures)
    report.presence = max(s.presence for s in report.structures)
    report.mask_pixels = sum(s.mask_pixels for s in report.structures)
    if volume.spacing_zyx_mm is not None and volume.n_slices() > 1:
        voxel_ml = math.prod(volume.spacing_zyx_mm) / 1000
        report.mask_ml = report.mask_pixels * voxel_ml
        for structure in report.structures:
            structure.mask_ml = structure.mask_pixels * voxel_ml
    absent = [f'"{s.text}"' for s in report.structures if s.known and not s.seen]
    vague = [f'"{s.text}"' for s in report.structures if s.seen and not s.present]
    unknown = [s for s in report.structures if not s.known]
    sentences = list(volume.notes)
    if absent:
        sentences.append(f"Not present: {', '.join(absent)}; nothing was drawn for it.")
    if vague:
        sentences.append(f"Seen but not located clearly enough to outline: {', '.join(vague)}; try other words.")
    if unknown:
        sentences.append(_unknown_sentence(unknown, "used here"))
    report.message = " ".join(sentences)


def _unknown_sentence(unknown: Sequence[StructureReport], model: str) -> str:
    names = ", ".join(f'"{s.text}"' for s in unknown)
    nearest = ", ".join(dict.fromkeys(f'"{s.nearest_phrase}"' for s in unknown if s.nearest_phrase))
    hint = f"the nearest it knows is {nearest}" if nearest else "use other words or another model"
    return f"The model {model} does not know {names}, so nothing was drawn for it; {hint}."


def _caption(job: Job, index: int, view: ReadingView) -> str:
    count = view.turned.n_slices()
    return job.name if count == 1 else f"{job.name}, {slice_place(view.stored_index(index), count)}"
