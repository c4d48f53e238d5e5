"""Text → mask on a data set: how good where the structure is, how quiet where it is not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage

from napari_medclipsam.errors import PromptError
from napari_medclipsam.evaluation.datasets import Dataset, Sample, read_sample
from napari_medclipsam.evaluation.metrics import Summary, box_iou, dice, normalized_surface_dice, summarize
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import PromptableSegmenter, TextGrounder
from napari_medclipsam.pipeline import PipelineOptions, segment_slice
from napari_medclipsam.results import SliceResult

NSD_TOLERANCE_PX = 2.0


@dataclass(frozen=True)
class EvaluationResult:
    """Figures of one model and one text on one data set.

    Parameters
    ----------
    data_set, split, text, model : str
        What was measured.
    n_positive, n_normal : int
        Images whose mask holds something, and images whose mask is empty.
    dsc, nsd : Summary
        Over the positive images at native size; an image where nothing was drawn counts 0. NSD at 2 px.
    found_share : float
        Share of the positive images where a mask was drawn.
    box_iou : Summary
        Bounding box of all box prompts against that of the true mask, over the positive images; 0 where none was drawn.
    normal_false_positive_rate : float or None
        Share of the normal images where a mask was drawn for the text; None without normal images.
    absent_false_positive_rate : dict
        For each absent text, the share of the positive images where a mask was drawn for it.
    specificity : Summary
        How much the maps of the positive images differ from those of meaningless words, in [0, 1]; the mean over the
        phrases of the text; of none where the model has no meaningless words to compare with.
    seconds_per_image : dict
        Mean of embed, ground, segment and total for the text.
    """

    data_set: str
    split: str
    text: str
    model: str
    n_positive: int
    n_normal: int
    dsc: Summary
    nsd: Summary
    found_share: float
    box_iou: Summary
    normal_false_positive_rate: float | None
    absent_false_positive_rate: dict[str, float]
    specificity: Summary
    seconds_per_image: dict[str, float]

    def to_json(self) -> str:
        """Return the figures as one JSON object; figures without images are null."""
        return json.dumps(_without_nan(asdict(self)), ensure_ascii=False, indent=2)

    def to_table(self) -> str:
        """Return the figures as aligned lines for a terminal."""
        lines = [
            ("data set", f"{self.data_set} {self.split}".strip()),
            ("text", self.text),
            ("model", self.model),
            ("images", f"{self.n_positive} with the structure, {self.n_normal} without"),
        ]
        if self.n_positive:
            lines += [
                ("DSC", _spread(self.dsc)),
                (f"NSD at {NSD_TOLERANCE_PX:g} px", _spread(self.nsd)),
                ("box IoU", _spread(self.box_iou)),
                ("present and drawn", f"{self.found_share:.1%}"),
            ]
        if self.specificity.n:
            lines.append(("specificity", _spread(self.specificity)))
        if self.normal_false_positive_rate is not None:
            lines.append(("normal but drawn", f"{self.normal_false_positive_rate:.1%}"))
        lines += [(f'absent "{text}" drawn', f"{rate:.1%}") for text, rate in self.absent_false_positive_rate.items()]
        lines.append(("seconds per image", ", ".join(f"{k} {v:.3f}" for k, v in self.seconds_per_image.items())))
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def evaluate(
    dataset: Dataset,
    text: str,
    grounder: TextGrounder,
    segmenter: PromptableSegmenter,
    options: PipelineOptions | None = None,
    *,
    text_column: str | None = None,
    absent: Sequence[str] = (),
    limit: int | None = None,
    model: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Measure text → mask on a data set.

    Parameters
    ----------
    dataset : Dataset
        From ``evaluation.datasets.open_dataset``.
    text : str
        What the masks show; several structures count as one mask.
    grounder, segmenter, options
        As for ``pipeline.segment_slice``.
    text_column : str, optional
        Column of the index that holds each row's own text; `text` then serves the rows where it is empty.
    absent : sequence of str
        Texts that are in none of the positive images.
    limit : int, optional
        Measure only this many rows, spread evenly over the data set.
    model : str
        Name for the report.
    progress : callable, optional
        Called with (rows done, rows in all).
    """
    samples = _evenly(dataset.samples, limit)
    if text_column is not None and text_column not in samples[0].columns:
        raise PromptError(
            f"The index of {dataset.name} has no column {text_column!r}; it has {', '.join(samples[0].columns)}."
        )
    scores: dict[str, list[float]] = {"dsc": [], "nsd": [], "box": [], "found": [], "specificity": [], "normal": []}
    drawn_absent: dict[str, list[float]] = {phrase: [] for phrase in absent}
    seconds: dict[str, list[float]] = {"embed": [], "ground": [], "segment": [], "total": []}
    for done, sample in enumerate(samples, start=1):
        image, truth_yx = read_sample(sample)
        result = _timed_slice(image, _text_of(sample, text, text_column), grounder, segmenter, options, seconds)
        if truth_yx.any():
            _score(result, truth_yx, scores)
            for phrase in absent:
                other = segment_slice(image, phrase, grounder, segmenter, options)
                drawn_absent[phrase].append(float(other.present))
        else:
            scores["normal"].append(float(result.present))
        if progress is not None:
            progress(done, len(samples))
    return EvaluationResult(
        data_set=dataset.name,
        split=dataset.split,
        text=text if text_column is None else f"column {text_column}, else {text}",
        model=model or getattr(grounder, "name", ""),
        n_positive=len(scores["dsc"]),
        n_normal=len(scores["normal"]),
        dsc=summarize(scores["dsc"]),
        nsd=summarize(scores["nsd"]),
        found_share=summarize(scores["found"]).mean,
        box_iou=summarize(scores["box"]),
        normal_false_positive_rate=summarize(scores["normal"]).mean if scores["normal"] else None,
        absent_false_positive_rate={phrase: summarize(v).mean for phrase, v in drawn_absent.items() if v},
        specificity=summarize(scores["specificity"]),
        seconds_per_image={name: summarize(v).mean for name, v in seconds.items()},
    )


def _timed_slice(
    image: Slice,
    text: str,
    grounder: TextGrounder,
    segmenter: PromptableSegmenter,
    options: PipelineOptions | None,
    seconds: dict[str, list[float]],
) -> SliceResult:
    start = time.perf_counter()
    result = segment_slice(image, text, grounder, segmenter, options)
    for name, value in {**result.seconds, "total": time.perf_counter() - start}.items():
        seconds[name].append(value)
    return result


def _score(result: SliceResult, truth_yx: np.ndarray, scores: dict[str, list[float]]) -> None:
    """Add the figures of one positive image."""
    mask_yx = result.label_yx > 0
    scores["dsc"].append(dice(mask_yx, truth_yx))
    scores["nsd"].append(normalized_surface_dice(mask_yx, truth_yx, NSD_TOLERANCE_PX))
    scores["found"].append(float(result.present))
    known = [s.saliency.specificity for s in result.structures if s.saliency.specificity is not None]
    scores["specificity"] += [float(np.mean(known))] if known else []
    boxes = np.asarray(result.boxes_xyxy, float).reshape(-1, 4)
    if not len(boxes):
        scores["box"].append(0.0)
        return
    rows, columns = ndimage.find_objects(truth_yx.astype(np.uint8))[0]
    true_box = (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
    scores["box"].append(box_iou((*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)), true_box))


def _text_of(sample: Sample, text: str, text_column: str | None) -> str:
    return (sample.columns.get(text_column, "") if text_column else "") or text


def _evenly(samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
    """Return `limit` rows spread over all: indexes are sorted by kind, and the first rows would be one kind."""
    if limit is None or limit >= len(samples):
        return samples
    return [samples[int(i)] for i in np.linspace(0, len(samples) - 1, max(1, limit)).round()]


def _spread(figures: Summary) -> str:
    return f"{figures.mean:.3f} ± {figures.std:.3f} (median {figures.median:.3f}, n = {figures.n})"


def _without_nan(value: object) -> object:
    """Replace nan, which JSON does not have, with None."""
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value
