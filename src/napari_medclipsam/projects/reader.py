"""Who works here: the name that goes into every record, asked once and kept with the user's settings."""

from __future__ import annotations

from contextlib import suppress

from napari_medclipsam.annotation.text_history import settings_folder
from napari_medclipsam.errors import OutputError
from napari_medclipsam.files import atomic_path

_FILE = "reader.txt"


def remembered_reader() -> str:
    """Return the name that was given last; "" where there is none."""
    with suppress(OSError, ValueError):
        return " ".join((settings_folder() / _FILE).read_text(encoding="utf-8").split())
    return ""


def remember_reader(name: str) -> None:
    """Keep a name; where nothing can be written it is asked for again next time."""
    with suppress(OSError, OutputError):
        settings_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_path(settings_folder() / _FILE) as temporary:
            temporary.write_text(name + "\n", encoding="utf-8")
