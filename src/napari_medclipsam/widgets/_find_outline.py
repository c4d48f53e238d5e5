"""Where in a slice a search has found something: an outline that goes with the next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image, Shapes

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.prompts import BoxXYXY
from napari_medclipsam.widgets import _adapters as adapters

if TYPE_CHECKING:
    from napari_medclipsam.widgets._workspace import Workspace

# Okabe and Ito's yellow: it stands out on gray, and is none of the colours of prompts.
_COLOR = "#F0E442"
_EDGE_SHARE = 1 / 150


class FindOutline:
    """A box in the slice on screen.

    Parameters
    ----------
    workspace : Workspace
        Shows the slice; whatever happens in it takes the box away.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._viewer = workspace.viewer
        self.layer: Shapes | None = None
        workspace.refreshed.connect(self.remove)

    def show(self, image: Image, at: SliceAt, box_xyxy: BoxXYXY) -> None:
        """Show a box in a slice of an image, in the place of what was shown before."""
        self.remove()
        active = self._viewer.layers.selection.active
        side = max(image.data.shape[axis] for axis in at.axes_yx)
        self.layer = self._viewer.add_shapes(
            [adapters.box_to_corners(box_xyxy, at)],
            shape_type="rectangle",
            name="found here",
            edge_color=_COLOR,
            edge_width=max(1.0, side * _EDGE_SHARE),
            face_color="#00000000",
            **adapters.same_place(image),
        )
        self.layer.editable = False
        self._viewer.layers.selection.active = active if active in self._viewer.layers else image

    def remove(self) -> None:
        """Take it away."""
        # First forgotten: that a layer goes is told to all, and ends here again.
        layer, self.layer = self.layer, None
        if layer is not None:
            adapters.remove_layers(self._viewer, [layer])
