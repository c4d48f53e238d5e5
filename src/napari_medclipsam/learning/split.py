"""Which patients a project learns from and which are held out: decided when one is first seen, and never again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from napari_medclipsam.learning.folders import models_folder, register_lock
from napari_medclipsam.projects.documents import read_document, write_document

SPLIT_FORMAT = "medclipsam-split"

#: The first patients of a project always teach: held out, they would leave nothing to learn from.
ALWAYS_LEARNT = 4
#: Leave-one-patient-out refits for every patient up to so many; beyond, patients share a fold.
MOST_FOLDS = 5
_HELD_OUT_SHARE = 1 / 3


@dataclass(frozen=True)
class Split:
    """The patients of a project, in the order in which they were seen.

    Parameters
    ----------
    held_out : dict of str to bool
        Patient → whether no version ever learns from it.
    """

    held_out: dict[str, bool]

    def fold(self, patient: str) -> int:
        """Return which refit leaves a patient out."""
        return list(self.held_out).index(patient) % MOST_FOLDS


def read_split(project: Path) -> Split:
    """Return the split of a project as it is; raises `ProjectError` where it is damaged."""
    path = models_folder(project) / "split.json"
    return Split(read_document(path, SPLIT_FORMAT)["held_out"] if path.exists() else {})


def split_of(project: Path, project_id: str, patients: Iterable[str]) -> Split:
    """Return the split of a project, after patients that were not seen before were added to it.

    The first `ALWAYS_LEARNT` patients teach. Of the others a hash decides, at even odds while fewer than a third are
    held out, and at one to three from then on.

    Parameters
    ----------
    project : pathlib.Path
        Its folder.
    project_id : str
        Makes the hash that of this project.
    patients : iterable of str
        All with accepted slices, as `Example.patient` names them.

    Raises
    ------
    ProjectError
        If the split is damaged: made anew, it would hold out patients that were learnt from.
    OutputError
        If it can't be written.
    """
    path = models_folder(project) / "split.json"
    with register_lock(project):
        known = read_split(project).held_out
        held_out = dict(known)
        draws = {patient: hash_share(f"{project_id}\0{patient}") for patient in set(patients) - set(known)}
        for patient in sorted(draws, key=lambda p: draws[p]):
            odds = 0.5 if sum(held_out.values()) < _HELD_OUT_SHARE * (len(held_out) + 1) else 0.25
            # Another digit of the hash than that which made the order.
            held_out[patient] = len(held_out) >= ALWAYS_LEARNT and draws[patient] * 1000 % 1 < odds
        if held_out != known:
            write_document(path, SPLIT_FORMAT, {"held_out": held_out})
    return Split(held_out)


def hash_share(words: str) -> float:
    """Return a number in [0, 1) that is always the same for the same words, and as good as drawn by chance."""
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:6], "big") / 2**48
