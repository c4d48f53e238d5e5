"""What is said beside an answer."""

from dataclasses import dataclass

import numpy as np

from napari_medclipsam.models.contracts import SaliencyMap
from napari_medclipsam.saliency.caution import caution_of, cautions_of


@dataclass
class _Image:
    looks_like: str = ""


def _seen(text: str, **more) -> SaliencyMap:
    return SaliencyMap(np.ones((4, 4), np.float32), text, 0.9, more.pop("present", True), **more)


def test_two_names_of_one_thing_are_said_to_be() -> None:
    kinds = [_seen("meningioma", structure="brain tumor"), _seen("glioma", structure="brain tumor")]
    told = cautions_of(kinds, _Image())
    assert '"meningioma" and "glioma" are looked for as one thing, "brain tumor"' in told
    assert not caution_of(kinds, _Image()), "phrasings that are compared are no structures beside each other"
    assert not cautions_of(kinds[:1], _Image())
    assert not cautions_of([kinds[0], _seen("glioma", structure="brain tumor", present=False)], _Image())
    assert not cautions_of(
        [_seen("left lung", structure="left lung"), _seen("right lung", structure="right lung")], _Image()
    )
    assert not cautions_of([_seen("a"), _seen("b")], _Image()), "models without a vocabulary"


def test_ct_and_one_thing_are_both_said() -> None:
    kinds = [_seen(text, structure="brain tumor", knows_ct=False) for text in ("meningioma", "glioma")]
    told = cautions_of(kinds, _Image("CT"))
    assert "looks like CT" in told and "one thing" in told


def test_of_a_mask_nothing_that_is_found_counts() -> None:
    assert "as a mask does" in caution_of([_seen("a")], _Image("mask"))
    assert not caution_of([_seen("a", known=False)], _Image("mask"))
