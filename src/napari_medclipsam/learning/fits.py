"""The fits of a run, each done once: whatever an earlier process of the run has finished is not done again."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from napari_medclipsam.errors import LearningError, MedclipsamError
from napari_medclipsam.learning.contracts import Settings
from napari_medclipsam.learning.folders import work_folder
from napari_medclipsam.learning.teller import Teller
from napari_medclipsam.learning.versions import MODEL
from napari_medclipsam.projects.documents import Document, read_document, write_document

RUN_FORMAT = "medclipsam-run"


class Fits:
    """What was fitted so far, in a folder of its own; taken up again where the settings are the same.

    Parameters
    ----------
    project : pathlib.Path
        Its folder.
    learner : str
        Whose fits they are.
    wanted : dict
        All settings that change the result, as JSON values.
    teller : Teller
        Is told of the time that earlier processes have spent.
    """

    def __init__(self, project: Path, learner: str, wanted: Document, teller: Teller) -> None:
        self._project, self._teller = project, teller
        self.folder = work_folder(project) / learner
        self._state = self._taken_up(wanted)
        teller.went_before(sum(fit["seconds"] for fit in self.done.values()))

    @property
    def run(self) -> str:
        """Names the run."""
        return str(self._state["run"])

    @property
    def done(self) -> dict[str, Document]:
        """Part of the version → seconds, what the learner said, and why it could not."""
        fits: dict[str, Document] = self._state["fits"]
        return fits

    def drop(self) -> None:
        """Throw away what was done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def fit(
        self, name: str, settings: Settings, n_fits: int, learn: Callable[[Path, Settings], Mapping[str, Any]]
    ) -> None:
        """Do one of `n_fits`, which share the budget, unless it is done.

        Parameters
        ----------
        name : str
            The part of the version that it becomes.
        settings : Settings
            Of the run.
        n_fits : int
            All there are.
        learn : callable
            Takes the folder and the settings, with what is left of the budget; returns what the learner says.

        Raises
        ------
        LearningError
            If the model itself can't be learnt; of a fold it is noted.
        """
        done = self.done.setdefault(name, {"seconds": 0.0, "said": None, "trouble": ""})
        if done["said"] is not None or done["trouble"]:
            return
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        was_begun = any(folder.iterdir())
        budget = replace(settings.budget, seconds=max(1.0, settings.budget.seconds / n_fits - done["seconds"]))
        began = self._teller.seconds
        settings = replace(settings, budget=budget)
        try:
            try:
                said = learn(folder, settings)
            except (LearningError, SafetensorError, ValueError):
                if not was_begun:
                    raise
                # What is in the way may be a checkpoint that a power cut has damaged: from the beginning, once.
                shutil.rmtree(folder)
                folder.mkdir()
                said = learn(folder, settings)
            done["said"] = dict(said)
        except LearningError as error:
            if name == MODEL:
                raise
            # Without these patients there may be too little: then they tell nothing of the candidate.
            done["trouble"] = str(error)
        finally:
            done["seconds"] += self._teller.seconds - began
            write_document(self.folder / "run.json", RUN_FORMAT, self._state)

    def _taken_up(self, wanted: Document) -> Document:
        """Return the state of the run that was left, if it is of the same settings; else that of a new one."""
        try:
            state = read_document(self.folder / "run.json", RUN_FORMAT)
            if state["settings"] == wanted:
                return state
        except (MedclipsamError, KeyError):
            pass
        shutil.rmtree(self.folder, ignore_errors=True)
        (work_folder(self._project) / "progress.jsonl").unlink(missing_ok=True)
        state = {"run": uuid.uuid4().hex, "settings": wanted, "fits": {}}
        write_document(self.folder / "run.json", RUN_FORMAT, state)
        return state
