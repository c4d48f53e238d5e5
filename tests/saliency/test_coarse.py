import numpy as np
import pytest
from scipy import ndimage

from napari_medclipsam.errors import PromptError
from napari_medclipsam.models.contracts import SaliencyMap
from napari_medclipsam.saliency.coarse import COARSE_METHODS, coarse_mask, coarse_threshold, components


def two_blobs(peak=0.9):
    y, x = np.mgrid[:60, :80]
    big, small = np.hypot(y - 30, x - 20) <= 12, np.hypot(y - 20, x - 60) <= 6
    values = np.where(big | small, peak, 0.1).astype(np.float32)
    return values + np.random.default_rng(0).normal(0, 0.01, values.shape).astype(np.float32), big, small


def as_map(values, present=True, known=True):
    return SaliencyMap(values, "blob", 0.9 if present else 0.1, present, known)


@pytest.mark.parametrize("method", COARSE_METHODS)
def test_every_method_separates_two_clear_levels(method):
    values, big, small = two_blobs()
    assert np.array_equal(coarse_mask(as_map(values), method), big | small)


@pytest.mark.parametrize("method", COARSE_METHODS)
@pytest.mark.parametrize("verdict", [{"present": False}, {"known": False}])
def test_no_mask_without_presence(method, verdict):
    values, _, _ = two_blobs()
    assert not coarse_mask(as_map(values, **verdict), method).any()


@pytest.mark.parametrize("method", ["otsu", "kmeans"])
@pytest.mark.parametrize("level", [0.0, 0.7])
def test_a_constant_map_has_no_coarse_mask(method, level):
    assert not coarse_mask(as_map(np.full((8, 9), level, np.float32)), method).any()


def test_otsu_agrees_with_scikit_image():
    from skimage.filters import threshold_otsu

    values = ndimage.gaussian_filter(np.random.default_rng(1).random((64, 64)), 3).astype(np.float32)
    assert coarse_threshold(values, "otsu") == pytest.approx(threshold_otsu(values, nbins=256), abs=1e-3)


def test_methods_read_the_threshold_off_a_map_of_any_scale():
    values, big, small = two_blobs(peak=0.3)
    assert not coarse_mask(as_map(values), "threshold").any()
    assert np.array_equal(coarse_mask(as_map(values), "kmeans"), big | small)


def test_unknown_method_is_refused():
    with pytest.raises(PromptError, match="otsu"):
        coarse_threshold(np.zeros((4, 4)), "magic")


def test_components_come_largest_first_with_box_area_and_score():
    values, big, small = two_blobs()
    found = components(big | small, values, n_largest=5)
    assert [c.area_px for c in found] == [big.sum(), small.sum()]
    assert found[0].box_xyxy == (8, 18, 32, 42)
    assert np.array_equal(found[1].mask_yx, small)
    assert found[0].score == pytest.approx(values[big].mean(), abs=1e-5)


def test_components_keep_n_drop_small_ones_and_crumbs():
    values, big, small = two_blobs()
    assert len(components(big | small, values)) == 1
    assert len(components(big | small, values, 5, min_area_px=int(small.sum()) + 1)) == 1
    assert len(components(big | small, values, 5, min_share=0.9)) == 1
    assert components(np.zeros((5, 5), bool), np.zeros((5, 5))) == []
