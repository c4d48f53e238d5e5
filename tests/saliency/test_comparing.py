"""Phrasings side by side with any model, and how long a map takes here."""

from __future__ import annotations

import numpy as np
import pytest

from clip_samples import make_encoder, noise_image
from napari_medclipsam.annotation.requests import verdict_of
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import SaliencyMap
from napari_medclipsam.saliency.comparing import compare
from napari_medclipsam.saliency.grounder import ClipGrounder
from napari_medclipsam.saliency.methods import METHODS
from napari_medclipsam.saliency.overlay import overlaid
from napari_medclipsam.saliency.work import SaliencyCancelled, watched
from synthetic import IntensityGrounder, picture

IMAGE = Slice(picture("disk")[0])


def test_a_model_that_answers_one_text_at_a_time():
    steps: list[tuple[int, int]] = []
    found = compare(IntensityGrounder(), IMAGE, ["disk", "bar", "carpet"], lambda *step: steps.append(step))
    assert [(m.text, m.present, m.known) for m in found] == [
        ("disk", True, True),
        ("bar", False, True),
        ("carpet", False, False),
    ]
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_clip_model_answers_all_at_once_as_each_by_itself():
    grounder = ClipGrounder(make_encoder("plain"), "m2ib")
    both = compare(grounder, noise_image(), ["glioma", "brain tumor"])
    np.testing.assert_allclose(both[1].values_yx, grounder.saliency(noise_image(), "brain tumor").values_yx, atol=1e-4)


@pytest.mark.parametrize("grounder", [IntensityGrounder(), ClipGrounder(make_encoder("plain"), "gscorecam")])
def test_cancel(grounder):
    with pytest.raises(SaliencyCancelled):
        compare(grounder, IMAGE, ["disk", "bar"], cancelled=lambda: True)


def test_a_map_can_be_made_between_two_steps_of_another():
    encoder = make_encoder("plain")
    slow, quick = ClipGrounder(encoder, "gscorecam"), ClipGrounder(encoder, "legrad")
    alone = slow.saliency(noise_image(), "glioma"), quick.saliency(noise_image(), "glioma")
    between = []

    def answer_meanwhile() -> bool:
        between.append(quick.saliency(noise_image(), "glioma"))
        return False

    seen = watched(slow, None, answer_meanwhile).saliency(noise_image(), "glioma")
    np.testing.assert_allclose(seen.values_yx, alone[0].values_yx, atol=1e-6)
    np.testing.assert_allclose(between[0].values_yx, alone[1].values_yx, atol=1e-6)


def test_another_method_shares_the_model_and_what_is_known_of_its_times():
    grounder = ClipGrounder(make_encoder("plain"), "legrad")
    assert not grounder.times.seconds()
    grounder.time_forward()
    guessed = grounder.times.seconds()
    assert set(guessed) == set(METHODS) and guessed["gscorecam"] > guessed["m2ib"] > guessed["legrad"] > 0
    other = grounder.with_method("m2ib")
    assert other.encoder is grounder.encoder and other.name.endswith(":m2ib") and grounder.name.endswith(":legrad")
    other.saliency(noise_image(), "glioma")
    measured = grounder.times.seconds()
    assert measured["m2ib"] != guessed["m2ib"] and measured["gscorecam"] == guessed["gscorecam"]


def test_a_map_in_colour_over_its_slice():
    values = np.zeros((64, 64), np.float32)
    values[:32] = 1
    drawn = overlaid(IMAGE, values)
    assert drawn.shape == (64, 64, 3) and drawn.dtype == np.uint8
    assert drawn[5, 60].tolist() == [int(0.4 * 30 + 0.6 * c) for c in (253, 231, 37)]
    assert drawn[60, 60].sum() < drawn[5, 60].sum()


@pytest.mark.parametrize(("specificity", "verdict"), [(0.01, "not in this image"), (0.9, "found"), (None, "found")])
def test_a_map_that_hardly_depends_on_the_text_is_not_found(specificity, verdict):
    seen = SaliencyMap(np.ones((4, 4), np.float32), "disk", 0.9, True, specificity=specificity)
    assert verdict_of(seen) == verdict
