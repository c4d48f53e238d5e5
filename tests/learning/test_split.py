"""Which patients are held out."""

from __future__ import annotations

import pytest

from napari_medclipsam.errors import ProjectError
from napari_medclipsam.learning.split import ALWAYS_LEARNT, read_split, split_of


def test_what_was_decided_never_changes(tmp_path):
    first = split_of(tmp_path, "id", [f"p{n}" for n in range(9)])
    later = split_of(tmp_path, "id", [f"p{n}" for n in range(5, 60)])
    assert {p: later.held_out[p] for p in first.held_out} == first.held_out
    assert all(later.fold(p) == first.fold(p) for p in first.held_out)
    assert read_split(tmp_path) == later


def test_the_order_of_patients_that_come_together_means_nothing(tmp_path):
    names = [f"p{n}" for n in range(30)]
    found = []
    for place, project_id, given in (("a", "id", names), ("b", "id", names[::-1]), ("c", "another", names)):
        (tmp_path / place).mkdir()
        found.append(split_of(tmp_path / place, project_id, given))
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("project_id", ["1", "2", "3", "4"])
def test_about_a_third_is_held_out_and_the_first_teach(tmp_path, project_id):
    for n in range(ALWAYS_LEARNT):
        assert not split_of(tmp_path, project_id, [f"p{n}"]).held_out[f"p{n}"]
    share = [split_of(tmp_path, project_id, [f"p{n}"]).held_out[f"p{n}"] for n in range(4, 120)]
    assert 0.25 < sum(share) / 120 < 0.42
    assert any(share[:6])


def test_a_damaged_split_is_not_made_anew(tmp_path):
    split_of(tmp_path, "id", ["a"])
    (tmp_path / "models/split.json").write_text("{")
    with pytest.raises(ProjectError, match="damaged"):
        split_of(tmp_path, "id", ["b"])
