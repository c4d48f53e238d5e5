"""Whatever goes wrong, the viewer lives, the work is kept, and one sentence says what is the matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from qtpy.QtWidgets import QDockWidget

from napari_medclipsam.annotation.worker_events import ModelChoice
from napari_medclipsam.widgets._actions import ACTIONS
from synthetic import Both


def test_without_an_image_every_verb_says_so(open_desk) -> None:
    desk = open_desk(ViewerModel())
    desk.idle()
    for action in ACTIONS:
        desk.dock.status.say("")
        desk.do(action.verb)
        assert desk.message, action.verb
    desk.ask("disk")
    assert "no image" in desk.message
    desk.viewer.add_image(np.random.default_rng(0).random((5, 6, 7)))
    assert desk.dock.workspace.image is not None


def test_the_image_is_removed_in_the_middle(desk) -> None:
    desk.ask("disk")
    desk.do("accept")
    masks = desk.layer("masks").data.copy()
    desk.dock.ask("disk")
    desk.viewer.layers.remove("stack")
    desk.idle()
    assert "removed" in desk.message and desk.dock.workspace.session is None
    assert [layer.name for layer in desk.viewer.layers] == ["masks"]
    assert np.array_equal(desk.layer("masks").data, masks)


def test_layers_that_are_removed_come_back_with_the_next_step(desk) -> None:
    desk.ask("disk")
    desk.do("accept")
    for name in ("points", "masks", "saliency"):
        desk.viewer.layers.remove(name)
    desk.ask("disk")
    assert desk.layer("masks").data is desk.session.labels and desk.session.labels.any()
    assert len(desk.layer("boxes").data) == 1 and desk.layer("points").ndim == 3
    assert desk.layer("saliency").data.max() > 0.9


def test_a_mask_of_another_shape_is_refused_and_one_that_fits_taken(desk) -> None:
    desk.ask("disk")
    desk.do("accept")
    before = desk.session.labels.copy()
    desk.layer("masks").data = np.ones((3, 4, 5), np.uint8)
    assert "does not fit" in desk.message and np.array_equal(desk.layer("masks").data, before)
    desk.layer("masks").data = np.where(before, 0, 1).astype(np.uint8)
    assert desk.layer("masks").data is desk.session.labels
    assert np.array_equal(desk.session.labels, np.where(before, 0, 1))
    desk.do("undo")
    assert np.array_equal(desk.session.labels, before)


def test_going_on_with_a_mask_that_is_there(desk, disk_stack) -> None:
    wrong = desk.viewer.add_labels(np.zeros((2, 3, 4), np.uint8), name="wrong")
    desk.dock.workspace.label(desk.dock.workspace.image, wrong)
    assert "shape" in desk.message and desk.session is not None
    right = desk.viewer.add_labels(disk_stack[1].astype(np.uint8) * 7, name="right")
    desk.dock.workspace.label(desk.dock.workspace.image, right)
    assert desk.session.labels.max() == 7 and [c.label for c in desk.session.classes] == [7]


def test_nan_and_constant_images(open_desk) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.full((5, 6, 7), np.nan), contrast_limits=(0, 1))
    desk = open_desk(viewer)
    assert "not finite" in desk.message and desk.session is None
    flat = desk.viewer.add_image(np.ones((5, 6, 7)), contrast_limits=(0, 1))
    desk.dock.workspace.label(flat)
    desk.idle()
    desk.ask("disk")
    assert "same value" in desk.message


def test_prompts_outside_and_boxes_without_area_are_left_out(desk) -> None:
    desk.dock.verbs.use_tool("point")
    desk.layer("points").add([[3, 500, 500], [3, 18, 20]])
    desk.layer("boxes").add_rectangles([[[3, 9, 9]] * 4])
    desk.idle()
    assert "Left out" in desk.message
    assert desk.layer("points").data.tolist() == [[3, 18, 20]] and not len(desk.layer("boxes").data)
    assert desk.session.proposed[3].any()


def test_a_thousand_points(desk) -> None:
    desk.dock.verbs.use_tool("point")
    places = np.random.default_rng(0).uniform(12, 24, (1000, 2))
    desk.layer("points").add(np.column_stack([np.full(1000, 3), places]))
    desk.idle()
    assert len(desk.layer("points").data) == 100 and "newest 100" in desk.message


def test_3d_shows_but_does_not_edit(desk) -> None:
    desk.ask("disk")
    desk.viewer.dims.ndisplay = 3
    assert "3D" in desk.dock.place.text()
    for tool in ("point", "box", "paint"):
        desk.dock.status.say("")
        desk.dock.verbs.use_tool(tool)
        assert "3D" in desk.message
    desk.do("accept")
    assert not desk.session.labels.any()
    desk.viewer.dims.ndisplay = 2
    assert desk.at.index == 3 and len(desk.layer("boxes").data) == 1


def test_two_viewers_do_not_disturb_each_other(desk, open_desk, disk_stack, threads) -> None:
    viewer = ViewerModel()
    viewer.add_image(disk_stack[0][::-1])
    viewer.dims.set_current_step(0, 4)
    other = open_desk(viewer)
    other.idle()
    desk.dock.ask("disk")
    other.dock.ask("disk")
    desk.idle()
    other.idle()
    assert [z for z in range(8) if desk.session.proposed[z].any()] == [3]
    assert [z for z in range(8) if other.session.proposed[z].any()] == [4]
    other.dock.shut()
    desk.do("accept")
    assert desk.session.labels[3].any() and len(threads()) == 1


def test_closing_in_the_middle_leaves_no_thread_and_reopening_goes_on(desk, open_desk, threads) -> None:
    desk.ask("disk")
    desk.do("accept")
    desk.dock.verbs.whole_volume()
    desk.dock.close()
    assert not threads()
    assert [layer.name for layer in desk.viewer.layers] == ["stack", "masks"]
    assert "G" not in {str(key) for key in desk.viewer.keymap}
    again = open_desk(desk.viewer)
    again.idle()
    assert again.session is not None and again.session.labels is desk.viewer.layers["masks"].data
    again.do("undo")
    assert not again.session.labels.any()


def test_the_cross_of_the_dock_ends_all_work(desk, threads) -> None:
    """napari takes the widget out of its dock, and neither closes nor deletes it."""
    holder = QDockWidget()
    holder.setWidget(desk.dock)
    desk.dock.verbs.find("disk")
    desk.dock.setParent(None)
    assert not threads()


def test_a_model_that_can_t_be_loaded_is_said(desk) -> None:
    from napari_medclipsam.annotation.worker_events import NotReady

    desk.dock.workspace.work._on_posted(NotReady(ModelChoice("sam-vit-h"), "Model 'sam-vit-h' is not installed."))
    assert "can't be used" in desk.dock.status.model.text() and "not installed" in desk.message


class SmallCard(Both):
    """A model on a graphics card that has room for a few slices only."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def embed(self, image):
        if self.n_embedded >= self._room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().embed(image)


@pytest.mark.parametrize("room", [0, 3])
def test_a_full_graphics_card_is_said_and_the_work_goes_on_on_the_processor(desk, monkeypatch, room) -> None:
    loaded = []

    def load(name: str, device: str | None):
        loaded.append(device)
        model = Both() if device == "cpu" else SmallCard(room)
        return model, model

    monkeypatch.setattr(desk.dock.workspace.work.worker, "_load", load)
    desk.dock.workspace.use_model(ModelChoice("lite", "cuda"))
    desk.ask("disk")
    desk.do("accept")
    desk.do("propagate")
    desk.do("accept_all")
    assert loaded == ["cuda", "cpu"]
    assert [z for z in range(8) if desk.session.labels[z].any()] == [2, 3, 4, 5]
    state = desk.dock.status.model.text()
    assert "lite on cpu, ready" in state and "out of memory" in state and state.count(".") == 2
    # The sentences that come later leave it there.
    desk.do("undo")
    assert "Undone" in desk.message and "out of memory" in desk.dock.status.model.text()


def test_a_card_without_room_for_the_model_is_said_too(desk, monkeypatch) -> None:
    def load(name: str, device: str | None):
        if device != "cpu":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return Both(), Both()

    monkeypatch.setattr(desk.dock.workspace.work.worker, "_load", load)
    desk.dock.workspace.use_model(ModelChoice("lite"))
    desk.ask("disk")
    assert desk.session.proposed[3].any() and "out of memory" in desk.dock.status.model.text()
