"""What two versions draw in the slice on screen, as two outlines over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.colormaps.standardize_color import transform_color

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.learning.outlines import AFTER, BEFORE
from napari_medclipsam.learning.showing import Drawn
from napari_medclipsam.widgets import _adapters as adapters

if TYPE_CHECKING:
    from napari.components import ViewerModel

_OUTLINE_PX = 1


class VersionLayers:
    """Two layers that come and go together.

    Parameters
    ----------
    viewer : ViewerModel
        Gets them.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.layers: list[Labels] = []

    def show(self, image: Image, at: SliceAt, drawn: Sequence[Drawn]) -> None:
        """Show what was drawn in a slice of an image, in the place of what was shown before."""
        self.remove()
        active = self._viewer.layers.selection.active
        for one, color in zip(drawn, (BEFORE, AFTER), strict=False):
            colors = {None: np.zeros(4), 0: np.zeros(4), 1: transform_color(color)[0]}
            layer = self._viewer.add_labels(
                adapters.plane_data(one.mask_yx.astype(np.uint8), at),
                name=f"{one.version} draws",
                opacity=1.0,
                colormap=DirectLabelColormap(color_dict=colors),
                **adapters.plane_place(image, at),
            )
            layer.contour = _OUTLINE_PX
            layer.editable = False
            self.layers.append(layer)
        if active in self._viewer.layers:
            self._viewer.layers.selection.active = active

    def remove(self) -> None:
        """Take them away."""
        adapters.remove_layers(self._viewer, self.layers)
        self.layers = []
