"""Public samples of File > Open Sample: nothing is downloaded before the user has agreed."""

from __future__ import annotations

import threading
from contextlib import suppress

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QApplication, QMessageBox, QProgressDialog, QWidget

from napari_medclipsam.errors import MedclipsamError
from napari_medclipsam.napari_io import LayerData, public_sample_layers
from napari_medclipsam.public_samples import GLIOMA_FLAIR, GLIOMA_T2, PublicSample, fetch_sample, is_here


def open_glioma_flair() -> list[LayerData]:
    """Return the sample of that name as napari layer data."""
    return open_public_sample(GLIOMA_FLAIR)


def open_glioma_t2() -> list[LayerData]:
    """Return the sample of that name as napari layer data."""
    return open_public_sample(GLIOMA_T2)


def open_public_sample(sample: PublicSample) -> list[LayerData]:
    """Return a sample as napari layer data; ask and download first where it is not here.

    Raises
    ------
    MedclipsamError
        If the user does not agree, stops the download, or it fails; napari shows the sentence.
    """
    # Without a window there is nobody to ask.
    if not is_here(sample) and QApplication.instance() is not None:
        parent = QApplication.activeWindow()
        if _agreed(sample, parent):
            Download(sample, parent).run()
    return public_sample_layers(sample)


def _agreed(sample: PublicSample, parent: QWidget | None) -> bool:
    question = (
        f"{sample.title}\n\nThis downloads {sample.size}, licence {sample.licence}, and keeps it in "
        f"{sample.path(sample.image).parent}.\n\n{sample.credit}\n{sample.source}\n\nDownload it now?"
    )
    yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    return QMessageBox.question(parent, "Download a sample", question, yes | no, no) == yes


class Download(QProgressDialog):
    """A download in a thread of its own, with its progress and a way to stop it.

    Parameters
    ----------
    sample : PublicSample
        What to fetch.
    parent : QWidget, optional
        The window that waits for it.
    """

    _moved = Signal(object, object)
    _ended = Signal()

    def __init__(self, sample: PublicSample, parent: QWidget | None = None) -> None:
        super().__init__(f"Downloading: {sample.title} …", "Cancel", 0, 0, parent)
        self.setWindowTitle("Download a sample")
        self.setWindowModality(Qt.WindowModality.WindowModal)
        # It ends when the thread does: two files are fetched, and their hashes checked.
        self.setAutoReset(False)
        self.setAutoClose(False)
        self._sample = sample
        self._stop = threading.Event()
        self._error: MedclipsamError | None = None
        self._moved.connect(self._show)
        self._ended.connect(self.accept)
        self.canceled.connect(self._stop.set)

    def run(self) -> None:
        """Download, and return when it is done.

        Raises
        ------
        MedclipsamError
            If it fails or is cancelled; what has arrived is kept.
        """
        threading.Thread(target=self._fetch, name="medclipsam download", daemon=True).start()
        self.exec()
        if self._error is not None:
            raise self._error

    def _fetch(self) -> None:
        try:
            fetch_sample(self._sample, lambda _, done, total: self._moved.emit(done, total), self._stop.is_set)
        except MedclipsamError as error:
            self._error = error
        finally:
            # Cancelled in the middle of a slow answer, the dialog may be gone before its thread.
            with suppress(RuntimeError):
                self._ended.emit()

    def _show(self, done: int, total: int | None) -> None:
        if not self._stop.is_set():
            # Bytes of some files don't fit into a C int.
            self.setRange(0, (total or 0) // 1000)
            self.setValue(done // 1000)
