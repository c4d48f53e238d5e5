"""Words that the model knows, and words that it does not."""

from __future__ import annotations

from napari_medclipsam.search.building import build
from napari_medclipsam.search.finding import find_text
from napari_medclipsam.search.index import Index
from synthetic import LEVELS, PooledGrays


class Schooled(PooledGrays):
    """Knows which words it was taught."""

    def nearest_known(self, text: str) -> tuple[bool, str]:
        return text in LEVELS, "disk"


def test_a_word_that_was_never_taught_is_said_so(project, store):
    encoder = Schooled()
    list(build(project, store, encoder))
    index = Index(project, store, encoder.version)
    index.refresh()
    known, unknown = find_text(index, encoder, "disk"), find_text(index, encoder, "gizmo")
    assert known.is_known and len(known.answers) == 3 and known.message == '3 slices look like "disk".'
    assert not unknown.is_known and not unknown.answers
    assert 'not taught "gizmo" (the nearest that it knows: disk)' in unknown.message
    assert [answer.words for answer in known.answers] == ["very likely"] * 3
    scores = [answer.score for answer in known.answers]
    assert scores == sorted(scores, reverse=True)
