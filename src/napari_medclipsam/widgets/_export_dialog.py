"""The question what to export, how and where to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_medclipsam.projects.exchanging import Format

_TITLES: dict[Format, str] = {
    "nifti": "NIfTI, one file of labels per case",
    "nifti-per-class": "NIfTI, one file per class",
    "dicom-seg": "DICOM-SEG (needs DICOM series)",
    "nnunet": "nnU-Net data set",
    "coco": "COCO data set",
    "csv": "Volumes and diameters (CSV)",
}


@dataclass(frozen=True)
class Export:
    """What the reader has chosen."""

    form: Format
    output: Path
    only_this: bool
    deidentify: bool


class ExportDialog(QDialog):
    """Format, cases, de-identification.

    Parameters
    ----------
    parent : QWidget
        Whose window waits.
    case : str or None
        The case that is open.
    """

    def __init__(self, parent: QWidget, case: str | None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export accepted masks")
        self.form = QComboBox()
        for form, title in _TITLES.items():
            self.form.addItem(title, form)
        self.only_this = QCheckBox("Only the open case" if case is None else f"Only {case}, which is open")
        self.only_this.setToolTip("Else all cases in which something is accepted.")
        self.only_this.setEnabled(case is not None)
        self.deidentify = QCheckBox("Add de-identified copies of the series")
        self.deidentify.setToolTip("Without what names the patient, by DICOM PS3.15 Annex E; with a report.")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(QLabel("Every file is read back and compared before it counts."))
        for widget in (self.form, self.only_this, self.deidentify, buttons):
            layout.addWidget(widget)
        self.form.currentIndexChanged.connect(self._on_form)
        self._on_form()

    def _on_form(self) -> None:
        self.deidentify.setEnabled(self.form.currentData() == "dicom-seg")


def ask_export(parent: QWidget, project: str, case: str | None) -> Export | None:
    """Ask what to export and where to; None for Cancel."""
    dialog = ExportDialog(parent, case)
    if not dialog.exec():
        return None
    form: Format = dialog.form.currentData()
    start = str(Path.home() / _suggestion(form, project))
    title = "Export to a file" if form == "csv" else "Export: name a new folder"
    path, _ = QFileDialog.getSaveFileName(parent, title, start)
    deidentify = dialog.deidentify.isChecked() and dialog.deidentify.isEnabled()
    return Export(form, Path(path), dialog.only_this.isChecked(), deidentify) if path else None


def _suggestion(form: Format, project: str) -> str:
    if form == "nnunet":
        # The name that nnU-Net looks for.
        return f"Dataset001_{re.sub('[^A-Za-z0-9]+', '_', project) or 'project'}"
    return f"{project}_volumes.csv" if form == "csv" else f"{project}_{form}"
