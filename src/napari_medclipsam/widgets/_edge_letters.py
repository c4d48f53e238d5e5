"""Letters at the edges of the canvas: which side of the patient is where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.components.overlays import TextOverlay

from napari_medclipsam.widgets._adapters import Edges

if TYPE_CHECKING:
    from napari.components import ViewerModel

_POSITIONS = {
    "left": "middle_left",
    "right": "middle_right",
    "top": "top_center",
    "bottom": "bottom_center",
}


class EdgeLetters:
    """Four letters of a viewer, of L R (left, right), A P (front, back), S I (head, feet)."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._overlays = {
            side: TextOverlay(position=position, font_size=14, visible=False) for side, position in _POSITIONS.items()
        }
        for side, overlay in self._overlays.items():
            viewer.canvas.overlays[f"medclipsam {side}"] = overlay

    def show(self, edges: Edges | None) -> None:
        """Show the letters; None hides them."""
        for side, overlay in self._overlays.items():
            if edges is not None:
                overlay.text = getattr(edges, side)
            overlay.visible = edges is not None

    def remove(self) -> None:
        """Take the letters off the canvas."""
        for side in self._overlays:
            self._viewer.canvas.overlays.pop(f"medclipsam {side}", None)
