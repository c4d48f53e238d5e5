"""What is embedded, what is not made again, and what is found."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.errors import ModelError, ProjectError, PromptError
from napari_medclipsam.projects.project import Project
from napari_medclipsam.search.building import build, out_of_date, require_encoder
from napari_medclipsam.search.finding import find_like, find_text
from napari_medclipsam.search.index import Index, Scope
from napari_medclipsam.search.queries import accepted_region
from napari_medclipsam.search.rows import Kind
from search.conftest import N, accept, at
from synthetic import Both, PooledGrays, picture


def built(project, store, encoder) -> Index:
    assert not any(done.trouble for done in build(project, store, encoder))
    index = Index(project, store, encoder.version)
    index.refresh()
    return index


def places(found) -> list[tuple[str, int]]:
    return [(answer.case, answer.at.index) for answer in found.answers]


def test_a_text_finds_its_slices_and_those_alone(project, store, encoder):
    index = built(project, store, encoder)
    assert index.coverage.words == f"All {3 * N} slices are indexed."
    found = find_text(index, encoder, "disk")
    assert set(places(found)) == {("c0001", 0), ("c0001", 1), ("c0002", 1)}
    x0, y0, x1, y1 = found.answers[0].box_xyxy
    assert found.answers[0].kind == Kind.PART and x0 <= 20 <= x1 and y0 <= 18 <= y1
    assert places(find_text(index, encoder, "a bar")) == [("c0002", 2)]
    assert set(places(find_text(index, encoder, "disk", Scope(case="c0001")))) == {("c0001", 0), ("c0001", 1)}
    assert len(places(find_text(index, encoder, "disk", top=1))) == 1


def test_what_nothing_looks_like_is_not_claimed(project, store, encoder):
    index = built(project, store, encoder)
    found = find_text(index, encoder, "gizmo")
    assert not found.answers and "Can't tell" in found.message
    with pytest.raises(PromptError, match="empty"):
        find_text(index, encoder, "  ")


def test_only_what_has_changed_is_embedded_again(project, store, encoder):
    built(project, store, encoder)
    assert out_of_date(project, store, encoder.version) == []
    before = encoder.n_embedded
    with project.open_case("c0001") as case:
        accept(case, 0, "disk")
    assert out_of_date(project, store, encoder.version) == ["c0001"]
    (done,) = build(project, store, encoder)
    assert (done.case, done.n_new, done.was_other) == ("c0001", 1, False)
    assert encoder.n_embedded == before + 1
    rows = store.read("c0001")
    (number,) = np.flatnonzero(rows.kinds == Kind.REGION)
    row = rows.row(number)
    assert row.at == at(0) and row.key == ObjectKey(1) and row.box_xyxy == (11, 9, 29, 27)
    assert list(build(project, store, encoder)) == [] and encoder.n_embedded == before + 1


def test_what_is_taken_back_leaves_the_index(project, store, encoder):
    with project.open_case("c0001") as case:
        accept(case, 0, "disk")
        accept(case, 1, "disk")
    index = built(project, store, encoder)
    assert len(find_text(index, encoder, "disk", Scope(accepted=True)).answers) == 2
    with project.open_case("c0001") as case:
        case.session.clear(at(1))
    assert [done.n_new for done in build(project, store, encoder)] == [1]
    index.refresh()
    assert places(find_text(index, encoder, "disk", Scope(accepted=True))) == [("c0001", 0)]


def test_a_region_finds_what_looks_like_it(project, store, encoder):
    with project.open_case("c0001") as case:
        accept(case, 0, "disk")
    index = built(project, store, encoder)
    where, image, mask_yx = accepted_region(project, "c0001", 0, "Disk")
    assert where == at(0) and mask_yx.shape == image.shape_yx
    own = ("c0001", at(0))
    found = find_like(index, encoder, image, mask_yx, Scope(not_at=own))
    assert set(places(found)) == {("c0001", 1), ("c0002", 1)}
    assert places(find_like(index, encoder, image, mask_yx, Scope(not_case="c0001", not_at=own))) == [("c0002", 1)]
    with pytest.raises(PromptError, match="outline something"):
        find_like(index, encoder, image, np.zeros_like(mask_yx))
    with pytest.raises(PromptError, match="covers all of the slice"):
        find_like(index, encoder, image, np.ones_like(mask_yx), Scope(not_at=own))


def test_a_region_that_is_not_there_is_refused_in_words(project):
    for case, index, name, error, told in (
        ("c0001", 0, "gizmo", ProjectError, "no class"),
        ("c0001", 0, "disk", PromptError, "Nothing of disk is accepted"),
        ("c0001", 99, "disk", PromptError, "slices 0 to 4"),
        ("c0009", 0, "disk", ProjectError, "no case c0009"),
    ):
        with pytest.raises(error, match=told):
            accepted_region(project, case, index, name)


def test_another_version_is_built_anew_and_said(project, store, encoder):
    built(project, store, encoder)
    other = PooledGrays("grays-2")
    index = Index(project, store, other.version)
    index.refresh()
    assert index.coverage.n_indexed == 0 and "another version" in index.coverage.words
    assert not find_text(index, other, "disk").answers
    results = list(build(project, store, other))
    assert all(done.was_other for done in results) and {store.read(c).version for c in project.studies} == {"grays-2"}
    index.refresh()
    assert index.coverage.n_indexed == 3 * N and "another" not in index.coverage.words


def test_an_image_that_was_replaced_is_embedded_again(project, store, encoder, tmp_path):
    index = built(project, store, encoder)
    (tmp_path / "in" / "c0002.nii").replace(tmp_path / "in" / "c0001.nii")
    study = project.relocate("c0001", tmp_path / "in" / "c0001.nii", accept_changed=True)
    assert out_of_date(project, store, encoder.version) == ["c0001"]
    index.refresh()
    assert ("c0001", 0) not in places(find_text(index, encoder, "disk"))
    results = {done.case: done for done in build(project, store, encoder)}
    assert results["c0001"].was_other and store.read("c0001").image == study.sha256


def test_a_moved_image_is_said_and_the_rest_is_indexed(project, store, encoder, tmp_path):
    (tmp_path / "in" / "c0002.nii").unlink()
    troubles = {done.case: done.trouble for done in build(project, store, encoder)}
    assert "c0002" in troubles["c0002"] and not troubles["c0001"] and not troubles["c0003"]
    index = Index(project, store, encoder.version)
    index.refresh()
    assert index.coverage.words == f"{2 * N} of {3 * N} slices are indexed."
    assert "10 of 15 slices" in find_text(index, encoder, "disk").message


def test_it_goes_on_where_it_was_stopped(project, store, encoder):
    asked = iter([False] * 4 + [True] * 99)
    told: list[int] = []
    list(build(project, store, encoder, progress=told.append, cancelled=lambda: next(asked)))
    assert len(store.read("c0001").slices()) == 3
    encoder.n_embedded = 0
    results = list(build(project, store, encoder, progress=told.append))
    assert [done.n_new for done in results] == [2, N, N] and sum(told) == 3 + 3 * N


def test_an_empty_project_and_cases_that_are_gone(tmp_path, project, store, encoder):
    with Project.create(tmp_path / "empty") as empty:
        index = built(empty, store, encoder)
        assert (
            index.coverage.words == "The project has no slices yet." and not find_text(index, encoder, "disk").answers
        )
    assert store.stamps() == {}
    index = built(project, store, encoder)
    del project.studies["c0001"]
    index.refresh()
    assert places(find_text(index, encoder, "disk")) == [("c0002", 1)]
    list(build(project, store, encoder))
    assert set(store.stamps()) == {"c0002", "c0003"}


def test_other_axes_and_flat_pictures(tmp_path, store, encoder):
    from PIL import Image

    from napari_medclipsam.projects.studies import images_in

    Image.fromarray(picture("disk")[0]).save(tmp_path / "film.png")
    with Project.create(tmp_path / "flat", ["disk"]) as flat:
        list(flat.add(images_in(tmp_path / "film.png")))
        index = built(flat, type(store)(flat.folder), encoder)
        (answer,) = find_text(index, encoder, "disk").answers
        assert answer.at == SliceAt((None, None)) and answer.case == "c0001"


def test_a_model_without_vectors_is_refused():
    with pytest.raises(ModelError, match="can't search"):
        require_encoder(Both())
    assert isinstance(require_encoder(PooledGrays()), PooledGrays)
