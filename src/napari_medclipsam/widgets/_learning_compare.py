"""Comparing two versions: what both draw in the slice on screen, and in slices that neither has learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_medclipsam.annotation.worker_events import Done, Event, Failed
from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.showing import Drawn, Picture, Pictures, Shown, SideBySide, shown_slices
from napari_medclipsam.widgets._in_thread import in_thread
from napari_medclipsam.widgets._learning_layers import VersionLayers
from napari_medclipsam.widgets._said import said_on_error

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medclipsam.widgets._learning_desk import LearningDesk


class VersionCompare(QObject):
    """Asks the models of the window, which answer clicks and texts first.

    Parameters
    ----------
    learning : LearningDesk
        Whose versions these are.

    Attributes
    ----------
    pictures : sequence of Picture
        Drawn last.
    is_busy : bool
        Something is being drawn.
    changed : Signal
        Any of these may be another, or the layers.
    """

    changed = Signal()

    def __init__(self, learning: LearningDesk) -> None:
        super().__init__(learning)
        self._learning, self._workspace = learning, learning.workspace
        self.said = learning.said
        self.layers = VersionLayers(self._workspace.viewer)
        self.pictures: Sequence[Picture] = ()
        self.is_busy = False
        self._asked: SideBySide | Pictures | None = None
        self._is_closed = False
        self._workspace.work.happened.connect(self._on_event)
        self._workspace.viewer.layers.events.removed.connect(self._on_removed)
        learning.changed.connect(self._on_learning)
        self._folder = learning.folder

    @property
    def are_layers_shown(self) -> bool:
        """True while outlines of two versions lie over the image."""
        return bool(self.layers.layers)

    @said_on_error
    def on_screen(self, first: str, second: str) -> None:
        """Draw the current class with both versions in the slice on screen, as two outlines."""
        folder = self._require_project()
        session, at = self._workspace.require_slice()
        names = [structure.name for structure in session.classes]
        text = session.classes[session.current.label].name if session.current is not None else session.text
        if not text and not names:
            raise LearningError("There is no class to draw: choose one on the page Label, or type what to look for.")
        model = self._learning.model
        request = SideBySide(folder, (first, second), session.plan_text(at, text or names[0]), model.name, model.device)
        self._submit(request)

    @said_on_error
    def before_and_after(self, first: str, second: str) -> None:
        """Draw slices that neither has learnt from with both."""
        folder = self._require_project()
        self._set_busy(True)
        find = partial(shown_slices, folder, first, second)
        in_thread(find, partial(self._on_slices, folder, (first, second)), self.said.emit)

    def take_away(self) -> None:
        """Remove the outlines."""
        self.layers.remove()
        self.changed.emit()

    def shut(self) -> None:
        """Take away what is shown, and do no more."""
        if not self._is_closed:
            self._is_closed = True
            self._workspace.work.happened.disconnect(self._on_event)
            self._workspace.viewer.layers.events.removed.disconnect(self._on_removed)
            self._learning.changed.disconnect(self._on_learning)
            self.layers.remove()

    def _require_project(self) -> Path:
        folder = self._learning.folder
        if folder is None:
            raise LearningError(self._learning.refusal)
        if self.is_busy:
            raise LearningError("Two versions are being drawn already; wait a moment.")
        return folder

    def _on_slices(self, folder: Path, names: tuple[str, str], shown: tuple[Shown, ...] | Exception) -> None:
        if not isinstance(shown, Exception) and folder == self._learning.folder and not self._is_closed:
            model = self._learning.model
            self._submit(Pictures(folder, names, shown, model.name, model.device))
        else:
            self._set_busy(False)

    def _submit(self, request: SideBySide | Pictures) -> None:
        self._asked = request
        self._workspace.work.worker.submit(request)
        self._set_busy(True)

    def _set_busy(self, busy: bool) -> None:
        if busy != self.is_busy:
            self.is_busy = busy
            self.changed.emit()

    def _on_event(self, event: Event) -> None:
        if not isinstance(event, (Done, Failed)) or event.request is not self._asked:
            return
        asked, self._asked = self._asked, None
        if isinstance(event, Done) and event.outcome is not None:
            if isinstance(asked, SideBySide):
                self._show(asked, event.outcome)
            else:
                self.pictures = event.outcome
        elif isinstance(event, Failed):
            self.said.emit(event.message)
        self._set_busy(False)
        self.changed.emit()

    def _show(self, asked: SideBySide, drawn: Sequence[Drawn]) -> None:
        image = self._workspace.image
        if image is None or self._workspace.at != asked.at or len(drawn) < len(asked.versions):
            self.said.emit("The slice was left meanwhile: go back to it and compare again.")
            return
        self.layers.show(image, asked.at, drawn)
        empty = [one.version for one in drawn if not one.mask_yx.any()]
        if empty:
            self.said.emit(f'{" and ".join(empty)} see no "{asked.text.text}" in this slice.')

    def _on_removed(self, event: Any) -> None:
        self.layers.layers = [layer for layer in self.layers.layers if layer is not event.value]
        if event.value is self._workspace.image:
            self.layers.remove()
        self.changed.emit()

    def _on_learning(self) -> None:
        if self._learning.folder != self._folder:
            self._folder = self._learning.folder
            self.pictures = ()
            self.layers.remove()
            self.changed.emit()
        elif self._asked is not None and not self._workspace.work.worker.is_busy:
            # It gave way to other work, which nobody is told of.
            self._asked = None
            self._set_busy(False)
