"""Exemplars on pictures of a shape that moves and bends a little; no model is asked."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.exemplars import SIDE_PX, Exemplar, votes, working_gray
from napari_medclipsam.learning.kernel import Verdict
from napari_medclipsam.learning.mixing import HeldOut, Mix, choose_mix


def bent(number: int, shape: tuple[int, int] = (48, 44)) -> tuple[Slice, np.ndarray]:
    """A texture, the same but for a smooth deformation, and an ellipse in it that no gray value tells apart."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    y, x = rows * 48 / shape[0], columns * 44 / shape[1]
    y = y + 2.5 * np.sin(x / 9 + number)
    x = x + 2.5 * np.cos(y / 8 + 2 * number)
    texture = ndimage.gaussian_filter(np.random.default_rng(7).random((60, 60)), 3)
    gray = ndimage.map_coordinates(texture, [y + 4, x + 4], order=1, mode="reflect")
    gray = 20 + 200 * (gray - gray.min()) / np.ptp(gray)
    return Slice(gray.astype(np.uint8)), ((y - 20) / 9) ** 2 + ((x - 18) / 6) ** 2 <= 1


def exemplar(number: int, shape: tuple[int, int] = (48, 44), *, empty: bool = False) -> Exemplar:
    image, mask = bent(number, shape)
    return Exemplar.of(image, mask & (not empty), 1.0)


SURE = Verdict(0.5, 0.8, is_sure=True)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize(
    "exemplars",
    [
        [exemplar(1)],
        [exemplar(1), exemplar(2), exemplar(4)],
        # Mixed sizes, one of them larger than the working grid.
        [exemplar(1, (40, 52)), exemplar(2, (96, 88)), exemplar(4)],
    ],
)
def test_a_shape_is_found_where_it_has_moved_to(exemplars):
    image, mask = bent(0)
    voted = votes(working_gray(image), exemplars)
    assert voted.shape == mask.shape and voted.min() >= 0 and voted.max() <= 1
    still = np.mean([dice(bent(n)[1], mask) for n in (1, 2, 4)])
    assert dice(voted > 0.5, mask) > max(0.8, still)


def test_exemplars_without_the_structure_vote_for_nothing():
    gray = working_gray(bent(0)[0])
    assert not votes(gray, []).any()
    assert not votes(gray, [exemplar(0, empty=True)]).any()
    assert votes(gray, [exemplar(0), exemplar(0, empty=True)]).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (200, 3), (9, 9), (700, 500), (60, 40, 3)])
def test_pictures_of_any_size_and_colour(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    one = Exemplar.of(Slice(pixels), np.ones(shape[:2], bool), 1.0)
    assert max(one.gray.shape) <= SIDE_PX
    voted = votes(one.gray, [one, exemplar(1)])
    assert voted.shape == one.gray.shape and np.isfinite(voted).all()


def test_a_constant_picture_is_no_error():
    flat = Exemplar.of(Slice(np.full((40, 40), 7, np.uint8)), np.zeros((40, 40), bool), 1.0)
    assert np.isfinite(votes(flat.gray, [flat, exemplar(1)])).all()


def test_exemplars_have_their_say_where_they_draw_better_than_the_kernel():
    shown = [exemplar(n) for n in range(4)]
    blurred = [HeldOut(e, ndimage.gaussian_filter(e.shares / np.float32(255), 6)) for e in shown]
    empty = HeldOut(exemplar(9, empty=True), np.zeros((48, 44), np.float32))
    told: list[float] = []
    mix = choose_mix([*blurred, empty], told.append)
    assert mix is not None and mix.weight >= 0.5 and len(mix.exemplars) == 5
    assert told == sorted(told) and len(told) == 5
    # A kernel that is right everywhere has nothing to gain.
    assert choose_mix([HeldOut(e, e.shares / np.float32(255)) for e in shown], told.append) is None


def test_a_tumour_at_random_places_is_left_to_the_kernel():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :44]
    slices = []
    for number in range(5):
        y, x = rng.integers(10, 36, 2)
        tumour = np.hypot(rows - y, columns - x) <= 6
        pixels = np.where(tumour, 250, bent(number)[0].pixels // 2).astype(np.uint8)
        kernel = ndimage.gaussian_filter(tumour.astype(np.float32), 1.5)
        slices.append(HeldOut(Exemplar.of(Slice(pixels), tumour, 1.0), kernel))
    assert choose_mix(slices, lambda _: None) is None


def test_a_slice_is_not_judged_by_its_neighbours_where_there_are_other_patients():
    """A lump in another place in each patient, at the same place in both of a patient's slices, that has no gray."""
    rows, columns = np.mgrid[:48, :44]
    pairs = []
    for number, (y, x) in enumerate([(12, 12), (34, 14), (16, 32), (36, 30)]):
        lump = np.hypot(rows - y, columns - x) <= 6
        kernel = 0.8 * ndimage.gaussian_filter(lump.astype(np.float32), 2.5)
        pixels = (ndimage.gaussian_filter(np.random.default_rng(number).random((48, 44)), 3) * 900 - 330).clip(0, 255)
        pairs += [(Exemplar.of(Slice(pixels.astype(np.uint8)), lump, 1.0), kernel, f"p{number}")] * 2
    as_one = choose_mix([HeldOut(e, k) for e, k, _ in pairs], lambda _: None)
    assert as_one is not None and as_one.weight >= 0.5
    assert choose_mix([HeldOut(e, k, patient) for e, k, patient in pairs], lambda _: None) is None


def test_with_a_single_slice_there_is_nothing_to_choose_on():
    empty = [HeldOut(exemplar(n, empty=True), np.zeros((48, 44), np.float32)) for n in (1, 2)]
    assert choose_mix([HeldOut(exemplar(0), np.zeros((48, 44), np.float32)), *empty], lambda _: None) is None


def test_a_slice_shows_the_structure_where_the_map_is_sure_over_a_part_of_its_area():
    mix = Mix(0.5, SURE, (exemplar(0), exemplar(1, empty=True)))
    mask = bent(0)[1].astype(np.float32)
    for scale in (1, 4):
        there, spot = np.kron(mask, np.ones((scale, scale), np.float32)), np.zeros((48 * scale, 44 * scale), np.float32)
        spot[:scale, :scale] = 1
        assert mix.presence(0.9 * there) > 0.7 and mix.presence(0.5 * there) < 0.5
        assert mix.presence(spot) < 0.2


def test_presence_is_learnt_from_slices_that_did_not_teach():
    shown = [exemplar(n) for n in range(6)]
    blurred = [HeldOut(e, ndimage.gaussian_filter(e.shares / np.float32(255), 6)) for e in shown]
    empty = HeldOut(exemplar(9, empty=True), np.zeros((48, 44), np.float32))
    sure, unsure = choose_mix([*blurred, empty], lambda _: None), choose_mix(blurred, lambda _: None)
    assert sure is not None and unsure is not None
    faint, strong = (bent(7)[1].astype(np.float32) * strength for strength in (0.5, 0.9))
    # With nothing known to be empty, what answers a little weaker than the rest is there, and nothing is for sure.
    assert 0.5 < unsure.presence(faint) < unsure.presence(strong) < 0.65
    assert sure.presence(0.1 * strong) < 0.3 < 0.7 < sure.presence(strong)


def test_on_a_picture_finer_than_the_grid_the_map_is_the_outline_only_where_exemplars_lead():
    drawn = {
        weight: [Mix(weight, SURE, ()).draws(shape) for shape in ((48, 64), (48, 65))] for weight in (0.25, 0.5, 0.75)
    }
    assert drawn == {0.25: [False, False], 0.5: [True, False], 0.75: [True, True]}
