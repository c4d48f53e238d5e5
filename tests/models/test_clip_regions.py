import numpy as np
import pytest
import torch

from clip_samples import TOWERS, make_encoder, noise_image
from napari_medclipsam.errors import ModelError, PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import RegionEncoder

IMAGE = noise_image()
ALL = np.ones((1, *IMAGE.shape_yx), bool)


def corner(rows: int, columns: int) -> np.ndarray:
    mask = np.zeros((1, *IMAGE.shape_yx), bool)
    mask[:, :rows, :columns] = True
    return mask


@pytest.mark.parametrize("kind", TOWERS)
def test_regions_are_unit_vectors_of_their_own(kind: str) -> None:
    encoder = make_encoder(kind)
    assert isinstance(encoder, RegionEncoder) and encoder.scale > 0
    vectors = encoder.embed_regions(IMAGE, np.concatenate([corner(20, 30), corner(1, 1), ALL]))
    assert vectors.shape == (3, 8) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert not np.allclose(vectors[0], vectors[2], atol=1e-3)
    np.testing.assert_allclose(encoder.embed_regions(IMAGE, corner(20, 30))[0], vectors[0], atol=1e-5)


def test_the_whole_image_is_near_the_image_where_the_tower_reads_the_mean_of_its_patches() -> None:
    encoder = make_encoder("average")
    # Not the same: a norm comes before the mean in the one and after it in the other.
    assert float(encoder.embed_regions(IMAGE, ALL)[0] @ encoder.embed_image(IMAGE)) > 0.999


def test_a_region_hears_what_is_changed_inside_it_most() -> None:
    encoder = make_encoder("average")
    pixels = IMAGE.pixels.copy()
    pixels[:10, :10] = 255 - pixels[:10, :10]
    changed = Slice(pixels)

    def moved(mask: np.ndarray) -> float:
        return float(1 - encoder.embed_regions(IMAGE, mask)[0] @ encoder.embed_regions(changed, mask)[0])

    assert moved(corner(10, 10)) > moved(corner(40, 60)[:, ::-1, ::-1] & ~corner(20, 30))


@pytest.mark.parametrize("masks", [corner(0, 0), ALL[:, :5], ALL[0]])
def test_masks_that_are_no_regions_are_refused(masks: np.ndarray) -> None:
    with pytest.raises(PromptError):
        make_encoder("plain").embed_regions(IMAGE, masks)


def test_a_tower_without_patches_is_refused_in_words() -> None:
    with torch.inference_mode(), pytest.raises(ModelError, match="vision transformer"):
        make_encoder("resnet").embed_regions(IMAGE, ALL)
