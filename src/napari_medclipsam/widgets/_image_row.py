"""Which image is labelled, and with which intensity window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QGridLayout, QLabel, QSizePolicy, QWidget

from napari_medclipsam.images.intensity import CT_WINDOWS
from napari_medclipsam.widgets._buttons import Button

if TYPE_CHECKING:
    from napari_medclipsam.widgets._workspace import Workspace

_AS_SHOWN = "as shown"


class ImageRow(QWidget):
    """Two choices.

    Parameters
    ----------
    workspace : Workspace
        Whose image they are about.
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self.images = _choice("The image that is labelled.")
        self.windows = _choice(
            "Contrast, for you and for the model: automatic, a CT window, or as the image's own slider says."
        )
        self.windows.addItems(["auto", *CT_WINDOWS, _AS_SHOWN])
        self.reset = Button("Reset", "Back to the automatic contrast.", lambda: workspace.set_window("auto"), "reset")
        self.images.activated.connect(self._on_image)
        self.windows.activated.connect(self._on_window)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(3)
        layout.addWidget(QLabel("Image"), 0, 0)
        layout.addWidget(self.images, 0, 1, 1, 2)
        layout.addWidget(QLabel("Window"), 1, 0)
        layout.addWidget(self.windows, 1, 1)
        layout.addWidget(self.reset, 1, 2)
        layout.setColumnStretch(1, 1)

    def refresh(self) -> None:
        """Show which images there are and what is chosen."""
        images = self._workspace.images()
        names = [layer.name for layer in images]
        if names != [self.images.itemText(i) for i in range(self.images.count())]:
            self.images.clear()
            self.images.addItems(names)
        chosen = next((i for i, layer in enumerate(images) if layer is self._workspace.image), -1)
        self.images.setCurrentIndex(chosen)
        session = self._workspace.session
        is_gray = session is not None and not session.image.rgb
        self.windows.setEnabled(is_gray)
        self.reset.setEnabled(is_gray)
        if session is not None:
            self.windows.setCurrentText(session.window if isinstance(session.window, str) else _AS_SHOWN)

    def _on_image(self, index: int) -> None:
        self._workspace.label(self._workspace.images()[index])
        self.refresh()

    def _on_window(self, index: int) -> None:
        name = self.windows.itemText(index)
        if name == _AS_SHOWN and self._workspace.image is not None:
            low, high = self._workspace.image.contrast_limits
            self._workspace.set_window((float(low), float(high)))
        else:
            self._workspace.set_window(name)
        self.refresh()


def _choice(tip: str) -> QComboBox:
    box = QComboBox()
    box.setToolTip(tip)
    box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    # A long name is no reason to make the dock wider.
    box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return box
