"""The page "Learn" of the Learning dock: what the worker does, and what it shall do."""

from __future__ import annotations

from dataclasses import replace
from html import escape

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_medclipsam.learning import wording
from napari_medclipsam.learning.clip_home import CLIP
from napari_medclipsam.learning.learners import learner_names
from napari_medclipsam.learning.outlines import AFTER, BEFORE
from napari_medclipsam.learning.trigger import LearningSettings
from napari_medclipsam.learning.versions import Version
from napari_medclipsam.widgets import _questions as questions
from napari_medclipsam.widgets._buttons import Button
from napari_medclipsam.widgets._learning_desk import IDLE_S, LearningDesk
from napari_medclipsam.widgets._learning_plot import Mark, Plot

_FULL = 1000
_MINUTE_S = 60
_FACTS = {
    "trigger": ("Reason", "What started this run."),
    "time": ("Time", "Work without pauses, and what is left of it."),
    "data": ("Learns from", "Held-out patients teach nothing: versions are measured on them."),
    "memory": ("Memory", "Of the process that learns; it is all free again when that ends."),
}


class NowPage(QWidget):
    """See the head of this module.

    Parameters
    ----------
    learning : LearningDesk
        Does what is asked for here.
    """

    def __init__(self, learning: LearningDesk) -> None:
        super().__init__()
        self._learning = learning
        self.state = _words()
        self.bar = QProgressBar()
        self.bar.setRange(0, _FULL)
        self.bar.setToolTip("How far the whole run is, measuring included.")
        self.facts = {name: _words() for name in _FACTS}
        self.loss, self.dice = Plot(BEFORE), Plot(AFTER)
        self.loss.setToolTip("How far the model is from the accepted masks while it learns: it should fall.")
        self.dice.setToolTip(
            "How well accepted masks are matched: by the last answers of the run, on slices it learns from, where\n"
            "its learner tells it; else by the proposals of each version, with its interval; the one in use is filled."
        )
        self.learner = _Choice("What learns.")
        for name in (*learner_names(), CLIP):
            self.learner.addItem(name, name)
        self.learner.currentIndexChanged.connect(lambda _: self.refresh())
        self.about = _words()
        self.minutes = QDoubleSpinBox()
        self.minutes.setRange(0.5, 24 * 60)
        self.minutes.setDecimals(1)
        self.minutes.setSuffix(" min")
        self.minutes.setToolTip("Time of all fits together, without pauses and without measuring.")
        self.minutes.valueChanged.connect(lambda _: self.refresh())
        self.start = Button("Learn now", "Learn from the accepted slices, beside your work.", self._start, "learn")
        tip = "Hold the work; it uses nothing of the processor meanwhile. It does so by itself while you work."
        self.pause = Button("Pause", tip, learning.pause, "pause")
        self.resume = Button("Resume", "Go on.", learning.resume, "resume")
        tip = "End it and keep what is done: Learn now goes on from there."
        self.stop = Button("Stop", tip, learning.stop, "stop")
        self.cancel = Button("Cancel", "End it and keep nothing of it.", learning.cancel, "cancel")
        self.missing = _words()
        self.alone = AlonePanel(learning)
        self._shown_settings: LearningSettings | None = None
        self._lay_out()
        learning.changed.connect(self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.setSpacing(6)
        column.addWidget(self.state)
        column.addWidget(self.bar)
        facts = _form()
        for name, (title, tip) in _FACTS.items():
            label = QLabel(title)
            for widget in (label, self.facts[name]):
                widget.setToolTip(tip)
            facts.addRow(label, self.facts[name])
        column.addLayout(facts)
        plots = QHBoxLayout()
        for plot in (self.loss, self.dice):
            plots.addWidget(plot, 1)
        column.addLayout(plots)
        self.running = QWidget()
        running = QGridLayout(self.running)
        running.setContentsMargins(0, 0, 0, 0)
        running.setSpacing(3)
        for place, button in enumerate((self.pause, self.resume, self.stop, self.cancel)):
            running.addWidget(button, 0, place)
        column.addWidget(self.running)
        chosen = _form()
        chosen.addRow("Learner", self.learner)
        chosen.addRow(self.about)
        budget = QHBoxLayout()
        budget.addWidget(self.minutes, 1)
        budget.addWidget(self.start)
        chosen.addRow("Budget", budget)
        column.addLayout(chosen)
        column.addWidget(self.missing)
        column.addWidget(self.alone)
        column.addStretch(1)

    def color(self, text: str) -> None:
        """Draw the plots in a colour of the theme."""
        for plot in (self.loss, self.dice):
            plot.color_text(text)

    def refresh(self) -> None:
        """Show how things are."""
        learning = self._learning
        status, found, n = learning.status, learning.overview, learning.n_accepted
        head = f"<b>{wording.state_words(status)}</b> {escape(status.message)}"
        self.state.setText(head if learning.project else learning.refusal)
        for widget in (self.bar, self.running):
            widget.setVisible(learning.is_learning)
        self.bar.setValue(round(_FULL * status.fraction))
        self.facts["trigger"].setText(status.trigger or "–")
        self.facts["time"].setText(wording.time_words(status))
        is_clip = learning.is_learning and status.learner == CLIP
        data = wording.data_words(n, found.n_patients, found.n_held_out)
        self.facts["data"].setText(wording.pair_words(status) if is_clip else data)
        self.facts["memory"].setText(wording.memory_words(status))
        self._show_plots()
        settings = learning.settings
        if settings != self._shown_settings:
            self._shown_settings = settings
            self.alone.show_settings(settings)
            self.minutes.setValue(settings.minutes)
            self.learner.setCurrentIndex(max(0, self.learner.findData(settings.learner)))
        name = str(self.learner.currentData())
        takes = wording.estimate(name, n, self.minutes.value() * _MINUTE_S, found.versions)
        self.about.setText(f"{wording.about(name)} Takes {takes}.")
        refusal = learning.refusal if learning.project else ""
        outlook = "" if name == CLIP else wording.outlook(n, found.n_patients, found.n_held_out)
        self.missing.setText(refusal or outlook)
        self.missing.setVisible(learning.project is not None and bool(self.missing.text()))
        may = not learning.refusal and not learning.is_busy
        self.start.setEnabled(may and not learning.is_learning and (n > 0 or name == CLIP))
        self.pause.setEnabled(may and learning.is_learning and status.state != "paused")
        self.resume.setEnabled(may and status.state == "paused")
        for button in (self.stop, self.cancel):
            button.setEnabled(may and learning.is_learning)
        self.alone.setEnabled(not learning.refusal)

    def _show_plots(self) -> None:
        found = self._learning.overview
        curves = {curve.name: curve.points for curve in found.curves}
        self.loss.show_line("Loss of the run", curves.get("loss", ()), "No curve yet")
        if "dice" in curves:
            self.dice.show_line("Dice of the run", curves["dice"], "")
        else:
            marks = [mark for n, v in enumerate(found.versions) if (mark := _mark(n, v)) is not None]
            self.dice.show_marks("Dice by version", tuple(marks), "No version is measured yet")

    def _start(self) -> None:
        name, folder = str(self.learner.currentData()), self._learning.folder
        if name != CLIP:
            self._learning.learn(name, self.minutes.value())
        elif folder is not None and (table := questions.caption_table(self, folder)) is not None:
            self._learning.learn_captions(table, self.minutes.value())


class AlonePanel(QGroupBox):
    """When the project learns by itself.

    Parameters
    ----------
    learning : LearningDesk
        Keeps the settings.
    """

    def __init__(self, learning: LearningDesk) -> None:
        super().__init__("Learn by itself")
        self._learning = learning
        self._is_showing = False
        self.every = QSpinBox()
        self.every.setRange(0, 9999)
        self.every.setSpecialValueText("never")
        self.every.setSuffix(" accepted slices")
        self.every.setToolTip("After so many newly accepted slices; 0: never.")
        self.learner = _Choice("Which learner starts by itself.")
        for name in learner_names():
            self.learner.addItem(name, name)
        self.minutes = QDoubleSpinBox()
        self.minutes.setRange(0.5, 24 * 60)
        self.minutes.setDecimals(1)
        self.minutes.setSuffix(" min")
        self.minutes.setToolTip("Budget of a run that starts by itself.")
        self.idle = QCheckBox("Only when idle")
        self.idle.setToolTip(f"It starts when nobody has worked in the window for {IDLE_S:.0f} seconds.")
        self.goes_on = QCheckBox("Goes on when the window closes")
        self.goes_on.setToolTip("Without it you are asked. It is found again when the project is opened.")
        form = _form()
        form.addRow("After", self.every)
        with_what = QHBoxLayout()
        with_what.addWidget(self.learner, 1)
        with_what.addWidget(self.minutes)
        form.addRow("With", with_what)
        form.addRow(self.idle)
        form.addRow(self.goes_on)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addLayout(form)
        for box in (self.every, self.minutes):
            box.editingFinished.connect(self._keep)
        self.learner.activated.connect(lambda _: self._keep())
        for check in (self.idle, self.goes_on):
            check.toggled.connect(lambda _: self._keep())

    def show_settings(self, settings: LearningSettings) -> None:
        """Show the settings of a project."""
        self._is_showing = True
        self.every.setValue(settings.every)
        self.learner.setCurrentIndex(max(0, self.learner.findData(settings.learner)))
        self.minutes.setValue(settings.minutes)
        self.idle.setChecked(settings.only_when_idle)
        self.goes_on.setChecked(settings.goes_on)
        self._is_showing = False

    def _keep(self) -> None:
        if self._is_showing or self._learning.refusal:
            return
        settings = replace(
            self._learning.settings,
            learner=str(self.learner.currentData()),
            every=self.every.value(),
            only_when_idle=self.idle.isChecked(),
            goes_on=self.goes_on.isChecked(),
            minutes=self.minutes.value(),
        )
        self._learning.keep_settings(settings)


class _Choice(QComboBox):
    def __init__(self, tip: str) -> None:
        super().__init__()
        self.setToolTip(tip)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)


def _mark(number: int, version: Version) -> Mark | None:
    gate = version.lineage.get("gate", {})
    total = gate.get("total")
    if not total:
        return None
    after, before = float(total["after"]), float(total["before"])
    low, high = (after if gate[end] is None else before + float(gate[end]) for end in ("lower", "upper"))
    return Mark(number, after, low, high, version.name, version.state == "promoted")


def _words() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _form() -> QFormLayout:
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setVerticalSpacing(3)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form
