import os
from pathlib import Path

import numpy as np
import pytest

from napari_medclipsam.errors import GeometryError, ImageError
from napari_medclipsam.evaluation.datasets import open_dataset, read_sample
from synthetic import save

DATA = Path(os.environ.get("MEDCLIPSAM_DATA", Path(__file__).parents[3] / "shared" / "data"))


def test_rows_of_a_split(data_set):
    test = open_dataset(data_set)
    assert (test.name, test.split, len(test.samples)) == ("shapes", "test", 5)
    assert len(open_dataset(data_set, "all").samples) == 6
    image, mask = read_sample(test.samples[0])
    assert image.pixels.shape == mask.shape and mask.dtype == bool and mask.any()
    assert not read_sample(test.samples[-1])[1].any()


def test_a_folder_without_index(data_set):
    (data_set / "index.csv").unlink()
    found = open_dataset(data_set)
    assert found.split == "" and [s.name for s in found.samples] == [f"p{i}" for i in range(6)]


def test_what_is_wrong_is_said(data_set, tmp_path):
    with pytest.raises(ImageError, match="test, train"):
        open_dataset(data_set, "validation")
    with pytest.raises(ImageError, match="images"):
        open_dataset(tmp_path / "nowhere")
    (data_set / "masks" / "p3.png").unlink()
    with pytest.raises(ImageError, match="mask for 'p3'"):
        open_dataset(data_set)
    (data_set / "index.csv").write_text("id\n1\n")
    with pytest.raises(ImageError, match="column 'name'"):
        open_dataset(data_set)


def test_a_mask_of_another_size_is_refused(data_set):
    save(data_set / "masks" / "p1.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(GeometryError):
        read_sample(open_dataset(data_set).samples[0])


@pytest.mark.parametrize(
    ("name", "n_test"), [("brain_mri", 534), ("breast_us", 155), ("polyps", 100), ("chest_xray", 39)]
)
def test_real_data_sets(name, n_test):
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} is not on this machine")
    found = open_dataset(DATA / name)
    assert len(found.samples) == n_test
    image, mask = read_sample(found.samples[0])
    assert mask.shape == image.shape_yx and mask.any()
