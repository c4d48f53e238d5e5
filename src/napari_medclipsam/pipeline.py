"""Text to mask: text → saliency → presence → coarse mask → components → prompts → mask."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_medclipsam.errors import ModelError
from napari_medclipsam.images.intensity import Window
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import (
    Embedding,
    PromptableSegmenter,
    PromptSet,
    RulesOut,
    SaliencyMap,
    TextGrounder,
)
from napari_medclipsam.prompting.from_saliency import prompts_for
from napari_medclipsam.prompting.text import parse_structures
from napari_medclipsam.results import SliceResult, StructureResult
from napari_medclipsam.saliency.coarse import CoarseMethod, coarse_mask, coarse_threshold, components
from napari_medclipsam.saliency.crf import refined

if TYPE_CHECKING:
    from napari_medclipsam.images.volume import Volume

# Scores are averaged over this share of the image's longer side: the width of a cell of the saliency or two.
_EVEN_SHARE = 100
_OUTLINE_LEVEL = 0.5


@dataclass(frozen=True)
class PipelineOptions:
    """How saliency becomes prompts.

    Parameters
    ----------
    coarse : {"threshold", "otsu", "kmeans", "crf"}
        Coarse mask from the saliency; "threshold" suits calibrated maps such as those of `lite`, the others those of
        CLIP models.
    level : float
        The threshold of the coarse method "threshold".
    max_components : int
        Regions kept per structure, largest first.
    min_share : float
        Regions smaller than this share of the largest are dropped.
    box_margin : float
        Each box grows on each side by this share of its own side.
    n_positive, n_negative : int
        Points inside and outside each component; a box alone does best for lesions (MedCLIP-SAMv2, table 6).
    use_mask : bool
        Give the saliency to the segmenter as a mask prompt.
    """

    coarse: CoarseMethod = "threshold"
    level: float = 0.5
    max_components: int = 4
    min_share: float = 0.1
    box_margin: float = 0.05
    n_positive: int = 0
    n_negative: int = 0
    use_mask: bool = True


def segment_slice(
    image: Slice,
    text: str,
    grounder: TextGrounder,
    segmenter: PromptableSegmenter,
    options: PipelineOptions | None = None,
) -> SliceResult:
    """Find and outline what `text` names in one slice.

    Parameters
    ----------
    image : Slice
        The slice as the reader sees it.
    text : str
        One structure, or several separated by ``;``.
    grounder, segmenter : TextGrounder, PromptableSegmenter
        May be one model (`lite`), which then encodes the slice once for both.
    options : PipelineOptions, optional
        The defaults suit `lite`.

    Returns
    -------
    SliceResult
        With nothing drawn for a structure that is absent or not known.

    Raises
    ------
    PromptError
        If the text can't be used.
    ModelError
        If a model answers in another size than the image's.
    """
    options = options or PipelineOptions()
    phrases = parse_structures(text)
    seconds = {"embed": 0.0, "ground": 0.0, "segment": 0.0}
    embedding: Embedding | None = None
    if isinstance(grounder, PromptableSegmenter):
        # A grounder that works on an embedding caches it: encode here, so that "ground" is the cost of the text alone.
        with _timed(seconds, "embed"):
            shared = grounder.embed(image)
            embedding = shared if segmenter is grounder else None
    structures = []
    for label, phrase in enumerate(phrases, start=1):
        with _timed(seconds, "ground"):
            saliency = _checked(grounder.saliency(image, phrase), image)
            prompts = () if saliency.is_outline else _prompts(saliency, image, options)
        if prompts and embedding is None:
            # Encoding with a large SAM takes seconds: only when there is something to outline, and once.
            with _timed(seconds, "embed"):
                embedding = segmenter.embed(image)
        with _timed(seconds, "segment"):
            structures.append(_outline(label, saliency, prompts, embedding, segmenter))
    return SliceResult(tuple(structures), settle_overlaps(structures), seconds)


def _prompts(saliency: SaliencyMap, image: Slice, options: PipelineOptions) -> tuple[PromptSet, ...]:
    """Return one prompt set per kept component of the coarse mask; none for what is absent or not known."""
    if options.coarse == "crf" and saliency.present:
        saliency = refined(saliency, image)
    values = saliency.values_yx
    coarse_yx = coarse_mask(saliency, options.coarse, options.level)
    threshold = coarse_threshold(values, options.coarse, options.level)
    found = components(coarse_yx, values, options.max_components, min_share=options.min_share)
    return tuple(
        prompts_for(
            component,
            values,
            threshold,
            # Everything else in the coarse mask, dropped crumbs too: the mask prompt describes this component alone.
            others_yx=coarse_yx & ~component.mask_yx,
            box_margin=options.box_margin,
            n_positive=options.n_positive,
            n_negative=options.n_negative,
            use_mask=options.use_mask,
        )
        for component in found
    )


def _outline(
    label: int,
    saliency: SaliencyMap,
    prompts: tuple[PromptSet, ...],
    embedding: Embedding | None,
    segmenter: PromptableSegmenter,
) -> StructureResult:
    """Segment each component and join them to one structure."""
    values = saliency.values_yx
    if saliency.is_outline and saliency.present and saliency.known:
        mask = values > _OUTLINE_LEVEL
        iou = float(values[mask].mean()) if mask.any() else 0.0
        return StructureResult(label, saliency, mask, np.where(mask, values, 0).astype(np.float32), (), iou)
    nothing = StructureResult(label, saliency, np.zeros(values.shape, bool), np.zeros(values.shape, np.float32))
    if embedding is None or not prompts:
        return nothing
    results = [segmenter.masks(embedding, p) for p in prompts]
    if any(r.logits_yx.shape != values.shape for r in results):
        raise ModelError(
            f"The model {segmenter.name!r} gave a mask of shape {results[0].logits_yx.shape} for an image of shape "
            f"{values.shape}; use another model and report this."
        )
    logits = np.maximum.reduce([r.logits_yx for r in results])
    mask = logits > 0
    areas = [int(r.mask_yx.sum()) for r in results]
    if not mask.any():
        return nothing
    score = np.where(mask, values / (1 + np.exp(-np.clip(logits, -30, 30))), 0).astype(np.float32)
    iou = float(np.average([r.estimated_iou for r in results], weights=areas))
    return StructureResult(label, saliency, mask, score, prompts, iou)


def settle_overlaps(structures: Sequence[StructureResult]) -> np.ndarray:
    """Return the label mask (uint8): a pixel claimed by several structures goes to the one with the highest score.

    The score is saliency times the segmenter's probability. Both outlines claim the pixel, so the segmenter has little
    to say about whose it is; which name fits there is what the saliency measures, and the probability breaks its ties
    at edges. Estimated IoU is one number per mask: it would give every disputed pixel to the same structure. Where two
    structures score almost alike, single pixels would go to and fro: each score is first averaged over its own mask
    around the pixel. Equal scores go to the structure named first.
    """
    label = np.zeros(structures[0].mask_yx.shape, np.uint8)
    best = np.full(label.shape, -1.0, np.float32)
    is_disputed = np.sum([structure.mask_yx for structure in structures], axis=0).max(initial=0) > 1
    for structure in structures:
        score = _evened(structure) if is_disputed else structure.score_yx
        wins = structure.mask_yx & (score > best)
        label[wins] = structure.label
        best[wins] = score[wins]
    return label


def _evened(structure: StructureResult) -> np.ndarray:
    """The score of each pixel of a mask, averaged over the pixels of the mask around it."""
    sigma = max(structure.mask_yx.shape) / _EVEN_SHARE
    weight = ndimage.gaussian_filter(structure.mask_yx.astype(np.float32), sigma)
    total = ndimage.gaussian_filter(structure.score_yx, sigma)
    return np.asarray(np.divide(total, weight, out=np.zeros_like(total), where=structure.mask_yx & (weight > 0)))


def segment_volume(
    volume: Volume,
    text: str,
    grounder: TextGrounder,
    segmenter: PromptableSegmenter,
    options: PipelineOptions | None = None,
    *,
    axis: int = 0,
    window: Window = "auto",
    indices: Sequence[int] | None = None,
    cancelled: Callable[[], bool] | None = None,
    needs_maps: bool = True,
) -> Iterator[tuple[int, SliceResult]]:
    """Yield (slice index, result) slice by slice.

    Nothing is kept between slices, so memory does not grow with the volume. Close the generator, or let `cancelled`
    return True, to stop before the next slice. Constant slices (outside the body) are not shown to the models and come
    back empty.

    Parameters
    ----------
    volume : Volume
        The image.
    text, grounder, segmenter, options
        As for `segment_slice`.
    axis : int
        The array axis that is sliced.
    window : str or tuple of float
        Intensity window, as for ``Volume.slice_pixels``.
    indices : sequence of int, optional
        Which slices, in this order; all by default.
    cancelled : callable, optional
        Asked before each slice.
    needs_maps : bool
        As for `segment_slices`.
    """
    chosen = range(volume.n_slices(axis)) if indices is None else indices
    slices = ((index, volume.slice_pixels(index, axis=axis, window=window)) for index in chosen)
    yield from segment_slices(slices, text, grounder, segmenter, options, cancelled=cancelled, needs_maps=needs_maps)


def segment_slices(
    slices: Iterable[tuple[int, Slice]],
    text: str,
    grounder: TextGrounder,
    segmenter: PromptableSegmenter,
    options: PipelineOptions | None = None,
    *,
    cancelled: Callable[[], bool] | None = None,
    needs_maps: bool = True,
) -> Iterator[tuple[int, SliceResult]]:
    """Yield (slice index, result) for slices of any source; see `segment_volume`.

    Parameters
    ----------
    slices : iterable of (int, Slice)
        The next one is taken only when the one before is done.
    text, grounder, segmenter, options
        As for `segment_slice`.
    cancelled : callable, optional
        Asked before each slice.
    needs_maps : bool
        If not, a slice that a grounder which `RulesOut` finds empty at a glance comes back with an empty saliency map;
        what is drawn is the same.
    """
    phrases = parse_structures(text)
    refusal: SliceResult | None = None
    for index, image in slices:
        if cancelled is not None and cancelled():
            return
        if refusal is not None:
            result = _empty_result(image.shape_yx, [s.saliency for s in refusal.structures])
        elif image.pixels.min() == image.pixels.max():
            result = _empty_result(image.shape_yx, [_nothing(phrase) for phrase in phrases])
        elif not needs_maps and (answers := _ruled_out(image, phrases, grounder)):
            result = _empty_result(image.shape_yx, answers)
        else:
            result = segment_slice(image, text, grounder, segmenter, options)
            if not any(s.known for s in result.structures):
                # Whether a phrase is known depends on the words alone: the other slices need no model.
                refusal = result
        yield index, result


def _ruled_out(image: Slice, phrases: Sequence[str], grounder: TextGrounder) -> list[SaliencyMap]:
    """Return the answers of a grounder that finds none of the phrases at a glance; else nothing."""
    if not isinstance(grounder, RulesOut):
        return []
    answers = []
    for phrase in phrases:
        answer = grounder.ruled_out(image, phrase)
        if answer is None:
            return []
        answers.append(answer)
    return answers


def _nothing(phrase: str) -> SaliencyMap:
    return SaliencyMap(np.zeros((1, 1), np.float32), phrase, presence=0.0, present=False)


def _empty_result(shape_yx: tuple[int, int], answers: Sequence[SaliencyMap]) -> SliceResult:
    """Return a result with nothing drawn, for the answers of a glance or the refusals of another slice."""
    structures = tuple(
        StructureResult(
            label,
            replace(answer, values_yx=np.zeros(shape_yx, np.float32)),
            np.zeros(shape_yx, bool),
            np.zeros(shape_yx, np.float32),
        )
        for label, answer in enumerate(answers, start=1)
    )
    return SliceResult(structures, np.zeros(shape_yx, np.uint8))


def _checked(saliency: SaliencyMap, image: Slice) -> SaliencyMap:
    """Return the map if it has the size of the image; a model's answer in another size is never stretched to fit."""
    if saliency.values_yx.shape != image.shape_yx:
        raise ModelError(
            f"The model gave a saliency map of shape {saliency.values_yx.shape} for an image of shape "
            f"{image.shape_yx}; use another model and report this."
        )
    return saliency


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the wall time of a block to ``seconds[name]``."""
    start = time.perf_counter()
    yield
    seconds[name] += time.perf_counter() - start
