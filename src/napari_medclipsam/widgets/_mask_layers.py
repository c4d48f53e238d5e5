"""Masks, proposals and saliency of a session as napari layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import Colormap, DirectLabelColormap, ensure_colormap
from napari.utils.colormaps.standardize_color import transform_color

from napari_medclipsam.annotation.book import Change
from napari_medclipsam.annotation.classes import ClassTable
from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.napari_io import METADATA_KEY
from napari_medclipsam.widgets import _adapters as adapters

if TYPE_CHECKING:
    from napari.components import ViewerModel

_CLEAR = np.zeros(4)
_LIGHTER = 0.25
OUTLINE_PX = 2
_OPACITY = 0.5
# From here on the overlay is no longer see-through.
_OPAQUE_FROM = 0.6


def _overlay_colormap() -> Colormap:
    """Return colours that rise evenly in lightness, for every eye, and let the image through where nothing is seen."""
    steps = np.linspace(0, 1, 64)
    colors = np.array(ensure_colormap("inferno").map(steps))
    colors[:, 3] = np.clip(steps / _OPAQUE_FROM, 0, 1)
    return Colormap(colors, name="medclipsam saliency")


def class_colormap(classes: ClassTable, lighter: float = 0.0) -> DirectLabelColormap:
    """Return the colour of every class, moved towards white by a share, and none for those that are hidden."""
    colors: dict[int | None, np.ndarray] = {None: _CLEAR, 0: _CLEAR}
    for structure in classes:
        # A copy: napari remembers what it returns, and would return it lighter next time.
        rgba = transform_color(structure.color)[0].copy()
        rgba[:3] += lighter * (1 - rgba[:3])
        colors[structure.label] = rgba if structure.shown else _CLEAR
    return DirectLabelColormap(color_dict=colors)


class MaskLayers:
    """The Labels layers of a session: masks, which can be painted, and proposals, drawn as light outlines.

    Parameters
    ----------
    viewer : ViewerModel
        Gets the layers.
    image : Image
        Lies on the same grid.
    session : Session
        Its arrays are shown themselves, not copies.
    painted : callable
        Told a stroke as `Session.painted` takes it.
    replaced : callable
        Told the array that somebody put in the place of the masks.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        session: Session,
        painted: Callable[[tuple[np.ndarray, ...], np.ndarray, np.ndarray], None],
        replaced: Callable[[np.ndarray], None],
    ) -> None:
        self._session, self._painted, self._replaced = session, painted, replaced
        place = adapters.same_place(image)
        metadata = {key: value for key, value in image.metadata.items() if key == METADATA_KEY}
        shown = next((layer for layer in viewer.layers if layer.data is session.labels), None)
        self.masks: Labels = shown or viewer.add_labels(
            session.labels, name="masks", opacity=0.5, metadata=metadata, **place
        )
        self.proposals: Labels = viewer.add_labels(session.proposed, name="proposals", opacity=0.9, **place)
        self.proposals.editable = False
        self.masks.events.paint.connect(self._on_paint)
        self.masks.events.data.connect(self._on_data)
        self.show_outlines(viewer.dims.ndisplay == 2)
        self.recolor()

    @property
    def layers(self) -> tuple[Labels, Labels]:
        """Both layers, masks first."""
        return (self.masks, self.proposals)

    def unbind(self) -> None:
        """Listen no more; the layers stay as they are."""
        self.masks.events.paint.disconnect(self._on_paint)
        self.masks.events.data.disconnect(self._on_data)

    def recolor(self) -> None:
        """Give every class its colour, and none to those that are hidden."""
        for layer, lighter in ((self.masks, 0.0), (self.proposals, _LIGHTER)):
            layer.colormap = class_colormap(self._session.classes, lighter)

    def show_outlines(self, outlines: bool) -> None:
        """Draw proposals as outlines, or filled for the 3D view, which has none."""
        _outline(self.proposals, OUTLINE_PX if outlines else 0)

    def refresh(self, change: Change, at: SliceAt | None) -> None:
        """Draw what has changed, where it can be seen; all of it where no single slice is shown."""
        if any(structure.label not in self.proposals.colormap.color_dict for structure in self._session.classes):
            # A class that came with a box or a text in which nothing was found: without a colour it is not seen.
            self.recolor()
        for layer, boxes in ((self.masks, change.label_boxes), (self.proposals, change.proposed_boxes)):
            if boxes and (at is None or adapters.touches(boxes, at)):
                layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _on_paint(self, event: Any) -> None:
        self._painted(*adapters.stroke_of(event.value))
        # napari's own undo would change the mask behind the session's back; the session has taken the stroke in.
        self.masks._reset_history()

    def _on_data(self, event: Any) -> None:
        if self.masks.data is not self._session.labels:
            given = self.masks.data
            self.masks.data = self._session.labels
            self._replaced(np.asarray(given))


class SaliencyLayers:
    """Where the words are seen in one slice: an image over the slice, and the outline of the coarse mask.

    Parameters
    ----------
    viewer : ViewerModel
        Gets the layers.
    image : Image
        What they lie over.
    at : SliceAt
        Where they begin.
    """

    def __init__(self, viewer: ViewerModel, image: Image, at: SliceAt) -> None:
        self._image = image
        empty = np.zeros((1, 1))
        place = adapters.plane_place(image, at)
        self.map: Image = viewer.add_image(
            adapters.plane_data(empty.astype(np.float32), at),
            name="saliency",
            colormap=_overlay_colormap(),
            contrast_limits=(0, 1),
            blending="translucent_no_depth",
            opacity=_OPACITY,
            rgb=False,
            **place,
        )
        self.coarse: Labels = viewer.add_labels(
            adapters.plane_data(empty.astype(np.uint8), at), name="coarse mask", opacity=0.9, **place
        )
        self.coarse.editable = False
        self._colors: list[str] = []
        self.show_outlines(viewer.dims.ndisplay == 2)

    @property
    def layers(self) -> tuple[Image, Labels]:
        """Both layers, the map first."""
        return (self.map, self.coarse)

    def show_outlines(self, outlines: bool) -> None:
        """Draw the coarse mask as an outline; the 3D view has none, and shows the map alone."""
        _outline(self.coarse, int(outlines))
        self.coarse.opacity = 0.9 if outlines else 0.0

    def show(self, session: Session, at: SliceAt, level: float) -> None:
        """Show the answers of a slice and their coarse mask at a threshold."""
        answers = session.answers(at)
        if not answers:
            return
        self._draw(np.maximum.reduce([answer.saliency.values_yx for answer in answers]), session.coarse(at, level), at)
        found = [session.classes.named(answer.saliency.text) for answer in answers]
        colors = ["white" if structure is None else structure.color for structure in found]
        if colors != self._colors:
            self._colors = colors
            drawn: dict[int | None, np.ndarray] = {None: _CLEAR, 0: _CLEAR}
            drawn |= {number: transform_color(color)[0] for number, color in enumerate(colors, start=1)}
            self.coarse.colormap = DirectLabelColormap(color_dict=drawn)

    def show_map(self, values_yx: np.ndarray, at: SliceAt) -> None:
        """Show a map of a slice that no text was outlined by, in the place of what is shown."""
        self._draw(values_yx, np.zeros(values_yx.shape, np.uint8), at)

    def _draw(self, values_yx: np.ndarray, coarse_yx: np.ndarray, at: SliceAt) -> None:
        place = adapters.plane_place(self._image, at)
        for layer, plane in ((self.map, values_yx), (self.coarse, coarse_yx)):
            _put(layer, adapters.plane_data(plane, at))
            # Moving a layer costs the window a frame: only when the slice is another one.
            if not np.array_equal(layer.affine.affine_matrix, place["affine"]):
                layer.affine = place["affine"]

    def set_level(self, session: Session, at: SliceAt, level: float) -> None:
        """Draw the coarse mask of a slice at another threshold."""
        if session.answers(at):
            _put(self.coarse, adapters.plane_data(session.coarse(at, level), at))


def _outline(layer: Labels, width_px: int) -> None:
    """Draw the outlines of a layer so wide, or it filled for 0; napari slices it anew even for the width it has."""
    if layer.contour != width_px:
        layer.contour = width_px


def _put(layer: Image | Labels, data: np.ndarray) -> None:
    """Show other data in a layer that is ours alone."""
    if layer.data.shape == data.shape and layer.data.dtype == data.dtype:
        # A new array would have napari measure everything anew, which takes three times as long.
        layer.data[...] = data
        layer.refresh(thumbnail=False, highlight=False, extent=False)
    else:
        layer.data = data.copy()
