"""What the buttons and keys do: one method per verb, each a few calls of the session."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from napari_medclipsam.annotation.book import Change
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.errors import PromptError
from napari_medclipsam.napari_io import write_labels
from napari_medclipsam.widgets import _adapters as adapters
from napari_medclipsam.widgets._said import said_on_error

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_medclipsam.widgets._project_desk import ProjectDesk
    from napari_medclipsam.widgets._queue_desk import QueueDesk
    from napari_medclipsam.widgets._workspace import Workspace

Tool = Literal["look", "point", "box", "move", "paint", "erase"]
_FIRST_NAME = "structure 1"


class Verbs:
    """The verbs of a workspace. None of them raises: what is refused is said.

    Parameters
    ----------
    workspace : Workspace
        What they work on.
    desk : ProjectDesk
        Whose case it may be.
    queue : QueueDesk
        Knows what comes next in a project.
    """

    def __init__(self, workspace: Workspace, desk: ProjectDesk, queue: QueueDesk) -> None:
        self._workspace, self._desk, self._queue = workspace, desk, queue
        self.said = workspace.said

    # Words.

    @said_on_error
    def find(self, text: str) -> None:
        """Look for a text in the slice on screen."""
        session, at = self._workspace.require_slice()
        self._workspace.work.submit(session.plan_text(at, text))
        session.text = text

    @said_on_error
    def recut(self) -> None:
        """Look for the last text again, with the threshold that the slider has now."""
        session, at = self._workspace.require_slice()
        session.options = replace(session.options, level=self._workspace.level)
        if session.answers(at):
            self._workspace.work.submit(session.plan_text(at))

    # Tools.

    @said_on_error
    def use_tool(self, tool: Tool) -> None:
        """Select the layer and its mode that a tool stands for."""
        workspace = self._workspace
        if tool == "look":
            workspace.require_session()
            self._activate(workspace.image, "pan_zoom")
            return
        session, at = workspace.require_slice()
        if session.current is None:
            workspace.choose(session.classes.named_or_added(session.text or _FIRST_NAME).label)
        workspace.ensure_layers()
        assert workspace.prompts is not None and workspace.masks is not None  # `ensure_layers` made them
        boxes, points = workspace.prompts.layers
        match tool:
            case "point":
                self._activate(points, "add")
            case "box":
                self._activate(boxes, "add_rectangle")
            case "move":
                given = session.state(at).objects.values()
                has_boxes = any(state.prompts.boxes_xyxy for state in given)
                is_second = workspace.viewer.layers.selection.active is boxes and boxes.mode == "select"
                # Pressed twice, it goes from the boxes to the points.
                self._activate(*((boxes, "select") if has_boxes and not is_second else (points, "select")))
            case "paint" | "erase":
                self._activate(workspace.masks.masks, tool)

    def _activate(self, layer: Any, mode: str) -> None:
        self._workspace.viewer.layers.selection.active = layer
        layer.mode = mode
        self._workspace.refreshed.emit()

    # The slice on screen.

    @said_on_error
    def accept(self) -> None:
        """Take the proposals of the slice into the mask."""
        session, at = self._workspace.require_slice()
        self._do(session.accept(at))

    @said_on_error
    def reject(self) -> None:
        """Throw the proposals of the slice away."""
        session, at = self._workspace.require_slice()
        self._do(session.reject(at))

    @said_on_error
    def clear(self) -> None:
        """Remove the current object from the slice."""
        session, at = self._workspace.require_slice()
        self._do(session.clear(at, session.current))

    @said_on_error
    def undo(self) -> None:
        """Take the last step back."""
        session = self._workspace.require_session()
        name = session.undo_name
        self._follow(session, session.undo(), f"Undone: {name}." if name else "")

    @said_on_error
    def redo(self) -> None:
        """Do again what was undone last."""
        session = self._workspace.require_session()
        name = session.redo_name
        self._follow(session, session.redo(), f"Done again: {name}." if name else "")

    @said_on_error
    def next_slice(self, step: Literal[1, -1] = 1) -> None:
        """Go to the next slice that needs work."""
        session, at = self._workspace.require_slice()
        target = session.next_slice(at, step)
        if target is None:
            raise PromptError("There is no slice that needs work in this direction.")
        image = self._workspace.image
        assert image is not None  # there is a session
        adapters.go_to(image, self._workspace.viewer.dims, target)

    def previous_slice(self) -> None:
        """Go back to the nearest slice that needs work."""
        self.next_slice(-1)

    @said_on_error
    def next_object(self) -> None:
        """Go on with the next object."""
        session = self._workspace.require_session()
        key = session.next_object()
        if key is None:
            raise PromptError("There is no object yet. Type what you are looking for, or add a class.")
        self._workspace.draw(Change(message=f"{session.classes[key.label].name}, object {key.number}"))

    def toggle_flag(self) -> None:
        """Flag the slice, or take its flag away."""
        self._desk.toggle_flag()

    def accept_and_next(self) -> None:
        """Accept the slice, and go to the one of the project that needs the reader most."""
        self._queue.accept_and_next()
        self._workspace.ask_masks()

    def next_in_queue(self) -> None:
        """Leave the slice as it is, and go to the one of the project that needs the reader most."""
        self._queue.next_in_queue()

    # The view.

    @said_on_error
    def toggle_saliency(self) -> None:
        """Show or hide the saliency."""
        saliency = self._workspace.saliency
        if saliency is None:
            raise PromptError("There is no saliency yet. Type what you are looking for.")
        self._show(saliency.layers, not saliency.map.visible)

    @said_on_error
    def toggle_mask(self) -> None:
        """Show or hide masks and proposals."""
        masks = self._workspace.masks
        if masks is None:
            raise PromptError("There is no mask yet.")
        self._show(masks.layers, not masks.masks.visible)

    def _show(self, layers: Iterable[Layer], shown: bool) -> None:
        for layer in layers:
            layer.visible = shown
        self._workspace.refreshed.emit()

    # Many slices.

    @said_on_error
    def propagate(self) -> None:
        """Carry the accepted object of the slice to its neighbours."""
        workspace = self._workspace
        session, at = workspace.require_slice()
        workspace.work.submit(session.plan_propagation(at, first=workspace.first, last=workspace.last))

    @said_on_error
    def whole_volume(self) -> None:
        """Look for the text in all slices of the range."""
        workspace = self._workspace
        session, at = workspace.require_slice()
        workspace.work.submit(session.plan_volume(at, first=workspace.first, last=workspace.last))

    @said_on_error
    def accept_all(self) -> None:
        """Take the proposals of all slices of the range into the mask."""
        session, at = self._workspace.require_slice()
        self._do(session.accept_proposals(at, self._workspace.first, self._workspace.last))

    @said_on_error
    def reject_all(self) -> None:
        """Throw the proposals of all slices of the range away."""
        session, at = self._workspace.require_slice()
        self._do(session.reject_proposals(at, self._workspace.first, self._workspace.last))

    def cancel(self) -> None:
        """Stop what the models are at in this image, before the next slice."""
        self._workspace.work.cancel()
        self.said.emit("Cancelled; what was found until now is kept.")

    @said_on_error
    def save(self, path: str) -> None:
        """Write the mask on the grid of its image."""
        workspace = self._workspace
        session, image = workspace.require_session(), workspace.image
        assert image is not None  # there is a session
        paths = write_labels(path, session.labels, {"metadata": image.metadata})
        self.said.emit(f"Saved {', '.join(paths)}.")

    def _do(self, change: Change) -> None:
        session = self._workspace.require_session()
        self._workspace.draw(change)
        if change and not change.message:
            self._desk.when_saved.say(f"Done: {session.undo_name}.")
        self._workspace.ask_masks()

    def _follow(self, session: Session, change: Change, message: str) -> None:
        """Show what was undone or done again, on the slice where it happened."""
        at, image = self._workspace.at, self._workspace.image
        if at is not None and image is not None and len(change.slices) == 1 and at not in change.slices:
            adapters.go_to(image, self._workspace.viewer.dims, change.slices[0])
        self._workspace.draw(change)
        if message:
            self._desk.when_saved.say(message)
        self._workspace.ask_masks()
