"""Images in, masks out, geometry kept. File libraries are loaded only when a file of their kind is opened."""

from napari_medclipsam.images.io import read_image, read_mask, write_mask
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.images.volume import Volume

__all__ = ["Slice", "Volume", "read_image", "read_mask", "write_mask"]
