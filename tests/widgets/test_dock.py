"""The loop in the dock, without a window: text, prompts, masks, undo, many slices."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.requests import MaskRequest
from napari_medclipsam.widgets import _adapters as adapters
from napari_medclipsam.widgets import _work


def test_text_to_accepted_mask(desk, disk_stack, dice) -> None:
    truth = disk_stack[1]
    desk.ask("the disk")
    assert "found" in desk.dock.answers.text() and desk.layer("saliency").data.max() > 0.9
    assert len(desk.layer("boxes").data) == 1
    assert dice(desk.layer("proposals").data[3], truth[3]) > 0.9
    assert not desk.layer("masks").data.any()
    desk.do("accept")
    assert not desk.layer("proposals").data.any()
    masks = desk.layer("masks").data
    assert dice(masks[3], truth[3]) > 0.9 and not masks[[0, 1, 2, 4, 5, 6, 7]].any()
    voxels, ml = (desk.dock.classes.table.item(0, column).text() for column in (2, 3))
    assert int(voxels) == np.count_nonzero(masks) and float(ml) == pytest.approx(
        np.count_nonzero(masks) * 0.004, abs=0.01
    )
    assert "accepted" in desk.dock.place.text()


def test_what_is_not_known_or_not_there_is_said_and_nothing_drawn(desk) -> None:
    desk.ask("liver")
    assert "not known" in desk.dock.answers.text() and "nearest" in desk.message
    desk.ask("bar")
    assert "not in this image" in desk.dock.answers.text()
    desk.ask(" ; ")
    assert desk.message
    assert not desk.session.proposed.any() and not desk.session.objects()


def test_several_structures_have_their_own_colours(open_desk) -> None:
    from synthetic import picture

    viewer = ViewerModel()
    pixels, masks = picture("disk", "square")
    viewer.add_image(pixels)
    desk = open_desk(viewer)
    desk.ask("disk; square")
    proposed = desk.layer("proposals").data
    assert [np.unique(proposed[masks[name]]).tolist() for name in ("disk", "square")] == [[1], [2]]
    colors = desk.layer("proposals").colormap.color_dict
    assert not np.allclose(colors[1], colors[2])
    assert desk.dock.classes.table.rowCount() == 2


def test_a_click_makes_a_mask_and_a_box_drag_changes_it(desk, disk_stack, dice) -> None:
    desk.dock.verbs.use_tool("point")
    points, boxes = desk.layer("points"), desk.layer("boxes")
    assert desk.viewer.layers.selection.active is points and str(points.mode) == "add"
    points.add([3, 18, 20])
    desk.idle()
    assert dice(desk.layer("proposals").data[3], disk_stack[1][3]) > 0.9
    desk.dock.verbs.use_tool("box")
    boxes.add_rectangles([[[3, 5, 5], [3, 5, 15], [3, 12, 15], [3, 12, 5]]])
    desk.idle()
    assert desk.session.state(desk.at).of(ObjectKey(1)).prompts.boxes_xyxy == ((5.5, 5.5, 14.5, 11.5),)
    corners = adapters.box_to_corners((8, 6, 32, 30), desk.at)
    boxes.data = [corners]
    desk.idle()
    assert dice(desk.layer("proposals").data[3], disk_stack[1][3]) > 0.9
    desk.do("undo")
    assert np.allclose(boxes.data[0].max(axis=0), [3, 12, 15])
    boxes.selected_data = {0}
    boxes.remove_selected()
    points.selected_data = {0}
    points.remove_selected()
    desk.idle()
    assert not desk.session.state(desk.at).objects and not desk.session.proposed.any()


def test_a_layer_without_boxes_rests_and_comes_back(desk) -> None:
    desk.dock.verbs.use_tool("point")
    boxes = desk.layer("boxes")
    assert not boxes.visible
    desk.ask("disk")
    assert len(boxes.data) == 1 and boxes.visible
    desk.go(0)
    assert not len(boxes.data) and not boxes.visible
    desk.dock.verbs.use_tool("box")
    assert boxes.visible
    desk.dock.verbs.use_tool("point")
    desk.go(3)
    assert len(boxes.data) == 1 and boxes.visible
    # An eye that the user has closed stays closed.
    boxes.visible = False
    desk.go(0)
    desk.go(3)
    assert not boxes.visible


def test_a_class_that_came_with_a_box_has_a_colour(desk) -> None:
    desk.go(0)
    desk.ask("disk")
    desk.dock.verbs.use_tool("box")
    desk.layer("boxes").add_rectangles([[[0, 5, 5], [0, 5, 15], [0, 12, 15], [0, 12, 5]]])
    desk.idle()
    assert len(desk.session.classes) == 1
    for layer in (desk.layer("masks"), desk.layer("proposals")):
        assert all(layer.colormap.color_dict[structure.label][3] == 1 for structure in desk.session.classes)


def test_outlines_are_made_once_for_a_slice(desk, monkeypatch) -> None:
    desk.ask("disk")
    sliced = []
    proposals = desk.layer("proposals")
    proposals.events.set_data.connect(lambda event: sliced.append(desk.viewer.dims.current_step[0]))
    desk.go(2)
    assert sliced == [2]


def test_the_mask_of_a_click_is_begun_at_the_press(desk, disk_stack, dice, monkeypatch) -> None:
    run, asked = MaskRequest.run, []

    def counted(request: MaskRequest, *args):
        asked.append(request.prompts)
        return run(request, *args)

    monkeypatch.setattr(MaskRequest, "run", counted)
    desk.dock.verbs.use_tool("point")
    points, expect = desk.layer("points"), desk.dock.workspace.prompts._expect_point
    # Pressed and dragged away: napari adds no point.
    expect(np.array([40.0, 40.0]))
    desk.idle()
    assert len(asked) == 1 and not desk.session.state(desk.at).objects and not desk.session.proposed.any()
    # Pressed and let go: the answer is there already.
    expect(np.array([20.0, 18.0]))
    desk.idle()
    points.add([3, 18, 20])
    desk.idle()
    assert len(asked) == 2 and desk.session.undo_name
    assert dice(desk.layer("proposals").data[3], disk_stack[1][3]) > 0.9
    # Let go elsewhere: asked anew.
    expect(np.array([22.0, 18.0]))
    points.add([3, 19, 23])
    desk.idle()
    assert asked[-1].points[-1][:2] == (23, 19)
    assert desk.session.state(desk.at).of(ObjectKey(1)).answered == asked[-1]


def test_nothing_is_asked_twice(desk, monkeypatch) -> None:
    run, asked, go_on = MaskRequest.run, [], threading.Event()

    def held(request: MaskRequest, *args):
        asked.append(request.prompts.boxes_xyxy)
        assert go_on.wait(30)
        return run(request, *args)

    monkeypatch.setattr(MaskRequest, "run", held)
    desk.dock.verbs.use_tool("box")
    boxes = desk.layer("boxes")
    boxes.add_rectangles([[[3, 5, 5], [3, 5, 15], [3, 12, 15], [3, 12, 5]]])
    desk.qtbot.waitUntil(lambda: len(asked) == 1, timeout=30_000)
    # Dragged on while the first answer is on its way.
    boxes.data = [adapters.box_to_corners((8, 6, 32, 30), desk.at)]
    go_on.set()
    desk.idle()
    assert asked == [((5.5, 5.5, 14.5, 11.5),), ((8, 6, 32, 30),)]
    assert desk.session.state(desk.at).of(ObjectKey(1)).answered.boxes_xyxy == asked[-1]


def test_negative_points_look_different_and_count_as_such(desk) -> None:
    desk.dock.verbs.use_tool("point")
    points = desk.layer("points")
    points.add([3, 18, 20])
    desk.dock.workspace.prompts._use_sign(False)
    points.add([3, 40, 40])
    desk.idle()
    prompts = desk.session.state(desk.at).of(ObjectKey(1)).prompts
    assert [p.positive for p in prompts.points] == [True, False]
    assert points.symbol[0] != points.symbol[1] and not np.allclose(points.face_color[0], points.face_color[1])
    # Shown again after a visit to another slice, they are the same.
    desk.go(4)
    assert not len(points.data)
    desk.go(3)
    assert points.data.tolist() == [[3, 18, 20], [3, 40, 40]]
    assert points.symbol[0] != points.symbol[1] and points.features["positive"].tolist() == [True, False]


def test_an_answer_stays_on_the_slice_that_was_asked(desk, disk_stack, dice) -> None:
    desk.dock.ask("disk")
    desk.go(5)
    desk.idle()
    assert desk.session.proposed[3].any() and not desk.session.proposed[5].any()
    assert not len(desk.layer("boxes").data) and "Nothing" in desk.dock.answers.text()
    desk.go(3)
    assert len(desk.layer("boxes").data) == 1 and "found" in desk.dock.answers.text()


def test_objects_have_prompts_of_their_own(desk) -> None:
    desk.ask("disk")
    desk.dock.workspace.choose(1, new_object=True)
    desk.dock.verbs.use_tool("point")
    desk.layer("points").add([3, 44, 44])
    desk.idle()
    state = desk.session.state(desk.at)
    assert not state.of(ObjectKey(1, 1)).prompts.points
    assert [p[:2] for p in state.of(ObjectKey(1, 2)).prompts.points] == [(44, 44)]
    desk.do("next_object")
    assert desk.session.current == ObjectKey(1, 1)
    desk.do("clear")
    assert list(desk.session.state(desk.at).objects) == [ObjectKey(1, 2)]


def test_a_stroke_is_one_step_of_our_undo_and_napari_s_own_can_t_spoil_it(desk) -> None:
    desk.dock.verbs.use_tool("paint")
    masks = desk.layer("masks")
    masks.brush_size = 5
    with masks.block_history():
        masks.paint((3, 40, 40), 1)
        masks.paint((3, 42, 40), 1)
    painted = masks.data.copy()
    assert painted.any() and desk.session.undo_name == "paint"
    masks.undo()
    assert np.array_equal(masks.data, painted)
    desk.do("undo")
    assert not masks.data.any() and masks.data is desk.session.labels
    desk.do("redo")
    assert np.array_equal(masks.data, painted)


def test_hand_drawn_voxels_win_over_proposals(desk, disk_stack) -> None:
    desk.ask("disk")
    desk.dock.verbs.use_tool("erase")
    desk.layer("masks").brush_size = 5
    desk.dock.workspace.choose(1)
    desk.layer("masks").paint((3, 18, 20), 1)
    desk.layer("masks").paint((3, 18, 20), 0)
    desk.do("accept")
    assert desk.layer("masks").data[3, 18, 20] == 0 and desk.layer("masks").data[3, 18, 27] == 1


def test_propagation_and_its_proposals(desk, disk_stack, dice) -> None:
    desk.ask("disk")
    desk.do("propagate")
    assert "accept" in desk.message
    desk.do("accept")
    desk.dock.range_row.last.setValue(4)
    desk.do("propagate")
    assert [z for z in range(8) if desk.session.proposed[z].any()] == [2, 4]
    desk.do("undo")
    assert not desk.session.proposed.any()
    desk.dock.range_row.every.click()
    desk.do("propagate")
    desk.do("accept_all")
    assert dice(desk.layer("masks").data, disk_stack[1]) > 0.9


def test_whole_volume(desk, disk_stack, dice) -> None:
    desk.session.text = "disk"
    desk.do("whole_volume")
    assert dice(desk.layer("proposals").data, disk_stack[1]) > 0.9 and "4 of" in desk.message
    desk.do("next_slice")
    assert desk.at.index == 4
    desk.do("previous_slice")
    assert desk.at.index == 3
    desk.do("reject")
    assert [z for z in range(8) if desk.session.proposed[z].any()] == [2, 4, 5]
    desk.do("reject_all")
    assert not desk.session.proposed.any() and not desk.layer("masks").data.any()


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 2, 0), (2, 0, 1)])
def test_any_axis_is_scrolled(desk, order) -> None:
    """A disk of 8 slices: seen from any side it is found where it is."""
    from synthetic import picture

    disk = picture("disk")[0]
    cube = np.stack([disk if 10 <= z <= 50 else picture()[0] for z in range(64)])
    layer = desk.viewer.add_image(cube, name="cube")
    desk.dock.workspace.label(layer)
    desk.viewer.dims.order = order
    centre = (30, 18, 20)
    adapters.go_to(layer, desk.viewer.dims, SliceAt.across(order[0], centre[order[0]]))
    desk.ask("disk")
    assert desk.at == SliceAt.across(order[0], centre[order[0]])
    found, truth = desk.session.proposed[desk.at.selector] > 0, cube[desk.at.selector] == 220
    assert np.count_nonzero(found & truth) > 0.9 * np.count_nonzero(truth)
    assert np.count_nonzero(desk.session.proposed) == np.count_nonzero(found)


@pytest.mark.parametrize("kind", ["2d", "4d", "rgb"])
def test_pictures_movies_and_colour(open_desk, disk_stack, kind, dice) -> None:
    from synthetic import picture

    pixels, masks = picture("disk")
    viewer = ViewerModel()
    if kind == "4d":
        viewer.add_image(np.stack([disk_stack[0]] * 2))
        viewer.dims.set_current_step(0, 1)
        viewer.dims.set_current_step(1, 3)
    else:
        viewer.add_image(np.stack([pixels] * 3, axis=-1) if kind == "rgb" else pixels, rgb=kind == "rgb")
    desk = open_desk(viewer)
    desk.idle()
    desk.ask("disk")
    desk.do("accept")
    labels = desk.layer("masks").data
    plane = labels[1, 3] if kind == "4d" else labels
    assert dice(plane, masks["disk"]) > 0.9 and np.count_nonzero(labels) == np.count_nonzero(plane)


def test_the_threshold_slider_moves_the_coarse_mask_and_asks_again(desk) -> None:
    desk.ask("disk")
    before = np.count_nonzero(desk.layer("coarse mask").data)
    desk.dock.saliency_row.level.setValue(90)
    assert 0 < np.count_nonzero(desk.layer("coarse mask").data) < before
    desk.dock.saliency_row.level.sliderReleased.emit()
    desk.idle()
    assert desk.session.options.level == 0.9
    desk.dock.saliency_row.opacity.setValue(20)
    assert desk.layer("saliency").opacity == pytest.approx(0.2)
    desk.do("toggle_saliency")
    assert not desk.layer("saliency").visible
    desk.do("toggle_mask")
    assert not desk.layer("masks").visible and not desk.layer("proposals").visible


def test_on_ct_the_answer_says_what_it_is_worth(open_desk, monkeypatch) -> None:
    from synthetic import WithoutCt, picture

    monkeypatch.setattr(_work, "load_beside_opengl", lambda name, device: (WithoutCt(), WithoutCt()))
    viewer = ViewerModel()
    pixels = picture("disk")[0]
    viewer.add_image(pixels.astype(np.int16) - 900, name="ct")
    viewer.add_image(pixels, name="mr")
    desk = open_desk(viewer)
    for name in ("ct", "mr"):
        desk.dock.workspace.label(viewer.layers[name])
        desk.dock.workspace.set_window("percentile")
        desk.ask("disk")
        assert ("looks like CT" in desk.dock.answers.text()) == (name == "ct")


def test_a_click_after_a_text_is_begun_with_once_and_corrects_the_mask(desk, monkeypatch):
    """The mask is asked for when the button goes down; what is wanted when it is up must be the same."""
    desk.ask("disk")
    workspace = desk.dock.workspace
    key, asked = desk.session.current, []
    given = desk.session.state(desk.at).of(key).prompts.with_point(40, 40, False)
    submit = workspace.work.worker.submit
    monkeypatch.setattr(workspace.work.worker, "submit", lambda request: (asked.append(request), submit(request)))
    workspace._expected(key, given)
    workspace._edited({key: given}, False)
    desk.idle()
    (request,) = [one for one in asked if one.kind == "mask"]
    assert request.prompts.points[-1:] == given.points[-1:] and not request.prompts.boxes_xyxy
    assert not len(desk.layer("boxes").data) and len(desk.layer("points").data) == 1
    assert desk.session.state(desk.at).of(key).proposal.source == "prompts"
