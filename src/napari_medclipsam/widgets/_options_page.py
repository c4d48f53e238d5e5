"""Model and device, what happens where masks meet, and masks that are there already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from napari.layers import Labels
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QLabel, QPushButton, QSizePolicy, QWidget

from napari_medclipsam.annotation.worker_events import Event, Loading, ModelChoice, Timed
from napari_medclipsam.learning.wording import duration
from napari_medclipsam.models.registry import list_models
from napari_medclipsam.models.store import ModelState, state_of
from napari_medclipsam.saliency.methods import METHODS
from napari_medclipsam.saliency.pair import reads_text, takes_method

if TYPE_CHECKING:
    from napari_medclipsam.annotation.text_history import TextHistory
    from napari_medclipsam.models.entry import ModelEntry
    from napari_medclipsam.widgets._workspace import Workspace

_OVERLAPS = {
    "new": "the new one takes it",
    "old": "the old one keeps it",
    "score": "the one with the better score has it",
}
_AUTO = "the best there is"
_TRIED_MS = 400


class OptionsPage(QWidget):
    """What is set once in a while.

    Parameters
    ----------
    workspace : Workspace
        Gets the settings.
    history : TextHistory
        Is cleared here.
    """

    def __init__(self, workspace: Workspace, history: TextHistory) -> None:
        super().__init__()
        self._workspace = workspace
        self.models = self._choice("Which model reads the text, and which one draws the masks.", self._use_model)
        for name, title in model_choices():
            self.models.addItem(title, name)
        tip = "How a CLIP model shows where it looks. What was asked in the slice on screen is asked again."
        self.methods = self._choice(tip, self._try_method)
        for name, info in METHODS.items():
            self.methods.addItem(info.title, name)
        self.method_line = QLabel()
        self.method_line.setWordWrap(True)
        self._tried = QTimer(self)
        self._tried.setSingleShot(True)
        self._tried.setInterval(_TRIED_MS)
        self._tried.timeout.connect(self._preview)
        workspace.work.happened.connect(self._on_event)
        self.devices = self._choice("Where the models run.", self._use_model)
        self.devices.addItem(_AUTO, None)
        self.devices.addItem("cpu", "cpu")
        self.overlap = self._choice("Who gets a voxel that two structures claim when you accept.", self._set_overlap)
        for policy, title in _OVERLAPS.items():
            self.overlap.addItem(title, policy)
        self.keep_hand = QCheckBox("Keep what was drawn by hand")
        self.keep_hand.setToolTip("Accepting a proposal changes no voxel that was painted or erased by hand.")
        self.keep_hand.setChecked(True)
        self.keep_hand.toggled.connect(self._set_keep_hand)
        self.given = self._choice("A labels layer that is there already, to go on with.", lambda: None)
        self.go_on = QPushButton("Go on with this mask")
        self.go_on.setToolTip("Take this layer for the mask of the image; its shape must be that of the image.")
        self.go_on.clicked.connect(self._use_labels)
        self.clear_history = QPushButton("Clear history")
        self.clear_history.setToolTip("Forget the texts that you have looked for; they are kept on this machine only.")
        self.clear_history.clicked.connect(lambda: self._clear_history(history))
        note = QLabel("Research use only. Not a medical device.")
        note.setWordWrap(True)
        layout = QFormLayout(self)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)
        layout.addRow("Model", self.models)
        layout.addRow("Saliency of the CLIP model", self.methods)
        layout.addRow(self.method_line)
        layout.addRow("Device", self.devices)
        layout.addRow("Where masks overlap", self.overlap)
        layout.addRow(self.keep_hand)
        layout.addRow("Mask that is there already", self.given)
        layout.addRow(self.go_on)
        layout.addRow("Texts that you have looked for", self.clear_history)
        layout.addRow(note)
        self._form = layout
        self._seconds: Mapping[str, float] = {}
        self._show_method()

    def refresh(self) -> None:
        """Show the settings of the session and which labels layers there are."""
        session, own = self._workspace.session, self._workspace.helper_layers()
        if session is not None:
            self.overlap.setCurrentIndex(list(_OVERLAPS).index(session.overlap))
            self.keep_hand.setChecked(session.keep_hand_edits)
        names = [
            layer.name
            for layer in self._workspace.viewer.layers
            if isinstance(layer, Labels) and all(layer is not one for one in own)
        ]
        if names != [self.given.itemText(i) for i in range(self.given.count())]:
            self.given.clear()
            self.given.addItems(names)
        self.go_on.setEnabled(bool(names) and session is not None)

    def add_devices(self, names: list[str]) -> None:
        """Offer the devices of this machine, which are known only when the library of the models is loaded."""
        for name in names:
            if self.devices.findData(name) < 0:
                self.devices.insertItem(1, name, name)

    def _use_model(self) -> None:
        name = self.models.currentData()
        method = self.methods.currentData() if takes_method(name) else None
        self._show_method()
        self._workspace.use_model(ModelChoice(name, self.devices.currentData(), method))

    def _try_method(self) -> None:
        """Wait a moment: who goes through the list with the keyboard passes by methods that take minutes."""
        self._show_method()
        self._tried.start()

    def _preview(self) -> None:
        """Make the map of the slice on screen again, with the method that was chosen."""
        self._use_model()
        session, at = self._workspace.session, self._workspace.at
        if session is not None and at is not None and session.answers(at):
            self._workspace.work.submit(session.plan_text(at))

    def _on_event(self, event: Event) -> None:
        if isinstance(event, (Loading, Timed)):
            # Those of another model until its own are told.
            self._seconds = event.seconds if isinstance(event, Timed) else {}
            self._show_method()

    def _show_method(self) -> None:
        """Offer a saliency method where the model needs one, and say what the chosen one does."""
        is_clip = takes_method(self.models.currentData())
        self._form.setRowVisible(self.methods, is_clip)
        self._form.setRowVisible(self.method_line, is_clip)
        for place, (name, info) in enumerate(METHODS.items()):
            seconds = self._seconds.get(name)
            self.methods.setItemText(place, info.title if seconds is None else f"{info.title}, {_about(seconds)}")
            self.methods.setItemData(place, info.line, Qt.ItemDataRole.ToolTipRole)
        chosen = METHODS[self.methods.currentData()]
        seconds = self._seconds.get(chosen.name)
        cost = "How long it takes here is measured when the model is loaded."
        self.method_line.setText(
            f"{chosen.explanation} {cost if seconds is None else f'Takes {_about(seconds)} a slice on this machine.'}"
        )

    def _set_overlap(self) -> None:
        if self._workspace.session is not None:
            self._workspace.session.overlap = self.overlap.currentData()

    def _set_keep_hand(self, keep: bool) -> None:
        if self._workspace.session is not None:
            self._workspace.session.keep_hand_edits = keep

    def _use_labels(self) -> None:
        layer = self._workspace.viewer.layers[self.given.currentText()]
        self._workspace.label(self._workspace.image, layer)

    def _clear_history(self, history: TextHistory) -> None:
        history.clear()
        self._workspace.said.emit("The texts that you have looked for are forgotten.")

    def _choice(self, tip: str, chosen: Callable[[], None]) -> QComboBox:
        box = QComboBox()
        box.setToolTip(tip)
        box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        box.activated.connect(lambda _: chosen())
        return box


def _about(seconds: float) -> str:
    return f"about {duration(seconds)}" if seconds >= 1 else "less than 1 s"


def model_choices() -> list[tuple[str, str]]:
    """Return (name for `ModelChoice`, what to show) of every pair of models that can read a text and draw a mask."""
    entries = list_models()
    pairs = []
    for reader in (e for e in entries if reads_text(e)):
        for drawer in (e for e in entries if "segment" in e.roles):
            name = reader.name if reader is drawer else f"{reader.name}+{drawer.name}"
            missing = [e.name for e in _distinct(reader, drawer) if state_of(e) == ModelState.NOT_INSTALLED]
            pairs.append((name, f"{name} ({', '.join(missing)} not installed)" if missing else name))
    return pairs


def _distinct(reader: ModelEntry, drawer: ModelEntry) -> list[ModelEntry]:
    return [reader] if reader is drawer else [reader, drawer]
