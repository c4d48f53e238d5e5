"""Image-caption pairs: where they come from, and what is wrong with some."""

from __future__ import annotations

import re

import numpy as np
import pytest
from captioned import CAPTIONS, picture_of, write_pairs, write_table
from PIL import Image

from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.captions import read_captions
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import images_in


@pytest.fixture
def images(tmp_path):
    """Three images, a.png to c.png."""
    rng = np.random.default_rng(0)
    for name, caption in zip("abc", CAPTIONS, strict=False):
        Image.fromarray(picture_of(caption, rng)).save(tmp_path / f"{name}.png")
    return tmp_path


def pairs_of(folder, *rows, head=("image", "caption")):
    return read_captions(write_table(folder / "pairs.csv", list(rows), head), "salt")


GOOD = (("a.png", "a brain tumor"), ("b.png", "no tumor"))


def test_a_table(images):
    found = pairs_of(images, ("a.png", "  a brain\n tumor ", "Ana"), ("b.png", "none", "Ana"), ("c.png", "cyst", ""),
                     head=("image", "caption", "patient"))  # fmt: skip
    assert [pair.caption for pair in found.pairs] == ["a brain tumor", "none", "cyst"] and not found.notes
    ana, also_ana, other = (pair.patient for pair in found.pairs)
    assert ana == also_ana != other and "Ana" not in ana
    assert found.pairs[0].read().pixels.shape[:2] == (32, 32)


def test_a_folder_of_texts_beside_images(images):
    (images / "a.txt").write_text("a tumor")
    (images / "b.txt").write_text("none")
    found = read_captions(images, "salt")
    assert [pair.caption for pair in found.pairs] == ["a tumor", "none"]
    assert found.notes == ("1 pair (pair 3) is left out, for the caption is empty.",)
    assert len({pair.patient for pair in found.pairs}) == 2


def test_cases_of_a_project(tmp_path):
    write_pairs(tmp_path / "scans", 1)
    with Project.create(tmp_path / "project", ["disk"], "ana") as project:
        list(project.add(images_in(tmp_path / "scans")))
        cases = list(project.studies)
    with pytest.raises(LearningError, match=r"captions.csv, a CSV file with the columns case"):
        read_captions(tmp_path / "project", "salt")
    rows = [(cases[0], "a square"), (cases[1], "stripes"), ("c9999", "a frame")]
    write_table(tmp_path / "project" / "captions.csv", rows, ("case", "caption"))
    found = read_captions(tmp_path / "project", "salt")
    assert [pair.patient for pair in found.pairs] == cases[:2]
    assert found.pairs[1].read().pixels.shape[:2] == (32, 32)
    assert found.notes == ("1 pair (line 4) is left out, for there is no image.",)


@pytest.mark.parametrize(
    ("rows", "n_pairs", "note"),
    [
        ([("c.png", " ")], 2, "the caption is empty"),
        ([("gone.png", "a cyst")], 2, r"\(line 4\) is left out, for there is no image"),
        ([("", "a cyst"), ("x.png", "y")], 2, r"2 pairs are left out, for there is no image \(line 4, line 5\)"),
        ([("c.png", "опухоль мозга")], 2, "not in Latin letters"),
        ([("c.png", "Raumforderung links, nicht im Marklager")], 3, "does not look English"),
        ([("a.png", "a brain tumor")], 2, "the same image has the same caption"),
        ([("c.png", "No tumor.")], 3, "1 of 3 pairs repeat a caption; equal captions never meet"),
    ],
)
def test_what_is_wrong_is_counted_and_said(images, rows, n_pairs, note):
    found = pairs_of(images, *GOOD, *rows)
    assert len(found.pairs) == n_pairs and len(found.notes) == 1
    assert re.search(note, found.notes[0])


@pytest.mark.parametrize(
    ("rows", "head", "said"),
    [
        ([("a.png", "a cyst"), ("b.png", "a cyst")], ("image", "caption"), "all 2 pairs have the same caption"),
        ([("a.png", "a cyst")], ("image", "caption"), "there are 1"),
        ([], ("image", "caption"), "there are 0"),
        ([("a.png", "")], ("image", "caption"), "there are 0. 1 pair"),
        (list(GOOD), ("picture", "caption"), "has no column image; it has picture, caption"),
        ([("a.png", "x", "first")], ("image", "caption", "slice"), "The slice in line 2 is 'first'"),
    ],
)
def test_nothing_to_learn_from(images, rows, head, said):
    with pytest.raises(LearningError, match=said):
        pairs_of(images, *rows, head=head)


def test_no_source(tmp_path):
    with pytest.raises(LearningError, match="There is no "):
        read_captions(tmp_path / "nowhere", "salt")
    with pytest.raises(LearningError, match="has no captions: put a text file"):
        read_captions(tmp_path, "salt")
    (tmp_path / "pairs.csv").write_bytes(b"image,caption\n\xff\xfe,x\n")
    with pytest.raises(LearningError, match="can't be read as a table"):
        read_captions(tmp_path / "pairs.csv", "salt")
