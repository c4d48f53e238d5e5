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
    """Four letters of a viewer, of L R (left, right), A P (front, back), S I (head, feet).

    To draw them for the first time takes longer than to draw the dock: they are made one by one, by `make_next`.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._wanted: Edges | None = None
        self._overlays: dict[str, TextOverlay] = {}

    def show(self, edges: Edges | None) -> None:
        """Show the letters, once they are made; None hides them."""
        self._wanted = edges
        for side, overlay in self._overlays.items():
            if edges is not None:
                overlay.text = getattr(edges, side)
            overlay.visible = edges is not None

    def make_next(self) -> bool:
        """Make the next letter and show it; return whether there are more to be made."""
        side = next(side for side in _POSITIONS if side not in self._overlays)
        overlay = TextOverlay(position=_POSITIONS[side], font_size=14, visible=False)
        self._overlays[side] = self._viewer.canvas.overlays[f"medclipsam {side}"] = overlay
        self.show(self._wanted)
        return len(self._overlays) < len(_POSITIONS)

    def remove(self) -> None:
        """Take the letters off the canvas."""
        for side in self._overlays:
            self._viewer.canvas.overlays.pop(f"medclipsam {side}", None)
