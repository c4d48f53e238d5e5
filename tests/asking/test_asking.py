"""What is this, and closed questions, on pictures whose answers are known."""

from dataclasses import replace

import numpy as np
import pytest

from asking_models import GrayModel
from clip_samples import make_encoder, noise_image
from napari_medclipsam.asking.answering import Asked
from napari_medclipsam.asking.answers import CANT_TELL, Limits
from napari_medclipsam.asking.naming import what_is_this
from napari_medclipsam.asking.regions import box_region, checked_region, clipped_note
from napari_medclipsam.asking.words import checked_words
from napari_medclipsam.errors import ModelError, PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import SaliencyMap
from napari_medclipsam.saliency.grounder import ClipGrounder
from synthetic import IntensityGrounder, picture

PIXELS, MASKS = picture("disk", "square")
IMAGE = Slice(PIXELS)
MODEL = GrayModel()
ASKED = Asked.of(MODEL)
SHAPES = ["bar", "disk", "square"]


def test_the_users_words_are_ranked_for_a_region() -> None:
    told = ASKED.name(IMAGE, MASKS["square"], SHAPES)
    assert (told.verdict, told.confidence, told.about) == ("square", "sure", "region")
    assert told.candidates[0].words == "square" and np.array_equal(told.region_yx, MASKS["square"])
    assert sum(c.probability for c in told.candidates) == pytest.approx(1)
    assert told.score == told.candidates[0].probability > 0.9


def test_a_region_between_two_words_is_not_told() -> None:
    between = Slice(np.full((20, 20), 115, np.uint8))
    told = ASKED.name(between, np.eye(20, dtype=bool), SHAPES)
    assert told.verdict == CANT_TELL and "stands out" in told.reason and not told.confidence


def test_a_region_like_none_of_the_words_is_not_told() -> None:
    told = ASKED.name(IMAGE, PIXELS == 30, SHAPES)
    assert told.verdict == CANT_TELL and "none of these" in told.reason


def test_words_that_are_not_known_are_not_compared() -> None:
    told = ASKED.name(IMAGE, MASKS["disk"], ["kidney", *SHAPES])
    assert told.verdict == "disk" and '"kidney"' in " ".join(told.notes)
    assert told.candidates[-1].words == "kidney" and not told.candidates[-1].known
    told = ASKED.name(IMAGE, MASKS["disk"], ["kidney", "spleen", "disk"])
    assert told.verdict == CANT_TELL and "fewer than two" in told.reason


def test_a_whole_image_is_a_question_about_the_slice() -> None:
    told = ASKED.name(IMAGE, np.ones(IMAGE.shape_yx, bool), SHAPES)
    assert told.about == "slice" and "whole image" in told.notes[0]


@pytest.mark.parametrize(
    "words",
    [
        [],
        [""],
        ["disk"],
        ["disk", " Disk "],
        ["disk", "x" * 90],
        ["disk", "心臓"],
        ["a; b", "c"],
        [f"n{i}" for i in range(30)],
    ],
)
def test_words_that_leave_no_choice_are_refused(words: list[str]) -> None:
    with pytest.raises(PromptError):
        ASKED.name(IMAGE, MASKS["disk"], words)


def test_words_are_taken_once_and_empty_ones_left_out() -> None:
    given = checked_words(["disk", "", "Disk", "bar "])
    assert given.words == ("disk", "bar") and "twice" in given.notes[0]


@pytest.mark.parametrize("mask", [np.zeros((64, 64), bool), np.ones((3, 3), bool), np.ones((2, 64, 64), bool)])
def test_a_region_that_is_none_is_refused(mask: np.ndarray) -> None:
    with pytest.raises(PromptError):
        checked_region(mask, (64, 64))


def test_a_box_is_the_pixels_inside_it() -> None:
    assert box_region((1, 2, 3, 3), (10, 20)).sum() == 6
    assert box_region((-5, -5, 100, 100), (10, 20)).all()
    assert "clipped to 0,2,19,3" in clipped_note((-5, 2, 30, 3), (10, 20))[0]
    assert clipped_note((0, 0, 20, 10), (10, 20)) == ()
    for box in ((30, 0, 40, 5), (5, 5, 1, 1), (float("nan"), 0, 1, 1)):
        with pytest.raises(PromptError):
            box_region(box, (10, 20))


@pytest.mark.parametrize(("question", "verdict"), [("is there a disk?", "yes"), ("is there a bar?", "no")])
def test_presence_comes_with_its_map(question: str, verdict: str) -> None:
    told = ASKED.answer(IMAGE, None, question)
    assert (told.verdict, told.confidence, told.about) == (verdict, "sure", "slice")
    assert told.saliency is not None and told.saliency.values_yx.any() == (verdict == "yes")
    assert told.sentence == f"{verdict} (sure, 1.00)"


def test_presence_in_a_region_is_not_presence_elsewhere() -> None:
    assert ASKED.answer(IMAGE, MASKS["disk"], "is there a disk here?").verdict == "yes"
    told = ASKED.answer(IMAGE, MASKS["square"], "is there a disk here?")
    assert told.verdict == "no" and "elsewhere" in told.notes[0]
    assert ASKED.answer(IMAGE, MASKS["square"], "is there a disk in this image?").verdict == "yes"


def test_a_word_that_was_not_heard_is_no_yes() -> None:
    told = ASKED.answer(IMAGE, None, "is there a burst disk?")
    assert told.verdict == CANT_TELL and 'does not know "burst"' in told.reason
    # Without any, there is none of that kind either.
    assert ASKED.answer(IMAGE, None, "is there a burst bar?").verdict == "no"


def test_a_word_that_is_not_known_is_no_no() -> None:
    told = ASKED.answer(IMAGE, None, "is there a kidney?")
    assert told.verdict == CANT_TELL and "does not know" in told.sentence


def disk_of(gray: int) -> Slice:
    pixels = PIXELS.copy()
    pixels[MASKS["disk"]] = gray
    return Slice(pixels)


@pytest.mark.parametrize(
    ("gray", "question", "verdict"),
    [
        (205, "benign or malignant?", "benign"),
        (235, "is this benign or malignant?", "malignant"),
        (235, "is this malignant?", "yes"),
        (205, "is this malignant?", "no"),
        (205, "is this cancerous?", "no"),
        (205, "is there a benign breast lesion here?", "yes"),
        (205, "is this lesion benign?", "yes"),
        (235, "is there a malignant lesion here?", "yes"),
        (235, "is this lesion a benign breast lesion or a malignant breast lesion?", "malignant"),
    ],
)
def test_properties_are_told_against_their_opposite(gray: int, question: str, verdict: str) -> None:
    told = ASKED.answer(disk_of(gray), MASKS["disk"], question)
    assert (told.verdict, told.about) == (verdict, "region") and told.confidence
    assert {c.words for c in told.candidates} == {"benign", "malignant"} and told.saliency is not None


@pytest.mark.parametrize("question", ["benign or malignant?", "is this malignant?", "is this benign?"])
def test_malignant_is_ruled_out_only_by_a_sure_answer(question: str) -> None:
    told = [ASKED.answer(disk_of(gray), MASKS["disk"], question) for gray in range(205, 236)]
    benign = [one for one in told if one.is_told and one.candidates[0].words == "benign"]
    assert benign and all(one.confidence == "sure" for one in benign)
    assert any("too little to rule malignant out" in one.reason for one in told)
    # The other way round the usual limits hold.
    assert any(one.confidence == "likely" and one.candidates[0].words == "malignant" for one in told)


def test_a_property_is_not_told_of_what_is_not_there() -> None:
    told = ASKED.answer(IMAGE, MASKS["square"], "which of these: glioma, meningioma, pituitary tumor")
    assert told.verdict == CANT_TELL and "brain tumor" in told.reason
    assert ASKED.answer(IMAGE, None, "is there a glioma?").verdict == "no"
    assert "not taught to tell solid from cystic" in ASKED.answer(IMAGE, None, "is this solid or cystic?").reason


@pytest.mark.parametrize(
    "question",
    [
        *("is there a malignant brain tumor?", "is there a malignant polyp here?", "is this a benign polyp?"),
        *("is this polyp malignant?", "is this a benign brain tumor or a malignant brain tumor?"),
    ],
)
def test_a_property_is_not_told_of_another_thing(question: str) -> None:
    told = ASKED.answer(disk_of(235), MASKS["disk"], question)
    assert told.verdict == CANT_TELL and "tells this of a breast lesion only, not of" in told.reason


def test_a_cancer_is_more_than_a_lesion() -> None:
    assert ASKED.answer(disk_of(205), MASKS["disk"], "is there a breast cancer here?").verdict == "no"
    assert ASKED.answer(disk_of(235), MASKS["disk"], "is this breast cancer?").verdict == "yes"


def test_a_property_is_told_only_where_presence_would_be() -> None:
    class Hesitant(GrayModel):
        def saliency(self, image: Slice, text: str) -> SaliencyMap:
            return replace(super().saliency(image, text), presence=0.73)

    asked = Asked.of(Hesitant())
    assert asked.answer(disk_of(205), None, "is there a breast lesion?").verdict == CANT_TELL
    told = asked.answer(disk_of(205), MASKS["disk"], "is this malignant?")
    assert told.verdict == CANT_TELL and "undecided whether there is one (presence 0.73)" in told.reason


def test_no_breast_lesion_is_no_answer_to_lesions_at_large() -> None:
    image = Slice(picture("square")[0])
    assert ASKED.answer(image, None, "is there a malignant breast lesion?").verdict == "no"
    assert ASKED.answer(image, None, "is there a malignant lesion?").verdict == CANT_TELL


def test_a_region_that_the_question_does_not_mean_is_left_out() -> None:
    told = ASKED.answer(IMAGE, MASKS["square"], "is there a disk?")
    assert (told.verdict, told.about) == ("yes", "slice") and "left out" in told.notes[0]


def test_what_is_this_wants_names() -> None:
    with pytest.raises(PromptError, match="two or more"):
        ASKED.answer(IMAGE, MASKS["disk"], "what is this?")
    with pytest.raises(PromptError, match="add other names to 'disk'"):
        ASKED.name(IMAGE, MASKS["disk"], ["disk"])


def test_one_of_three_is_told_and_denied() -> None:
    pixels, masks = picture("disk", "bar")
    pixels[masks["disk"]] = 235
    image = Slice(pixels)
    assert ASKED.answer(image, masks["disk"], "is this a pituitary tumour?").verdict == "yes"
    assert ASKED.answer(image, masks["disk"], "is this a glioma?").verdict == "no"


def test_a_model_that_compares_nothing_says_so() -> None:
    asked = Asked.of(IntensityGrounder())
    assert asked.answer(IMAGE, None, "is there a disk?").verdict == "yes"
    with pytest.raises(ModelError, match="whether something is there"):
        asked.answer(IMAGE, None, "is this benign or malignant?")


def test_what_a_project_has_learnt_names_regions_with_the_model_inside() -> None:
    class Learnt(IntensityGrounder):
        base = MODEL

    told = Asked.of(Learnt()).name(IMAGE, MASKS["disk"], [*SHAPES, "gizmo"])
    assert told.verdict == "disk" and not next(c for c in told.candidates if c.words == "gizmo").known


def test_a_clip_model_answers_and_is_never_sure() -> None:
    image = noise_image()
    asked = Asked.of(ClipGrounder(make_encoder("plain"), "legrad"))
    region = box_region((5, 5, 30, 30), image.shape_yx)
    for told in (
        asked.name(image, region, ["polyp", "heart", "bread"]),
        asked.answer(image, region, "is this malignant?"),
        asked.answer(image, None, "is there a polyp?"),
    ):
        assert told.confidence in ("unsure", "") and "not calibrated" in " ".join(told.notes)


def test_limits_are_words_for_probabilities() -> None:
    limits = Limits(0.9, 0.7, 0.5)
    assert [limits.confidence(p) for p in (0.95, 0.8, 0.6, 0.4)] == ["sure", "likely", "unsure", ""]
    assert limits.confidence(0.99, is_calibrated=False) == "unsure"


def test_a_plain_name_is_known_without_a_vocabulary() -> None:
    told = what_is_this(MODEL, IMAGE, MASKS["disk"], ["disk", "bar"], limits=Limits(0.9999, 0.999, 0.99))
    assert told.verdict == "disk"


class NeverShownCt(GrayModel):
    knows_ct = False

    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        return replace(super().saliency(image, text), knows_ct=False)


def test_of_ct_a_model_that_never_saw_one_tells_nothing() -> None:
    for asked, can_tell in ((Asked.of(NeverShownCt(), "CT"), False), (Asked.of(GrayModel(), "CT"), True)):
        for told in (
            asked.name(IMAGE, MASKS["square"], SHAPES),
            asked.answer(IMAGE, None, "is there a disk?"),
            asked.answer(IMAGE, MASKS["square"], "is this a disk or a square?"),
        ):
            assert told.is_told == can_tell
            assert can_tell or ("looks like CT" in told.reason and not told.candidates and not told.confidence)
    mask = Asked.of(GrayModel(), "mask").answer(IMAGE, None, "is there a disk?")
    assert not mask.is_told and "as a mask does" in mask.reason
    # What it can't tell of any image has its own reason.
    assert "does not know" in Asked.of(NeverShownCt(), "CT").answer(IMAGE, None, "is there a kidney?").reason
