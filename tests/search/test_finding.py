"""Words that the model knows, and words that it does not."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_medclipsam.models.lite.regions import slice_score
from napari_medclipsam.search.building import build
from napari_medclipsam.search.finding import find_text
from napari_medclipsam.search.index import Index
from napari_medclipsam.search.leads import lead
from napari_medclipsam.search.rows import Kind
from synthetic import LEVELS, PooledGrays


class Schooled(PooledGrays):
    """Knows which words it was taught."""

    def nearest_known(self, text: str) -> tuple[bool, str]:
        return text in LEVELS, "disk"

    def unheard(self, text: str) -> tuple[str, ...]:
        return ()


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


rows = st.tuples(st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1.0]), st.sampled_from(Kind), st.booleans())


@given(st.lists(st.lists(rows, min_size=1, max_size=6), min_size=1, max_size=5))
def test_a_slice_is_as_near_as_its_three_best_parts_or_its_best_region(slices):
    flat = [row for one in slices for row in one]
    cosines = np.array([row[0] for row in flat], np.float32)
    kinds, is_in = np.array([row[1] for row in flat], np.uint8), np.array([row[2] for row in flat])
    starts = np.cumsum([0, *map(len, slices)])
    scores, nearest = lead(cosines, kinds, is_in, starts)
    for number, one in enumerate(slices):
        parts = [cosine for cosine, kind, there in one if there and kind == Kind.PART]
        regions = [cosine for cosine, kind, there in one if there and kind == Kind.REGION]
        by_parts = slice_score(np.array(parts)) if parts else -np.inf
        by_region = max(regions, default=-np.inf)
        np.testing.assert_allclose(scores[number], max(by_parts, by_region), atol=1e-6)
        if np.isfinite(scores[number]):
            cosine, _, there = flat[nearest[number]]
            assert there and starts[number] <= nearest[number] < starts[number + 1]
            assert cosine == (by_region if by_region >= by_parts else max(parts))
