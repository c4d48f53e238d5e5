"""Which version of the model answers in a window: the one that the project has in use, where it fits the model.

A text-image encoder that was fine-tuned on captions answers where its model is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medclipsam.annotation.worker_events import Event, Loading, ModelChoice, NotReady, Ready
from napari_medclipsam.learning.clip_home import CLIP
from napari_medclipsam.learning.overview import Overview
from napari_medclipsam.learning.versions import Version

if TYPE_CHECKING:
    from napari_medclipsam.widgets._workspace import Workspace


class VersionInUse:
    """Has a workspace load its models in the version in use.

    Parameters
    ----------
    workspace : Workspace
        Loads the models.
    known : callable
        Returns the folder of the project, None without one, and what was read of its learning last.
    """

    def __init__(self, workspace: Workspace, known: Callable[[], tuple[Path | None, Overview]]) -> None:
        self._workspace, self._known = workspace, known
        self._loaded: ModelChoice | None = None
        self._used: ModelChoice | None = None
        self._refused = ""
        workspace.dressed = self._dressed

    @property
    def version(self) -> Version | None:
        """The version that answers; None where it is the model itself."""
        choice, (folder, overview) = self._loaded, self._known()
        if choice is None or not choice.version or choice.project != folder:
            return None
        return overview.version(choice.version)

    def adopt(self) -> None:
        """Have the version in use loaded, where another one is."""
        choice, before = self._workspace.model, self._used
        if choice is not None and self._dressed(choice) != before:
            self._workspace.use_model(choice)

    def forget(self) -> None:
        """Try again what could not be loaded."""
        self._refused = ""

    def take(self, event: Event) -> bool:
        """Take in what the models report; True where it may be another version that answers."""
        if isinstance(event, NotReady) and event.choice.project is not None:
            # Labelling goes on with the model itself.
            self._refused = event.choice.version
            self.adopt()
        elif isinstance(event, (Loading, Ready)):
            self._loaded = event.choice if isinstance(event, Ready) else None
            return True
        return False

    def _dressed(self, choice: ModelChoice) -> ModelChoice:
        folder, overview = self._known()
        encoder = choice.name.partition("+")[0]
        # A register of its own, whose names are the same.
        for version, prefix, name in ((overview.active, "", choice.name), (overview.encoder, f"{CLIP} ", encoder)):
            if version is None or version.trouble or version.lineage["base"]["name"] != name:
                continue
            if (title := prefix + version.name) != self._refused:
                self._used = replace(choice, project=folder, version=title)
                return self._used
        self._used = choice
        return choice
