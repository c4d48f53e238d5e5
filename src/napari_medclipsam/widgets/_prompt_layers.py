"""Points and boxes of the slice on screen as napari layers: what the user does to them becomes `Prompts`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points, Shapes

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import BoxXYXY, Point, Prompts
from napari_medclipsam.widgets import _adapters as adapters

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

#: Apart in lightness and hue for every common colour blindness, and in shape as well.
POSITIVE = {"color": "#56B4E9", "symbol": "disc"}
NEGATIVE = {"color": "#D55E00", "symbol": "x"}
_NEGATIVE_MODIFIERS = {"Control", "Shift"}
_PAST = ("added", "removed", "changed")
_POINT_SHARE = 1 / 48
_LEAST_POINT_PX = 3.0
_EDGE_SHARE = 1 / 300
_LEAST_EDGE_PX = 0.8
_SAME_PX = 0.01

Edited = Callable[[Mapping[ObjectKey, Prompts], bool], None]
Expected = Callable[[ObjectKey, Prompts], None]


class PromptLayers:
    """A Points and a Shapes layer that hold the prompts of one slice, of all its objects.

    Parameters
    ----------
    viewer : ViewerModel
        Gets the layers.
    image : Image
        Lies on the same grid.
    edited : callable
        Told the prompts of every object of the slice after each change by the user, and whether a drag goes on.
    expected : callable
        Told the prompts that an object is about to get: a button was pressed, and napari adds a point when it is
        let go.
    """

    def __init__(self, viewer: ViewerModel, image: Image, edited: Edited, expected: Expected) -> None:
        self._viewer, self._edited, self._expected = viewer, edited, expected
        self._at: SliceAt | None = None
        self._known: dict[ObjectKey, Prompts] = {}
        self._current, self._color = ObjectKey(1), ""
        self._is_positive = True
        self._is_writing = False
        self._is_dragging = False
        self._boxes_rest = False
        side = max(image.data.shape[axis] for axis in range(image.ndim)[-2:])
        self._edge_px = max(_LEAST_EDGE_PX, side * _EDGE_SHARE)
        place = adapters.same_place(image)
        self.boxes: Shapes = viewer.add_shapes(
            ndim=image.ndim,
            name="boxes",
            features=_features([]),
            edge_width=self._edge_px,
            face_color="#00000000",
            **place,
        )
        self.points: Points = viewer.add_points(
            ndim=image.ndim,
            name="points",
            features=_features([], []),
            size=max(_LEAST_POINT_PX, side * _POINT_SHARE),
            border_color="white",
            border_width=0.12,
            **place,
        )
        for layer in (self.boxes, self.points):
            layer.events.data.connect(self._on_data)
            # First of all, so that a new point has its sign before napari adds it.
            layer.mouse_drag_callbacks.insert(0, self._on_drag)
        viewer.layers.selection.events.active.connect(self._rest_boxes)
        self._use_sign(True)

    @property
    def layers(self) -> tuple[Shapes, Points]:
        """Both layers, boxes first."""
        return (self.boxes, self.points)

    def unbind(self) -> None:
        """Listen no more; the layers stay as they are."""
        self._viewer.layers.selection.events.active.disconnect(self._rest_boxes)
        for layer in self.layers:
            layer.events.data.disconnect(self._on_data)
            if self._on_drag in layer.mouse_drag_callbacks:
                layer.mouse_drag_callbacks.remove(self._on_drag)

    def set_current(self, key: ObjectKey, color: str) -> None:
        """Give new prompts to an object and draw them in the colour of its class."""
        wanted = {"label": key.label, "number": key.number}
        if self._current == key and self._color == color and dict(self.boxes.feature_defaults.iloc[0]) == wanted:
            # Each of the settings below has napari tell the whole window.
            return
        self._current, self._color = key, color
        self.boxes.feature_defaults = wanted
        if not self.boxes.selected_data:
            self.boxes.current_edge_color = color
            self.boxes.current_edge_width = self._edge_px
        # The sign stays: this may come between the press and the release of a click.
        self._use_sign(self._is_positive)

    def _use_sign(self, positive: bool) -> None:
        """Make the next point that is added a positive or a negative one."""
        self._is_positive = positive
        style = POSITIVE if positive else NEGATIVE
        self.points.feature_defaults = {
            "label": self._current.label,
            "number": self._current.number,
            "positive": positive,
        }
        # napari gives what is chosen for new points to the selected ones too.
        with self.points.block_update_properties():
            self.points.current_face_color = style["color"]
            self.points.current_symbol = style["symbol"]

    def show(self, at: SliceAt | None, prompts: Mapping[ObjectKey, Prompts], colors: Mapping[int, str]) -> None:
        """Show the prompts of a slice, all of them new; nothing for None."""
        is_same_slice, self._at = at is not None and at == self._at, at
        self._known = {key: given for key, given in prompts.items() if given}
        is_empty = not len(self.points.data) and not len(self.boxes.data) and not self._known
        # The layers are ahead of the session while the mouse moves; to write them then would end the drag.
        if not is_empty and not (is_same_slice and (self._is_dragging or self._read() == self._known)):
            # Before boxes are written: a layer that rested through a change to 3D would mix their dimensions.
            self._rest_boxes()
            with self._writing():
                self._write_boxes(at, prompts, colors)
                self._write_points(at, prompts)
        self._rest_boxes()

    def _rest_boxes(self, event: Any = None) -> None:
        """Hide the boxes while there are none and nobody is about to draw one.

        napari makes the shaders of a Shapes layer anew for each slice, of an empty one too: a quarter of the time until
        a new slice is seen.
        """
        has_boxes = len(self.boxes.data) > 0 or any(given.boxes_xyxy for given in self._known.values())
        is_needed = has_boxes or self._viewer.layers.selection.active is self.boxes
        if is_needed and self._boxes_rest:
            self.boxes.visible, self._boxes_rest = True, False
        elif not is_needed and self.boxes.visible:
            self.boxes.visible, self._boxes_rest = False, True

    def _write_boxes(self, at: SliceAt | None, prompts: Mapping[ObjectKey, Prompts], colors: Mapping[int, str]) -> None:
        keys = [key for key, given in prompts.items() for _ in given.boxes_xyxy] if at is not None else []
        drawn = [
            adapters.box_to_corners(box, at) for given in prompts.values() for box in given.boxes_xyxy if at is not None
        ]
        self.boxes.selected_data = set()
        if len(self.boxes.data):
            self.boxes.data = []
            # napari keeps the features of shapes that are gone.
            self.boxes.features = _features([])
        if drawn:
            edges = [colors.get(key.label, "white") for key in keys]
            self.boxes.add(drawn, shape_type="rectangle", edge_color=edges, edge_width=self._edge_px)
            self.boxes.features = _features(keys)

    def _write_points(self, at: SliceAt | None, prompts: Mapping[ObjectKey, Prompts]) -> None:
        points = [(key, p) for key, given in prompts.items() for p in given.points] if at is not None else []
        if not points and not len(self.points.data):
            return
        self.points.selected_data = set()
        data = (
            np.empty((0, self.points.ndim)) if at is None else adapters.points_to_data([p[:2] for _, p in points], at)
        )
        self.points.data = data
        if points:
            styles = [POSITIVE if p.positive else NEGATIVE for _, p in points]
            self.points.features = _features([key for key, _ in points], [p.positive for _, p in points])
            self.points.face_color = [style["color"] for style in styles]
            self.points.symbol = [style["symbol"] for style in styles]

    def _read(self) -> dict[ObjectKey, Prompts]:
        """Return what the layers hold now."""
        assert self._at is not None
        found: dict[ObjectKey, Prompts] = {}
        places = adapters.points_to_xy(self.points.data, self._at) if len(self.points.data) else np.empty((0, 2))
        rows = self.points.features.itertuples(index=False)
        for (x, y), row in zip(places, rows, strict=True):
            key = ObjectKey(int(row.label), int(row.number))
            before = found.get(key, Prompts())
            found[key] = Prompts((*before.points, Point(float(x), float(y), bool(row.positive))), before.boxes_xyxy)
        for corners, row in zip(self.boxes.data, self.boxes.features.itertuples(index=False), strict=True):
            key = ObjectKey(int(row.label), int(row.number))
            box = adapters.corners_to_box(corners, self._at)
            found[key] = found.get(key, Prompts()).with_box(self._exact(box, key))
        return found

    def _exact(self, box: BoxXYXY, key: ObjectKey) -> BoxXYXY:
        """Return the box that was shown, if this is it: napari keeps shapes in less precision than it gets them."""
        known = self._known.get(key, Prompts()).boxes_xyxy
        return next((shown for shown in known if np.allclose(shown, box, rtol=0, atol=_SAME_PX)), box)

    def _on_data(self, event: Any) -> None:
        if str(event.action) in _PAST:
            self._report(is_drag=False)

    def _on_drag(self, layer: Points | Shapes, event: Any) -> Generator[None, None, None]:
        """Follow the mouse: napari itself reports a drag only at its end."""
        if layer is self.points:
            self._use_sign(not _NEGATIVE_MODIFIERS & set(event.modifiers))
            if layer.mode == "add" and self._at is not None:
                self._expect_point(adapters.points_to_xy(layer.world_to_data(event.position), self._at)[0])
        self._is_dragging = True
        try:
            yield
            while event.type == "mouse_move":
                self._report(is_drag=True)
                yield
        finally:
            self._is_dragging = False

    def _expect_point(self, place_xy: np.ndarray) -> None:
        before = self._known.get(self._current, Prompts())
        point = Point(float(place_xy[0]), float(place_xy[1]), self._is_positive)
        self._expected(self._current, Prompts((*before.points, point), before.boxes_xyxy))

    def _report(self, *, is_drag: bool) -> None:
        if self._is_writing or self._at is None:
            return
        if len(self.boxes.data) != len(self.boxes.features):
            return  # napari is between two steps of its own
        self._edited(self._read(), is_drag)

    @contextmanager
    def _writing(self) -> Generator[None, None, None]:
        self._is_writing = True
        try:
            yield
        finally:
            self._is_writing = False


def _features(keys: list[ObjectKey], positive: list[bool] | None = None) -> dict[str, np.ndarray]:
    columns = {
        "label": np.array([key.label for key in keys], np.int64),
        "number": np.array([key.number for key in keys], np.int64),
    }
    if positive is not None:
        columns["positive"] = np.array(positive, bool)
    return columns
