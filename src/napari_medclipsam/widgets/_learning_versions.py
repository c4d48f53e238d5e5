"""The page "Versions" of the Learning dock: what was learnt, how good it is, and which version is in use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap, QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medclipsam.learning import wording
from napari_medclipsam.learning.comparing import BASE
from napari_medclipsam.learning.outlines import ACCEPTED, AFTER, BEFORE, framed
from napari_medclipsam.learning.showing import Picture
from napari_medclipsam.learning.versions import Version
from napari_medclipsam.widgets._buttons import Button
from napari_medclipsam.widgets._learning_compare import VersionCompare
from napari_medclipsam.widgets._learning_desk import LearningDesk

_COLUMNS = (
    ("Version", "Its name; which learner made it is said below."),
    ("State", "promoted (in use), replaced, rolled back, candidate, not better, or damaged."),
    ("Gain", "Mean gain in Dice over patients, in points of 100."),
    ("Interval", "Where the gain lies, each end with 95 % confidence."),
    ("Gate", "What the gate said: better, not better, or it can't tell yet."),
)
_NONE = "Nothing was learnt in this project yet. Start on the page Learn."
_LEGEND = (
    f'<span style="color:{ACCEPTED}">■</span> accepted '
    f'<span style="color:{BEFORE}">■</span> first <span style="color:{AFTER}">■</span> second'
)
_ROWS_SHOWN = 5
_PICTURE_PX = 150


class VersionsPage(QWidget):
    """See the head of this module.

    Parameters
    ----------
    learning : LearningDesk
        Has the versions.
    compare : VersionCompare
        Draws with two of them.
    """

    def __init__(self, learning: LearningDesk, compare: VersionCompare) -> None:
        super().__init__()
        self._learning, self._compare = learning, compare
        self.table = _table()
        self.table.itemSelectionChanged.connect(self.refresh)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.promote = Button("Promote", "Put the selected version into use.", self._promote, "accept")
        tip = "Go back to what was in use before this version."
        self.roll_back = Button("Roll back", tip, learning.versions.roll_back, "undo")
        tip = "Delete the selected version from the disk, after a question. One in use, or learnt from, can't be."
        self.delete = Button("Delete …", tip, self._delete, "clear")
        self.first, self.second = _names("Drawn in orange."), _names("Drawn in blue.")
        tip = "Draw the current class with both versions over the slice on screen: the first orange, the second blue."
        self.on_screen = Button("On this slice", tip, self._on_screen, "compare")
        self.away = Button("Take away", "Remove the two outlines.", compare.take_away, "clear")
        tip = "Draw the same slices with both, of patients that neither has learnt from."
        self.pictures = Button("Before and after", tip, self._pictures, "look")
        self.legend = QLabel()
        self.strip = PictureStrip()
        self._shown: tuple[Version, ...] | None = None
        self._drawn: Sequence[Picture] = ()
        self._lay_out()
        learning.changed.connect(self.refresh)
        compare.changed.connect(self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.setSpacing(6)
        column.addWidget(self.table)
        column.addWidget(self.words)
        for widgets in (
            (self.promote, self.roll_back, self.delete),
            (self.first, QLabel("and"), self.second),
            (self.on_screen, self.away),
            (self.pictures,),
        ):
            row = QHBoxLayout()
            row.setSpacing(3)
            for widget in widgets:
                row.addWidget(widget, int(not isinstance(widget, QLabel)))
            column.addLayout(row)
        column.addWidget(self.legend)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(self.strip)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        column.addWidget(area, 1)

    @property
    def selected(self) -> Version | None:
        """The version whose row is selected."""
        item = self.table.item(self.table.currentRow(), 0)
        return None if item is None else self._learning.overview.version(str(item.data(Qt.ItemDataRole.UserRole)))

    def refresh(self) -> None:
        """Show the versions as they are now."""
        learning, compare = self._learning, self._compare
        versions = learning.overview.versions
        if versions != self._shown:
            self._fill(versions)
        version = self.selected
        told = learning.overview.trouble or (learning.refusal if learning.project is None else "")
        self.words.setText(told or (_NONE if version is None else wording.version_words(version)))
        may = not learning.refusal and not learning.is_busy
        usable = version is not None and not version.trouble and version.state != "promoted"
        self.promote.setEnabled(may and usable)
        self.delete.setEnabled(may and version is not None and version.state != "promoted")
        self.roll_back.setEnabled(may and (learning.overview.active is not None or bool(learning.overview.trouble)))
        is_pair = bool(versions) and self.first.currentData() != self.second.currentData() and not compare.is_busy
        self.on_screen.setEnabled(is_pair)
        self.pictures.setEnabled(is_pair)
        self.away.setEnabled(compare.are_layers_shown)
        if compare.pictures is not self._drawn:
            self._drawn = compare.pictures
            self.strip.show_pictures(self._drawn)
        self.legend.setText("Drawing with both versions …" if compare.is_busy else _LEGEND)
        self.legend.setVisible(compare.is_busy or bool(self._drawn) or compare.are_layers_shown)

    def _fill(self, versions: tuple[Version, ...]) -> None:
        self._shown = versions
        chosen = self.selected
        self.table.blockSignals(True)
        self.table.setRowCount(len(versions))
        # The newest first: it is what one came for.
        for row, version in enumerate(reversed(versions)):
            texts = (
                *(version.name, version.state),
                *(wording.gain_words(version).split(" ")[0] or "–", wording.interval_words(version) or "–"),
                wording.verdict_words(version),
            )
            for place, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(wording.version_words(version))
                item.setData(Qt.ItemDataRole.UserRole, version.name)
                font = item.font()
                font.setBold(version.state == "promoted")
                item.setFont(font)
                self.table.setItem(row, place, item)
            if row == 0 or (chosen is not None and version.name == chosen.name):
                self.table.selectRow(row)
        self.table.blockSignals(False)
        self._widen()
        names = [BASE, *(v.name for v in versions)]
        active = self._learning.overview.active
        for box, start in ((self.first, BASE), (self.second, names[-1])):
            kept = box.currentData()
            box.clear()
            for name in names:
                in_use = active is not None and name == active.name
                title = "the model itself" if name == BASE else f"{name}, in use" if in_use else name
                box.addItem(title, name)
            # A new version is what one wants to see.
            index = box.findData(start if box is self.second or kept is None else kept)
            box.setCurrentIndex(max(0, index))

    def _widen(self) -> None:
        """Make room for all columns."""
        header = self.table.horizontalHeader()
        assert header is not None  # every table has one
        widths = [self.table.sizeHintForColumn(c) for c in range(len(_COLUMNS))]
        heads = [header.sectionSizeHint(c) for c in range(len(_COLUMNS))]
        self.table.setMinimumWidth(sum(map(max, widths, heads)) + len(_COLUMNS) + 4)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Measure again: before, the letters may not have been those of the window yet."""
        super().showEvent(event)
        self._widen()

    def _promote(self) -> None:
        if self.selected is not None:
            self._learning.versions.promote(self.selected.name)

    def _delete(self) -> None:
        if self.selected is not None:
            self._learning.versions.delete(self.selected)

    def _on_screen(self) -> None:
        self._compare.on_screen(self.first.currentData(), self.second.currentData())

    def _pictures(self) -> None:
        self._compare.before_and_after(self.first.currentData(), self.second.currentData())


class PictureStrip(QWidget):
    """Pictures in two columns, before and after."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)

    def show_pictures(self, pictures: Sequence[Picture]) -> None:
        """Show others."""
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        for number, picture in enumerate(pictures):
            title = QLabel(picture.title)
            title.setWordWrap(True)
            self._grid.addWidget(title, 3 * number, 0, 1, 2)
            for column, (pixels, score) in enumerate(
                zip(framed(picture), (picture.before, picture.after), strict=True)
            ):
                shown = QLabel()
                shown.setPixmap(_pixmap(pixels))
                shown.setToolTip("The slice around the structure; green is what was accepted.")
                self._grid.addWidget(shown, 3 * number + 1, column)
                self._grid.addWidget(QLabel(f"Dice {score:.2f}"), 3 * number + 2, column)
        self._grid.setRowStretch(3 * len(pictures), 1)


def _pixmap(pixels: np.ndarray) -> QPixmap:
    height, width = pixels.shape[:2]
    image = QImage(np.ascontiguousarray(pixels).tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888).copy()
    kept, smooth = Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    return QPixmap.fromImage(image).scaled(_PICTURE_PX, _PICTURE_PX, kept, smooth)


def _table() -> QTableWidget:
    table = QTableWidget(0, len(_COLUMNS))
    table.setHorizontalHeaderLabels([name for name, _ in _COLUMNS])
    for column, (_, tip) in enumerate(_COLUMNS):
        header = table.horizontalHeaderItem(column)
        assert header is not None  # it has just been set
        header.setToolTip(tip)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setWordWrap(False)
    vertical, horizontal = table.verticalHeader(), table.horizontalHeader()
    assert vertical is not None and horizontal is not None  # every table has them
    vertical.setVisible(False)
    horizontal.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    # Not `setStretchLastSection`, which keeps the last one as wide as it was by default.
    horizontal.setSectionResizeMode(len(_COLUMNS) - 1, QHeaderView.ResizeMode.Stretch)
    table.setFixedHeight((_ROWS_SHOWN + 1) * (table.fontMetrics().lineSpacing() + 8))
    return table


def _names(tip: str) -> QComboBox:
    box = QComboBox()
    box.setToolTip(tip)
    box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    # Names are never cut, and none of them is long.
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box
