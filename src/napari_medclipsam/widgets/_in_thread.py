"""Work in a thread, whose end and whose errors come back to the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.qt.threading import create_worker

from napari_medclipsam.errors import MedclipsamError


def in_thread(work: Callable[[], Any], ended: Callable[[Any], None], say: Callable[[str], object]) -> None:
    """Do something in a thread.

    Parameters
    ----------
    work : callable
        Runs in the thread.
    ended : callable
        Gets on the GUI thread what `work` returns, or its exception.
    say : callable
        Is told of an exception before, in a sentence.
    """

    def failed(error: Exception) -> None:
        known = isinstance(error, MedclipsamError)
        say(str(error) if known else f"That did not work ({type(error).__name__}: {error}).")
        ended(error)

    # Said already: napari would show it once more, with a traceback.
    worker = create_worker(work, _ignore_errors=True)
    worker.returned.connect(ended)
    worker.errored.connect(failed)
    worker.start()
