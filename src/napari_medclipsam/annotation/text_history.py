"""The texts that the user has looked for, kept from one session to the next."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from napari_medclipsam.errors import OutputError
from napari_medclipsam.files import atomic_path

FOLDER_VARIABLE = "MEDCLIPSAM_SETTINGS"
MOST_TEXTS = 30
_FILE = "text-history.json"


def settings_folder() -> Path:
    """Return the folder of the user's settings: MEDCLIPSAM_SETTINGS, or the one of the system."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_config_dir("medclipsam", appauthor=False))


class TextHistory:
    """The last texts, the newest last, each once.

    What can't be read is taken for empty, and where nothing can be written the texts last as long as this object: a
    history is not worth an error.

    Parameters
    ----------
    folder : path, optional
        Default: `settings_folder`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = (folder or settings_folder()) / _FILE
        self._texts = self._read() or []

    @property
    def texts(self) -> Sequence[str]:
        """The texts, the newest last."""
        return tuple(self._texts)

    def add(self, text: str) -> None:
        """Put a text last, and write the history."""
        # Read again: another viewer may have added to it, or cleared it.
        known = self._read()
        known = self._texts if known is None else known
        self._texts = [*(other for other in known if other != text), text][-MOST_TEXTS:]
        self._write()

    def clear(self) -> None:
        """Forget all texts, in the file too."""
        self._texts = []
        self._write()

    def _read(self) -> list[str] | None:
        """Return the texts of the file; None if there is none that can be used."""
        with suppress(OSError, ValueError, RecursionError):
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if isinstance(content, list):
                return [text for text in content if isinstance(text, str)][-MOST_TEXTS:]
        return None

    def _write(self) -> None:
        with suppress(OSError, OutputError):
            # For the user alone: nobody knows what is typed into a text field.
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with atomic_path(self._path) as temporary:
                temporary.write_text(json.dumps(self._texts, indent=1), encoding="utf-8")
