"""One viewer's work: the image that is labelled, its session, its layers and its models, brought together.

It translates: what happens in the viewer becomes verbs of the `Session`, and the `Change` that comes back is drawn.
Everything here runs on the GUI thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import QObject, QTimer, Signal

from napari_medclipsam.annotation.book import Change
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import NO_PROMPTS, Prompts
from napari_medclipsam.annotation.session import Session
from napari_medclipsam.annotation.worker_events import Event, ModelChoice, Ready
from napari_medclipsam.errors import MedclipsamError, PromptError
from napari_medclipsam.images.intensity import Window
from napari_medclipsam.widgets import _adapters as adapters
from napari_medclipsam.widgets._contrast import Contrast
from napari_medclipsam.widgets._edge_letters import EdgeLetters
from napari_medclipsam.widgets._mask_layers import MaskLayers, SaliencyLayers
from napari_medclipsam.widgets._prompt_layers import PromptLayers
from napari_medclipsam.widgets._said import said_on_error
from napari_medclipsam.widgets._work import Work

if TYPE_CHECKING:
    from napari.components import ViewerModel


# A dock that is closed and opened again goes on where it was: the work lives as long as its image.
_SESSIONS: WeakKeyDictionary[Image, Session] = WeakKeyDictionary()
_SETTLED_MS = 120


class Workspace(QObject):
    """See the head of this module.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer, with or without a window.
    parent : QObject, optional
        Of Qt.

    Attributes
    ----------
    model : ModelChoice or None
        The models that were asked for last.
    dressed : callable
        Says in which version a choice of models is loaded; see `LearningDesk`.
    image : Image or None
        The layer that is labelled.
    session : Session or None
        What is known about it.
    at : SliceAt or None
        The slice on screen; None in 3D view and beside the image.
    level : float
        Threshold of the coarse mask.
    going : Image or None
        A layer that is about to be taken out, and is not to be labelled anew meanwhile.
    first, last : int or None
        Range of slices for propagation and the whole volume; None for no limit.
    letters : EdgeLetters
        Which side of the patient is where.
    refreshed : Signal
        Something that widgets show may have changed.
    said : Signal of str
        A sentence for the user.
    settled : Signal of SliceAt
        Scrolling has come to rest at a slice.
    classes_changed : Signal
        Names, colours or number of the classes may be others.
    """

    refreshed = Signal()
    said = Signal(str)
    settled = Signal(object)
    classes_changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.model: ModelChoice | None = None
        self.dressed: Callable[[ModelChoice], ModelChoice] = lambda choice: choice
        self.image: Image | None = None
        self.session: Session | None = None
        self.going: Image | None = None
        self.at: SliceAt | None = None
        self.level = 0.5
        self.first: int | None = None
        self.last: int | None = None
        self.masks: MaskLayers | None = None
        self.prompts: PromptLayers | None = None
        self.saliency: SaliencyLayers | None = None
        self.work = Work(self._on_event, self)
        self.letters = EdgeLetters(viewer)
        self._contrast = Contrast(self._on_contrast)
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(_SETTLED_MS)
        self._settled.timeout.connect(self._on_settled)
        self._scrolled: Literal[1, -1] = 1
        self._dims_events = [getattr(viewer.dims.events, name) for name in ("point", "order", "ndisplay", "ndim")]
        for events in (*self._dims_events, viewer.scene.camera.events.orientation):
            events.connect(self._on_view)
        # Last, as everywhere: napari's own lists must have taken a layer in or out before another comes or goes.
        viewer.layers.events.removed.connect(self._on_removed, position="last")

    # What is labelled.

    def images(self) -> list[Image]:
        """Return the image layers that can be labelled: all but our own."""
        own = self.saliency.layers if self.saliency else ()
        return [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Image) and layer not in own and layer is not self.going
        ]

    @staticmethod
    def adopt(image: Image, session: Session) -> None:
        """Have an image, which need not be in the viewer yet, labelled with a session that is there already."""
        _SESSIONS[image] = session

    @said_on_error
    def label(self, image: Image | None, labels: Labels | None = None) -> None:
        """Go over to an image, and perhaps to a mask of it that is there already; None for no image."""
        if image is self.image and labels is None:
            return
        session = None
        if image is not None:
            session = _SESSIONS.get(image)
            if session is None or labels is not None:
                if session is not None and session.objects():
                    raise PromptError("This image has masks or prompts already; save them and open the image again.")
                given = None if labels is None else np.asarray(labels.data)
                session = Session(adapters.annotated_image(image), given)
        self._leave()
        self.image, self.session = image, session
        self.first = self.last = None
        if image is not None and session is not None:
            _SESSIONS[image] = session
            self._contrast.bind(image, session)
            if labels is not None or session.objects():
                if labels is not None and labels.data is not session.labels:
                    labels.visible = False
                self.ensure_layers()
        self._on_view()

    def _leave(self) -> None:
        """Let go of the image: its masks stay in the viewer, its session is remembered."""
        self.work.drop()
        self._contrast.unbind()
        for name in ("prompts", "saliency", "masks"):
            self._drop_layers(name)

    def close(self) -> None:
        """End all work and listen to nothing more; masks stay in the viewer."""
        self._settled.stop()
        self.work.close()
        for events in (*self._dims_events, self.viewer.scene.camera.events.orientation):
            events.disconnect(self._on_view)
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        self._leave()
        self.letters.remove()
        self.image = self.session = self.at = None

    def require_session(self) -> Session:
        """Return the session, or refuse in words."""
        if self.session is None:
            raise PromptError("There is no image to label. Open one, or choose one at the top of this panel.")
        return self.session

    def require_slice(self) -> tuple[Session, SliceAt]:
        """Return session and slice on screen, or refuse in words."""
        session = self.require_session()
        if self.at is None:
            if self.viewer.dims.ndisplay == 3:
                raise PromptError("The 3D view is for looking only. Switch back to 2D to label.")
            raise PromptError("The image is not shown as a slice here. Scroll back to it to label.")
        return session, self.at

    # Layers.

    def ensure_layers(self) -> None:
        """Add the layers that are missing, and leave the selection as it was."""
        session, image = self.require_session(), self.image
        assert image is not None  # there is a session
        active = self.viewer.layers.selection.active
        if self.saliency is None and self.at is not None:
            self.saliency = SaliencyLayers(self.viewer, image, self.at)
            self.saliency.show(session, self.at, self.level)
        if self.masks is None:
            self.masks = MaskLayers(self.viewer, image, session, self._painted, self._replaced)
            self.masks.masks.events.selected_label.connect(self._on_selected_label)
        if self.prompts is None:
            self.prompts = PromptLayers(self.viewer, image, self._edited, self._expected)
            self._show_current()
            self._show_prompts()
        self.viewer.layers.selection.active = active if active in self.viewer.layers else image

    def helper_layers(self) -> list[Any]:
        """Return the layers that were added here."""
        return [layer for group in (self.saliency, self.masks, self.prompts) if group for layer in group.layers]

    def _drop_layers(self, name: str) -> None:
        """Take a group of layers out of the viewer; of the masks the proposals only: they are the user's work."""
        group = getattr(self, name)
        if group is None:
            return
        setattr(self, name, None)
        if not isinstance(group, SaliencyLayers):
            group.unbind()
        adapters.remove_layers(self.viewer, [group.proposals] if isinstance(group, MaskLayers) else group.layers)

    def _on_removed(self, event: Any) -> None:
        if event.value is self.image:
            self.label(None)
            self.said.emit("The image was removed. Its mask stays in the layer list; save it from there.")
            return
        for name in ("saliency", "masks", "prompts"):
            group = getattr(self, name)
            if group is not None and event.value in group.layers:
                # The session still has it all: the layers come back with the next step.
                self._drop_layers(name)
        self.refreshed.emit()

    def draw(self, change: Change) -> None:
        """Show what a verb of the session has changed."""
        assert self.session is not None  # there is a change
        if change:
            self.ensure_layers()
        if self.masks is not None:
            if change.classes:
                self.masks.recolor()
            self.masks.refresh(change, self.at)
        if self.at in change.slices or change.classes:
            self._show_prompts()
        self._show_current()
        if change.message:
            self.said.emit(change.message)
        self.refreshed.emit()
        if change.classes:
            self.classes_changed.emit()

    def _show_prompts(self) -> None:
        if self.prompts is not None and self.session is not None:
            given = {} if self.at is None else self.session.state(self.at).objects
            colors = {structure.label: structure.color for structure in self.session.classes}
            self.prompts.show(self.at, {key: state.prompts for key, state in given.items()}, colors)

    def _show_current(self) -> None:
        """Point new prompts and strokes to the current object."""
        key = self.session.current if self.session else None
        if key is None or self.session is None:
            return
        if self.prompts is not None:
            self.prompts.set_current(key, self.session.classes[key.label].color)
        if self.masks is not None and self.masks.masks.selected_label not in (0, key.label):
            self.masks.masks.selected_label = key.label

    # What happens in the viewer.

    def _on_view(self, event: Any = None) -> None:
        before = self.at
        self.at = None if self.image is None else adapters.shown_slice(self.image, self.viewer.dims)
        self.letters.show(None if self.image is None else adapters.edges_of(self.image, self.viewer))
        if before == self.at and event is not None:
            return
        if before is not None and self.at is not None and before.is_parallel_to(self.at):
            self._scrolled = 1 if self.at.index >= before.index else -1
        self._show_prompts()
        for group in (self.masks, self.saliency):
            if group is not None:
                group.show_outlines(self.viewer.dims.ndisplay == 2)
        if self.saliency is not None and self.session is not None and self.at is not None:
            self.saliency.show(self.session, self.at, self.level)
        # Encoding ahead starts when the scrolling has come to rest.
        self._settled.start()
        self.refreshed.emit()

    def _on_settled(self) -> None:
        if self.session is not None and self.at is not None:
            self.work.look_ahead(self.session, self.at, self._scrolled)
            self.settled.emit(self.at)

    def _on_contrast(self) -> None:
        self._settled.start()
        self.refreshed.emit()

    def _on_selected_label(self) -> None:
        if self.masks is not None and self.session is not None:
            label = int(self.masks.masks.selected_label)
            if label in self.session.classes and (self.session.current is None or self.session.current.label != label):
                self.choose(label)

    def _on_event(self, event: Event) -> None:
        """Take in what the worker has done; `Work` has told the widgets."""
        session = self.session
        if isinstance(event, Ready):
            self._on_settled()
        elif (outcome := self.work.outcome_of(event)) is not None and session is not None:
            self.draw(session.apply(outcome))
            if self.saliency is not None and self.at is not None and outcome.request.kind == "text":
                self.saliency.show(session, self.at, self.level)
            self.ask_masks()

    def ask_masks(self) -> None:
        """Ask the models for the mask of every object of the slice whose prompts have changed."""
        if self.session is not None and self.at is not None:
            try:
                self.work.ask_masks(self.session, self.at)
            except MedclipsamError as error:
                self.said.emit(str(error))

    @said_on_error
    def _edited(self, found: Mapping[ObjectKey, Prompts], is_drag: bool) -> None:
        """Take in the prompts of the slice as the user has left them in the layers."""
        session, at = self.require_slice()
        known = {key: state.prompts for key, state in session.state(at).objects.items() if state.prompts}
        notes = []
        for key in sorted({*found, *known}):
            given = found.get(key, NO_PROMPTS)
            if given != known.get(key, NO_PROMPTS) or not is_drag:
                if key.label not in session.classes:
                    session.classes.add(f"structure {key.label}", key.label)
                change = session.set_prompts(at, given, key, drag=is_drag)
                notes.append(change.message)
                if self.masks is not None:
                    self.masks.refresh(change, at)
        if not is_drag:
            # Not now: napari is in the middle of its own step.
            QTimer.singleShot(0, self._show_prompts)
        self.said.emit(" ".join(filter(None, notes)))
        self.ask_masks()
        self.refreshed.emit()

    def _expected(self, key: ObjectKey, prompts: Prompts) -> None:
        if self.session is not None and self.at is not None:
            self.work.ask_early(self.session, self.at, key, prompts)

    def _painted(self, indices: tuple[np.ndarray, ...], before: np.ndarray, after: np.ndarray) -> None:
        if self.session is not None:
            self.draw(self.session.painted(indices, before, after))

    @said_on_error
    def _replaced(self, labels: np.ndarray) -> None:
        session = self.require_session()
        if labels.shape != session.labels.shape:
            raise PromptError(
                f"A mask of shape {labels.shape} does not fit this image of shape {session.labels.shape}; "
                "the mask is as it was."
            )
        self.draw(session.paint(tuple(slice(0, n) for n in labels.shape), labels))

    # Settings.

    @said_on_error
    def choose(self, label: int, *, new_object: bool = False) -> None:
        """Make an object of a class the one that prompts and strokes go to."""
        session = self.require_session()
        if new_object:
            session.new_object(label)
        else:
            session.current = session.object_of(label)
        self._show_current()
        self.refreshed.emit()

    @said_on_error
    def set_window(self, window: Window) -> None:
        """Show the image with an intensity window; the models see it so."""
        self.require_session()
        self._contrast.set(window)

    def set_level(self, level: float) -> None:
        """Cut the saliency at another threshold; the coarse mask follows at once."""
        self.level = level
        if self.saliency is not None and self.session is not None and self.at is not None:
            self.saliency.set_level(self.session, self.at, level)

    def use_model(self, choice: ModelChoice) -> None:
        """Load other models in the background."""
        self.model = choice
        self.work.worker.use(self.dressed(choice))
