import pytest

from napari_medclipsam.search.index import Coverage
from napari_medclipsam.wording import counted


@pytest.mark.parametrize(("n", "told"), [(0, "0 slices"), (1, "1 slice"), (2, "2 slices")])
def test_a_number_of_things(n, told):
    assert counted(n, "slice") == told


def test_a_plural_of_its_own():
    assert (counted(1, "study", "studies"), counted(3, "study", "studies")) == ("1 study", "3 studies")


def test_an_index_of_one_slice_is_said_in_the_singular():
    assert Coverage(1, 1).words == "The 1 slice is indexed." and Coverage(0, 1).words == "0 of 1 slice is indexed."
