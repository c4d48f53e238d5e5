"""Models by name: the catalogue of this package, those of plug-ins, and open_clip models by their own spec."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module, metadata, resources
from typing import Any

from napari_medclipsam.errors import MedclipsamError, ModelError
from napari_medclipsam.models.entry import ModelEntry, entry_from_json

ENTRY_POINT_GROUP = "napari_medclipsam.models"
LOCAL_DIR = "local-dir:"
OPEN_CLIP_PREFIXES = ("hf-hub:", LOCAL_DIR)


@cache
def _packaged_entries() -> tuple[ModelEntry, ...]:
    folder = resources.files("napari_medclipsam.models") / "catalogue"
    texts = sorted((item.name, item.read_text("utf-8")) for item in folder.iterdir() if item.name.endswith(".json"))
    return tuple(entry_from_json(text, name) for name, text in texts)


def _plugin_entries() -> list[ModelEntry]:
    """Entries of other packages; one that fails is named in a warning and left out."""
    entries: list[ModelEntry] = []
    for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            offered = point.load()
            if not isinstance(offered, ModelEntry) and callable(offered):
                offered = offered()
            offered = [offered] if isinstance(offered, ModelEntry) else list(offered)
            if not all(isinstance(entry, ModelEntry) for entry in offered):
                raise TypeError("it must be a ModelEntry, an iterable of them, or a function that returns either")
            entries += offered
        except Exception as error:
            warnings.warn(f"The model plug-in {point.name!r} ({point.value}) is left out: {error}", stacklevel=3)
    return entries


def list_models() -> tuple[ModelEntry, ...]:
    """Return every known model: the embedded default first, then by name.

    Other packages add models through the entry-point group ``napari_medclipsam.models``: each entry point is a
    `ModelEntry`, an iterable of them, or a function that returns either. A name of this package is not overridden.
    """
    found = {entry.name: entry for entry in _packaged_entries()}
    for entry in _plugin_entries():
        if entry.name in found:
            warnings.warn(f"A plug-in offers a second model {entry.name!r}; the first one is used.", stacklevel=2)
        else:
            found[entry.name] = entry
    return tuple(sorted(found.values(), key=lambda entry: (not entry.bundled, entry.name)))


def find_entry(name: str) -> ModelEntry:
    """Return the catalogue entry of a model.

    Raises
    ------
    ModelError
        If there is none; the message lists those known.
    """
    entries = {entry.name: entry for entry in list_models()}
    if name not in entries:
        raise ModelError(
            f"There is no model {name!r}. Known models: {', '.join(entries)}; "
            "and any open_clip model as hf-hub:organisation/name or local-dir:/folder."
        )
    return entries[name]


def load(name: str, device: str | None = None) -> Any:
    """Load a model that is on this machine; nothing is downloaded.

    Parameters
    ----------
    name : str
        A catalogue name, ``hf-hub:organisation/name`` (from the local Hugging Face cache) or ``local-dir:/folder``.
    device : str, optional
        As for `models.device.choose_device`.

    Returns
    -------
    object
        Implements one or more of the contracts in `models.contracts`; the entry's `roles` say which. Its ``version`` is
        that of the entry.

    Raises
    ------
    ModelNotInstalledError
        If its files are not here; the message says how to get them.
    ModelError
        If it is unknown, damaged, or does not fit this machine.
    """
    if name.startswith(OPEN_CLIP_PREFIXES):
        from napari_medclipsam.models.clip import load_spec

        return load_spec(name, device)
    entry = find_entry(name)
    model = _loader(entry)(entry, device)
    # Records say which weights answered, not only which name they had then.
    model.version = entry.version
    return model


def _loader(entry: ModelEntry) -> Any:
    module_name, _, function_name = entry.loader.partition(":")
    try:
        return getattr(import_module(module_name), function_name)
    except MedclipsamError:
        raise
    except (ImportError, AttributeError, OSError) as error:
        # OSError: a library of torch that the system can't load (Windows, broken drivers).
        raise ModelError(
            f"Model {entry.name!r} can't be started: {error}. Reinstall the package that provides {module_name}."
        ) from error
