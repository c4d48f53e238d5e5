"""Texts that name a structure of the model's vocabulary: ranked by the presence that was stored."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from napari_medclipsam.errors import PromptError
from napari_medclipsam.projects.studies import images_in
from napari_medclipsam.search.building import build, index_version, out_of_date
from napari_medclipsam.search.finding import find_like, find_text
from napari_medclipsam.search.index import Index, Scope
from napari_medclipsam.search.queries import accepted_region
from napari_medclipsam.search.work import IndexRequest, Shelf
from search.conftest import N, accept, at
from synthetic import LEVELS, IntensityGrounder, PooledGrays, RegionGrower, picture


class Present(PooledGrays, IntensityGrounder):
    """Knows shapes and their kinds, and has been wrong about one slice: presence and vectors do not agree there."""

    name = "present"
    structures = tuple(LEVELS)
    presence_version = "p1"

    def nearest_known(self, text: str) -> tuple[bool, str]:
        return self.structure_of(text)[0] != "", "disk"

    def unheard(self, text: str) -> tuple[str, ...]:
        return ()

    def structure_of(self, text: str) -> tuple[str, str]:
        *kind, word = text.casefold().split()
        return (word, " ".join(kind)) if word in LEVELS else ("", "")

    def presences(self, image):
        found = {word: self.saliency(image, word).presence for word in self.structures}
        return found | {"bar": 0.6} if found["square"] > 0.5 else found


@pytest.fixture
def encoder():
    return Present()


def built(project, store, encoder) -> Index:
    assert not any(done.trouble for done in build(project, store, encoder))
    index = Index(project, store, index_version(encoder))
    index.refresh()
    return index


def presences_of(rows) -> dict:
    return {where: own[0].presences for where, own in rows.by_slice().items()}


def told(found) -> list[tuple[str, int, str]]:
    return [(answer.case, answer.at.index, answer.words) for answer in found.answers]


def test_slices_are_ranked_by_presence_where_the_structure_is_known(project, store, encoder):
    index = built(project, store, encoder)
    found = find_text(index, encoder, "bar")
    # Vectors would leave the second out.
    assert told(found) == [("c0002", 2, "very likely"), ("c0001", 2, "possible")]
    assert found.answers[1].score == pytest.approx(0.6) and found.n_claimed == 2 and found.is_known
    first = find_text(index, encoder, "disk", top=1)
    assert first.message == '3 slices look like "disk". This is the surest.' and first.n_claimed == 3
    assert "Can't tell" in find_text(index, encoder, "disk", Scope(case="c0003")).message
    unknown = find_text(index, encoder, "gizmo")
    assert not unknown.is_known and not unknown.answers
    with project.open_case("c0001") as case:
        accept(case, 0, "disk")
    _, image, mask_yx = accepted_region(project, "c0001", 0, "disk")
    like = find_like(index, encoder, image, mask_yx)
    assert {(case, number) for case, number, _ in told(like)} == {("c0001", 0), ("c0001", 1), ("c0002", 1)}


def test_what_a_reader_has_accepted_is_surely_there(project, store, encoder):
    with project.open_case("c0001") as case:
        # There is no disk to be seen in this slice.
        accept(case, 3, "disk")
        accept(case, 2, "square", 2)
    index = built(project, store, encoder)
    found = find_text(index, encoder, "disk")
    assert ("c0001", 3, "very likely") in told(found)
    (answer,) = [answer for answer in found.answers if answer.at.index == 3]
    assert (answer.score, answer.label, answer.box_xyxy) == (1.0, 1, (11, 9, 29, 27))
    only = find_text(index, encoder, "disk", Scope(accepted=True))
    assert told(only) == [("c0001", 3, "very likely")]
    # A kind is more than its structure: the model can't tell it, and what was accepted need not be of it.
    kind = find_text(index, encoder, "striped disk")
    assert kind.message.startswith('"striped disk" is looked for as "disk". 3 slices')
    assert ("c0001", 3) not in {(case, number) for case, number, _ in told(kind)}


def test_other_presences_and_a_former_format_are_built_anew_and_said(project, store, encoder):
    built(project, store, encoder)
    assert out_of_date(project, store, index_version(encoder)) == []
    path = store.folder / "c0002.safetensors"
    path.write_bytes(path.read_bytes().replace(b"medclipsam-search-3", b"medclipsam-search-2"))
    shelf = Shelf(project)
    assert shelf.index(encoder).coverage.is_other and shelf.index(encoder).coverage.n_indexed == 2 * N
    outcome = IndexRequest(shelf).run(encoder, RegionGrower())
    assert "another version of the program" in outcome.message and outcome.coverage.n_indexed == 3 * N
    encoder.presence_version = "p2"
    assert sorted(out_of_date(project, store, index_version(encoder))) == ["c0001", "c0002", "c0003"]


def test_presences_are_kept_while_other_slices_change(project, store, encoder):
    built(project, store, encoder)
    before = presences_of(store.read("c0001"))
    with project.open_case("c0001") as case:
        accept(case, 1, "disk")
    (done,) = build(project, store, encoder)
    assert done.n_new == 1
    assert presences_of(store.read("c0001")) == before
    # A slice without contrast shows nothing.
    disks = [before[at(index)][0] for index in range(N)]
    assert disks == [1, 1, 0, 0, 0] and not any(before[at(N - 1)])


class Schooled(Present):
    """Was not taught CT."""

    knows_ct = False


def test_a_text_is_not_looked_for_in_ct_that_the_model_was_not_taught(tmp_path, project, store):
    # In the window for the abdomen, −160 to 240, these are the grays of the other cases.
    array = np.round(np.stack([picture("disk")[0]] * N) / 255 * 400 - 160).astype(np.int16)
    array[:, 0, 0] = -1000
    nibabel.save(nibabel.Nifti1Image(array.T, np.diag([-1.0, -1.0, 5.0, 1.0])), tmp_path / "in" / "ct.nii")
    list(project.add(images_in(tmp_path / "in")))
    everywhere = find_text(built(project, store, Present()), Present(), "disk")
    assert {case for case, _, _ in told(everywhere)} == {"c0001", "c0002", "c0004"}
    index = built(project, store, encoder := Schooled())
    found = find_text(index, encoder, "disk")
    assert {case for case, _, _ in told(found)} == {"c0001", "c0002"} and found.n_claimed == 3
    assert "c0004 looks like CT, so it is left out" in found.message
    only_ct = find_text(index, encoder, "disk", Scope(case="c0004"))
    assert not only_ct.answers and only_ct.message.endswith("the model was not taught CT.")
    assert "CT" not in find_text(index, encoder, "disk", Scope(not_case="c0004")).message
    # What a reader says is there, is.
    with project.open_case("c0004") as case:
        accept(case, 2, "disk")
    again = find_text(built(project, store, encoder), encoder, "disk")
    assert told(again)[0] == ("c0004", 2, "very likely") and again.n_claimed == 4


def test_what_is_denied_is_not_looked_for(project, store, encoder):
    index = built(project, store, encoder)
    with pytest.raises(PromptError, match="denies something"):
        find_text(index, encoder, "no disk")
