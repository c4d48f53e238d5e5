"""When records go to the disk: at once, and synced soon after, without a window waiting for a slow or full disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from napari_medclipsam.errors import OutputError
from napari_medclipsam.projects.journal import Journal

# A window that stands still for longer than 60 ms is felt.
_PATIENCE_S = 0.04
_RETRY_S = 1.0

_KEPT = "What you did is kept in memory and is written as soon as that works; leave the program open until then."
_SLOW = "The disk is slow: this is not yet on it."


class Scribe:
    """Writes the records of one journal in their order, and never loses one while the program runs.

    Each record is written at once, which a crash of the program survives, and synced by a thread, which a power cut
    survives. What can't be written waits in memory and is tried again.

    Parameters
    ----------
    journal : Journal
        Is closed with the scribe.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._changed = threading.Condition()
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._chores: deque[Callable[[], None]] = deque()
        self._given = self._written = self._synced = 0
        self._trouble = ""
        self._must_rewrite = False
        self._retry_now = False
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="medclipsam journal", daemon=True)
        self._thread.start()

    @property
    def unsaved(self) -> int:
        """How many records a power cut would lose now."""
        with self._changed:
            return self._given - self._synced

    @property
    def trouble(self) -> str:
        """What is wrong with the disk, in words; "" while nothing is."""
        with self._changed:
            return f"{self._trouble} {_KEPT}" if self._trouble else ""

    def write(self, fields: Mapping[str, Any], *, durable: bool, chore: Callable[[], None] | None = None) -> str:
        """Take a record.

        Parameters
        ----------
        fields : dict
            See `Journal.append`.
        durable : bool
            Wait until it is synced, for as long as nobody feels.
        chore : callable, optional
            Writes something that belongs to the record; called in the thread before the record counts as synced, and
            again while it raises `OutputError`.

        Returns
        -------
        str
            What the reader must be told: that the disk fails, or for a durable record that it is not yet synced; "" if
            all is well.
        """
        with self._changed:
            self._waiting.append(fields)
            if chore is not None:
                self._chores.append(chore)
            self._given += 1
            ticket = self._given
            self._write_waiting()
            self._changed.notify_all()
            if durable and not self._trouble:
                self._changed.wait_for(lambda: self._synced >= ticket or bool(self._trouble), _PATIENCE_S)
            if self._trouble:
                return f"{self._trouble} {_KEPT}"
            return _SLOW if durable and self._synced < ticket else ""

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until everything is synced.

        Raises
        ------
        OutputError
            If the disk fails, or it takes longer.
        """
        with self._changed:
            # Whatever was wrong may be over.
            self._trouble, self._retry_now = "", True
            self._write_waiting()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._synced == self._given or bool(self._trouble), timeout_s)
            if self._synced < self._given:
                raise OutputError(f"{self._trouble or _SLOW} {_KEPT}")

    def close(self) -> None:
        """Write what waits, sync, and let go of the journal.

        Raises
        ------
        OutputError
            If that can't be done; the scribe is then open as before.
        """
        self.flush()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._journal.close()

    def _write_waiting(self) -> None:
        """Write what waits, in order, until the disk refuses; the caller has the lock."""
        try:
            while self._waiting:
                self._journal.append(self._waiting[0])
                self._waiting.popleft()
                self._written += 1
            if not self._must_rewrite:
                self._trouble = ""
        except OutputError as error:
            self._trouble = str(error)

    def _work(self) -> None:
        """Sync what was written until `close`; the thread's body."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._synced < self._given)
                if self._closing:
                    return
                if self._waiting:
                    self._pause()
                    self._write_waiting()
                target = self._written
            if target > self._synced:
                self._sync(target)

    def _sync(self, target: int) -> None:
        """Sync all records up to the `target`-th, or say why not and wait a little."""
        try:
            while self._chores:
                self._chores[0]()
                self._chores.popleft()
            if self._must_rewrite:
                with self._changed:
                    self._journal.rewrite()
            # Without the lock: records may be written meanwhile.
            self._journal.sync()
        except OutputError as error:
            with self._changed:
                self._must_rewrite, self._trouble = True, str(error)
                self._changed.notify_all()
                self._pause()
            return
        with self._changed:
            self._must_rewrite, self._synced = False, max(self._synced, target)
            if not self._waiting:
                self._trouble = ""
            self._changed.notify_all()

    def _pause(self) -> None:
        """Give the disk a little time before it is tried again; the caller has the lock."""
        self._retry_now = False
        self._changed.wait_for(lambda: self._closing or self._retry_now, _RETRY_S)
