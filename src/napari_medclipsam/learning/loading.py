"""From a version to models that answer."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.clip_home import find_home, require_register
from napari_medclipsam.learning.learners import find_learner
from napari_medclipsam.learning.versions import MODEL, Version, active_version
from napari_medclipsam.learning.wordless import grounder_of
from napari_medclipsam.models.contracts import PromptableSegmenter, TextGrounder
from napari_medclipsam.models.registry import load
from napari_medclipsam.saliency.grounder import ClipGrounder
from napari_medclipsam.saliency.pair import load_pair

Pair = tuple[TextGrounder, PromptableSegmenter]


def load_active(project: Path, base: Any, device: str = "cpu") -> Any:
    """Return the model that a project has in use: its version, or `base` where there is none.

    Parameters
    ----------
    project : pathlib.Path
        Its folder.
    base : object
        What versions build on, as `models.registry.load` gives it.
    device : str
        "cpu", "cuda" or "mps".

    Raises
    ------
    LearningError
        If the version is gone, damaged, or was learnt on another model.
    """
    version = active_version(project)
    return base if version is None else load_version(version, base, device)


def load_version(version: Version, base: Any, device: str = "cpu", part: str = MODEL) -> Any:
    """Return the model of a version, after its files were checked.

    Parameters
    ----------
    version : Version
        Which.
    base, device
        As for `load_active`.
    part : str
        Of the version, see `Version.unseen_by`.

    Raises
    ------
    LearningError
        If it is damaged, or was learnt on another model.
    """
    version.check()
    expected, found = version.lineage["base"], identity_of(base)
    if expected != found:
        raise LearningError(
            f"The version {version.name} was learnt on {_named(expected)}, and this is {_named(found)}. Use that "
            "model, or learn again."
        )
    model = find_learner(version.learner).load(version.folder / part, base, device)
    with suppress(AttributeError):
        # Of CT, who was never shown one can only guess, whatever else was learnt.
        model.knows_ct = bool(version.lineage.get("data", {}).get("ct"))
        # Records of what was proposed say which version did.
        model.version = "+".join(part for part in (found["version"], version.name) if part)
    return model


def identity_of(base: Any) -> dict[str, str]:
    """Return name and version of a model as a lineage keeps them."""
    return {"name": str(getattr(base, "name", "")), "version": str(getattr(base, "version", ""))}


def as_pair(model: Any, base: Any) -> Pair:
    """Return who answers texts and who answers clicks; `base` does what the model does not."""
    return (
        model if isinstance(model, TextGrounder) else grounder_of(base),
        model if isinstance(model, PromptableSegmenter) else base,
    )


def project_pair(
    project: Path, name: str, device: str | None = None, saliency_method: str | None = None, *, required: bool = False
) -> tuple[Pair, Version | None]:
    """Load a model by name, in the version that a project has in use where that was learnt on this model.

    A CLIP model is taken as the project has fine-tuned it. With `required` a version that was learnt on another model
    is refused.

    Parameters
    ----------
    project : pathlib.Path
        Its folder, or the home of a fine-tuned encoder (see `clip_home.home_for`).

    Returns
    -------
    Pair
        Who answers texts and who answers clicks.
    Version or None
        Which version that is; None for the model as it is.

    Raises
    ------
    ModelError
        As `saliency.pair.load_pair`.
    ProjectError
        If there is no project.
    LearningError
        If the version is gone or damaged.
    """
    require_register(project)
    version = active_version(project)
    if version is not None and saliency_method is None and version.lineage.get("base", {}).get("name") == name:
        # Learnt on a segmenter, it is what takes texts.
        base = load(name, device)
        return as_pair(load_version(version, base, device_of(device)), base), version
    pair = load_pair(name, device, saliency_method)
    base = pair[0]
    if isinstance(base, ClipGrounder) and (tuning := _fine_tuning(base, project, required)) is not None:
        encoder = load_version(tuning, base.encoder, device_of(device))
        return (base.with_encoder(encoder), pair[1]), tuning
    is_other = pair[0] is not pair[1] or (version is not None and not _is_on(version, base))
    if version is None or (is_other and not required):
        return pair, None
    return as_pair(load_version(version, base, device_of(device)), base), version


def _fine_tuning(grounder: ClipGrounder, project: Path, required: bool) -> Version | None:
    """Return the version that a project has in use of a CLIP model's encoder; None where it has none of it."""
    home = find_home(project)
    version = None if home is None else active_version(home)
    if version is None or (not required and not _is_on(version, grounder.encoder)):
        return None
    return version


def _is_on(version: Version, base: Any) -> bool:
    return version.lineage.get("base", {}).get("name") in (None, identity_of(base)["name"])


def device_of(requested: str | None) -> str:
    """Return the device that learners are told; raises as `models.device.choose_device`."""
    from napari_medclipsam.models.device import choose_device

    device = choose_device(requested)
    return str(device) if device.index else device.type


def _named(identity: dict[str, str]) -> str:
    return " ".join(part for part in (identity["name"], identity["version"][:12]) if part) or "an unnamed model"
