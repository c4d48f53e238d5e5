import numpy as np
import pytest

from napari_medclipsam.errors import ModelError, PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.images.volume import Volume
from napari_medclipsam.models.contracts import MaskResult, SaliencyMap
from napari_medclipsam.pipeline import PipelineOptions, segment_slice, segment_volume, settle_overlaps
from napari_medclipsam.results import StructureResult
from synthetic import Both, IntensityGrounder, RegionGrower, picture


def test_one_structure_is_found_and_outlined_exactly():
    pixels, masks = picture("disk", "square")
    model = Both()
    result = segment_slice(Slice(pixels), "the disk", model, model)
    assert np.array_equal(result.label_yx == 1, masks["disk"])
    assert result.label_yx.dtype == np.uint8
    assert result.present and result.known and result.presence == 1.0
    assert result.estimated_iou == pytest.approx(0.9)
    (box,) = result.boxes_xyxy
    assert 10 < box[0] < 13 and 27 < box[2] < 30 and len(result.points_xy) == 0
    assert model.n_embedded == 1
    assert set(result.seconds) == {"embed", "ground", "segment"} and min(result.seconds.values()) > 0


def test_several_structures_get_one_label_each():
    pixels, masks = picture("disk", "square", "bar")
    model = Both()
    result = segment_slice(Slice(pixels), "bar; disk; square", model, model)
    assert [s.text for s in result.structures] == ["bar", "disk", "square"]
    for label, shape in enumerate(("bar", "disk", "square"), start=1):
        assert np.array_equal(result.label_yx == label, masks[shape])
    assert model.n_embedded == 1


def test_absent_and_unknown_structures_draw_nothing():
    pixels, masks = picture("disk")
    result = segment_slice(Slice(pixels), "disk; square; disc", IntensityGrounder(), RegionGrower())
    disk, square, disc = result.structures
    assert disk.present and square.known and not square.present
    assert not disc.known and not disc.present and disc.saliency.nearest_phrase == "disk"
    assert not result.known and result.present
    assert np.array_equal(result.label_yx > 0, masks["disk"])


def test_an_expensive_segmenter_encodes_only_when_there_is_something_and_once():
    grower = RegionGrower()
    pixels, _ = picture("disk", "square")
    segment_slice(Slice(pixels), "bar", IntensityGrounder(), grower)
    assert grower.n_embedded == 0
    segment_slice(Slice(pixels), "disk; square", IntensityGrounder(), grower)
    assert grower.n_embedded == 1


def test_each_component_is_segmented_by_its_own_box_and_mask_prompt():
    pixels, _ = picture()
    pixels[10:20, 8:18] = pixels[40:50, 40:52] = 220
    grower = RegionGrower()
    result = segment_slice(
        Slice(pixels), "disk", IntensityGrounder(), grower, PipelineOptions(n_positive=2, n_negative=1)
    )
    assert len(grower.prompts) == len(result.boxes_xyxy) == 2
    assert np.array_equal(result.label_yx > 0, pixels == 220)
    first, second = (p.mask_logits_yx > 0 for p in grower.prompts)
    assert not (first & second).any()
    assert result.points_xy.shape == (4, 2)
    only_one = segment_slice(Slice(pixels), "disk", IntensityGrounder(), grower, PipelineOptions(max_components=1))
    assert (only_one.label_yx > 0).sum() == 120


@pytest.mark.parametrize("coarse", ["threshold", "otsu", "kmeans"])
def test_coarse_methods_and_rgb(coarse):
    pixels, masks = picture("disk")
    rgb = np.repeat(pixels[..., None], 3, axis=2)
    result = segment_slice(Slice(rgb), "disk", IntensityGrounder(), RegionGrower(), PipelineOptions(coarse=coarse))
    assert np.array_equal(result.label_yx > 0, masks["disk"])


def structure(label, mask, score):
    saliency = SaliencyMap(np.zeros(mask.shape, np.float32), f"s{label}", 1.0, True)
    return StructureResult(label, saliency, mask, np.where(mask, score, 0).astype(np.float32))


def test_overlap_goes_to_the_higher_score_and_ties_to_the_first_named():
    a, b = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    a[:, :4], b[:, 2:] = True, True
    assert settle_overlaps([structure(1, a, 0.4), structure(2, b, 0.6)])[0].tolist() == [1, 1, 2, 2, 2, 2]
    assert settle_overlaps([structure(1, a, 0.5), structure(2, b, 0.5)])[0].tolist() == [1, 1, 1, 1, 2, 2]


def test_almost_equal_scores_give_a_straight_border_and_keep_what_lies_inside():
    shape, noise = (120, 120), np.random.default_rng(0).normal(0, 0.002, (120, 120))
    columns = np.arange(120)[None]

    def structure(label, mask, score):
        saliency = SaliencyMap(np.zeros(shape, np.float32), "", 1.0, True)
        return StructureResult(label, saliency, mask, np.where(mask, score, 0).astype(np.float32))

    left, right, inside = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape, bool)
    left[:, :80], right[:, 40:], inside[50:54, 10:14] = True, True, True
    falling = 0.9 - 0.0005 * columns
    label = settle_overlaps(
        [
            structure(1, left, falling + noise),
            structure(2, right, 1.74 - falling),
            structure(3, inside, np.full(shape, 0.95)),
        ]
    )
    # Where the two scores cross is at column 60; the noise alone would scatter the border over about 20 columns.
    borders = (label == 2).argmax(axis=1)
    assert np.all(np.abs(borders - 60) <= 8) and np.all(np.abs(np.diff(borders)) <= 4)
    assert all(len(np.flatnonzero(np.diff(row))) == 1 for row in label[:40])
    assert np.array_equal(label == 3, inside)


def test_a_model_that_answers_in_another_size_is_refused():
    class Wrong(Both):
        def masks(self, embedding, prompts):
            return MaskResult(np.ones((3, 3), np.float32), 1.0)

    class WrongMap(Both):
        def saliency(self, image, text):
            return SaliencyMap(np.ones((3, 3), np.float32), text, 1.0, True)

    pixels, _ = picture("disk")
    for model in (Wrong(), WrongMap()):
        with pytest.raises(ModelError, match="shape"):
            segment_slice(Slice(pixels), "disk", model, model)


def stack():
    filled, masks = picture("disk", "square")
    empty = np.full_like(filled, 7)
    return Volume(np.stack([empty, filled, empty, filled])), masks


def test_volume_yields_every_slice_and_leaves_empty_ones_empty():
    volume, masks = stack()
    model = Both()
    results = dict(segment_volume(volume, "disk", model, model))
    assert list(results) == [0, 1, 2, 3] and model.n_embedded == 2
    assert not results[0].present and not results[2].label_yx.any()
    assert np.array_equal(results[3].label_yx > 0, masks["disk"])


def test_volume_can_be_stopped_by_closing_and_by_callback():
    volume, _ = stack()
    model = Both()
    run = segment_volume(volume, "disk", model, model)
    next(run)
    run.close()
    assert model.n_embedded == 0
    answers = iter([False, False, True])
    assert [i for i, _ in segment_volume(volume, "disk", model, model, cancelled=lambda: next(answers))] == [0, 1]
    assert [i for i, _ in segment_volume(volume, "disk", model, model, indices=[3, 1])] == [3, 1]


def test_an_unknown_phrase_is_asked_once_for_a_whole_volume():
    volume, _ = stack()
    model = Both()
    results = [r for _, r in segment_volume(volume, "gizmo", model, model)]
    assert model.n_embedded == 1 and len(results) == 4
    assert not results[3].known and results[3].structures[0].saliency.nearest_phrase


class AtAGlance(Both):
    """Sees at a glance that a picture without bright pixels holds no disk."""

    def ruled_out(self, image, text):
        if text != "disk" or image.pixels.max() > 100:
            return None
        return SaliencyMap(np.zeros(image.shape_yx, np.float32), text, 0.01, False, nearest_phrase="disk")


def test_slices_that_are_ruled_out_at_a_glance_are_not_encoded():
    filled, masks = picture("disk")
    dim = (filled / 4).astype(filled.dtype)
    volume = Volume(np.stack([dim, filled, dim]))
    model = AtAGlance()
    results = dict(segment_volume(volume, "disk", model, model, window=(0, 255), needs_maps=False))
    assert model.n_embedded == 1 and np.array_equal(results[1].label_yx > 0, masks["disk"])
    for index in (0, 2):
        (answer,) = results[index].structures
        assert answer.known and not answer.present and answer.presence == 0.01 and not answer.mask_yx.any()
        assert answer.saliency.values_yx.shape == volume.array_zyx.shape[1:]
    # Of two structures, one may be there; and who wants maps gets them.
    for text, needs_maps in (("disk; square", False), ("disk", True)):
        model = AtAGlance()
        assert len(list(segment_volume(volume, text, model, model, window=(0, 255), needs_maps=needs_maps))) == 3
        assert model.n_embedded == 3


def test_other_axes_have_their_own_planes():
    volume, _ = stack()
    model = Both()
    results = dict(segment_volume(volume, "disk", model, model, axis=1))
    assert len(results) == 64 and results[18].label_yx.shape == (4, 64)


def test_bad_text_is_refused_before_any_slice():
    volume, _ = stack()
    model = Both()
    with pytest.raises(PromptError):
        next(segment_volume(volume, " ", model, model))
