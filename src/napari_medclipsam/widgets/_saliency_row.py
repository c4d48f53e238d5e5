"""Opacity of the saliency and the threshold of the coarse mask."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QSlider, QWidget

_STEPS = 100


class SaliencyRow(QWidget):
    """Two sliders.

    Parameters
    ----------
    set_opacity, set_level : callable
        Told a number from 0 to 1 while a slider moves.
    settled : callable
        Called when the threshold has been let go.
    """

    def __init__(
        self, set_opacity: Callable[[float], None], set_level: Callable[[float], None], settled: Callable[[], None]
    ) -> None:
        super().__init__()
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setVerticalSpacing(2)
        tip = "How strongly the saliency is laid over the image: where the model sees the words."
        self.opacity = _slider(layout, 0, "Saliency", tip, 0.5, set_opacity)
        tip = "How salient is salient enough: the outline follows, and letting go looks for the text again."
        self.level = _slider(layout, 1, "Threshold", tip, 0.5, set_level)
        self.level.setMinimum(5)
        self.level.setMaximum(95)
        self.level.sliderReleased.connect(settled)


def _slider(
    layout: QGridLayout, row: int, name: str, tip: str, value: float, changed: Callable[[float], None]
) -> QSlider:
    label, number = QLabel(name), QLabel(f"{value:.2f}")
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setRange(0, _STEPS)
    slider.setValue(round(value * _STEPS))

    def on_value(step: int) -> None:
        number.setText(f"{step / _STEPS:.2f}")
        changed(step / _STEPS)

    slider.valueChanged.connect(on_value)
    for widget in (label, slider):
        widget.setToolTip(tip)
    slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    layout.addWidget(label, row, 0)
    layout.addWidget(slider, row, 1)
    layout.addWidget(number, row, 2)
    return slider
