"""One run of learning, from accepted slices to a version with a verdict; runs in the worker's process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from napari_medclipsam.errors import LearningError, MedclipsamError
from napari_medclipsam.learning.contracts import Budget, Example, Learner, Settings
from napari_medclipsam.learning.examples import project_examples
from napari_medclipsam.learning.fits import Fits
from napari_medclipsam.learning.gate import ENOUGH_PATIENTS, ENOUGH_SLICES, Method, Pair, Verdict, judge
from napari_medclipsam.learning.learners import find_learner
from napari_medclipsam.learning.lineage import environment, journal_ranges
from napari_medclipsam.learning.loading import Pair as Models
from napari_medclipsam.learning.loading import as_pair, identity_of, load_version
from napari_medclipsam.learning.measuring import is_accepted, measure_unseen, measured_examples
from napari_medclipsam.learning.split import Split, split_of
from napari_medclipsam.learning.teller import Teller
from napari_medclipsam.learning.trigger import LearningSettings
from napari_medclipsam.learning.versions import MODEL, Version, active_version, promote, register
from napari_medclipsam.models.registry import load
from napari_medclipsam.projects.documents import Document, read_document
from napari_medclipsam.wording import counted

#: Shares of a run that reading and measuring are taken to be, for the bar.
_READING, _MEASURING = 0.02, 0.2


@dataclass(frozen=True)
class Request:
    """What to learn.

    Parameters
    ----------
    learner : str
        Its name.
    settings : Settings
        Device, seed, budget of all fits together, base model.
    trigger : str
        What asked for it, in words.
    """

    learner: str
    settings: Settings = field(default_factory=Settings)
    trigger: str = "asked for"

    def to_json(self) -> Document:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Document) -> Request:
        """Undo `to_json`."""
        settings = dict(value["settings"])
        return cls(**{**value, "settings": Settings(**{**settings, "budget": Budget(**settings["budget"])})})


class Run:
    """A run, new or gone on with: whatever an earlier process of it has finished is not done again.

    Parameters
    ----------
    project : pathlib.Path
        Its folder.
    request : Request
        What to learn.
    teller : Teller
        Is told.
    """

    def __init__(self, project: Path, request: Request, teller: Teller) -> None:
        self._project, self._request, self._teller = project, request, teller
        self._learner: Learner = find_learner(request.learner)
        wanted = {**asdict(request.settings), "budget": None, "phrases": None}
        self._fits = Fits(project, request.learner, wanted, teller)

    def work(self) -> tuple[Version, Verdict]:
        """Learn, measure, register, and promote what is better.

        Raises
        ------
        LearningCancelled
            If it shall end.
        MedclipsamError
            If it can't be done.
        """
        self._settings = self._request.settings
        self._teller.begins("reading", "reading the accepted slices", 0.0, _READING)
        document = read_document(self._project / "project.json", "medclipsam-project")
        ranges = journal_ranges(self._project)
        left_out: dict[str, MedclipsamError] = {}
        unaccepted = bool(getattr(self._learner, "unaccepted", False))
        examples = project_examples(
            self._project, automatic=unaccepted, unlabelled=unaccepted, left_out=left_out.__setitem__
        )
        _require_something(examples, left_out)
        phrases = {c["name"]: list(c["prompts"]) for c in document["classes"]}
        self._settings = replace(self._request.settings, phrases=phrases)
        self._teller.changes(n_slices=n_accepted(examples))
        decided = {e.patient for e in examples if any(one.provenance != "automatic" for one in e.labels.values())}
        split = split_of(self._project, document["id"], decided)
        # Of whom a reader has decided nothing yet may be held out one day.
        examples = [e for e in examples if e.patient in split.held_out]
        in_use = active_version(self._project)
        learnt = [e for e in examples if not split.held_out[e.patient]]
        judged = measured_examples(examples)
        held_out = [e for e in judged if split.held_out[e.patient]]
        enough = len({e.patient for e in held_out}) >= ENOUGH_PATIENTS and len(held_out) >= ENOUGH_SLICES
        method: Method = "held-out patients" if enough else "leave-one-patient-out"
        folds = [] if enough else sorted({split.fold(e.patient) for e in learnt})
        fits = self._fit_all(learnt, split, folds if len(folds) > 1 else [], in_use)
        base = load(self._request.settings.base, self._request.settings.device)
        pairs = self._measured(held_out if enough else judged, split, fits, in_use, base)
        verdict = judge(pairs, method, LearningSettings.of(document).margin)
        self._teller.begins("saving", "registering the version", 1.0, 1.0)
        data = {
            "journals": ranges,
            "cases": sorted({e.case for e in learnt}),
            "left_out": sorted(left_out),
            "n_examples": len(learnt),
            "n_slices": n_accepted(examples),
            "n_judged": len(judged),
            "patients": sorted({e.patient for e in learnt}),
            "held_out": sorted(p for p, out in split.held_out.items() if out),
            "classes": sorted({name for e in learnt for name in e.labels}),
            "ct": any(e.is_ct for e in learnt),
        }
        version = self._registered(verdict, fits, in_use, base, data)
        if verdict.better and _name(active_version(self._project)) == _name(in_use):
            version = promote(self._project, version.name, "gate")
        self._fits.drop()
        return version, verdict

    def drop(self) -> None:
        """Throw away what was done."""
        self._fits.drop()

    # The parts of `work`.

    def _fit_all(
        self, learnt: Sequence[Example], split: Split, folds: Sequence[int], in_use: Version | None
    ) -> dict[str, Document]:
        """Fit the candidate, and for each fold the same without its patients; returns what the learner said of each."""
        parent = in_use if in_use is not None and self._is_parent(in_use) else None
        fits = {MODEL: (list(learnt), None if parent is None else parent.model)}
        for fold in folds:
            others = [e for e in learnt if split.fold(e.patient) != fold]
            fits[f"folds/{fold}"] = (others, None if parent is None else parent.fold(fold))
        each = (1 - _READING - _MEASURING) / len(fits)
        for number, (name, (examples, start)) in enumerate(fits.items()):
            begin = _READING + number * each
            doing = "learning" if name == MODEL else f"learning without some patients, {number} of {len(folds)}"
            self._teller.begins("fitting", doing, begin, begin + each)
            self._fits.fit(name, self._settings, len(fits), partial(self._learn, examples, start))
        return {name: fit for name, fit in self._fits.done.items() if name in fits}

    def _learn(
        self, examples: Sequence[Example], parent: Path | None, folder: Path, settings: Settings
    ) -> Mapping[str, Any]:
        return self._learner.fit(examples, parent, folder, settings, self._teller)

    def _is_parent(self, version: Version) -> bool:
        same_base = version.lineage.get("base", {}).get("name") == self._request.settings.base
        return version.learner == self._learner.name and same_base and not version.trouble

    def _measured(
        self, judged: Sequence[Example], split: Split, fits: dict[str, Document], in_use: Version | None, base: Any
    ) -> list[Pair]:
        """Return the pairs of all slices that can be measured, each with models that have not seen its patient."""
        device = self._request.settings.device

        def parts(e: Example) -> tuple[str, str] | None:
            fold = split.fold(e.patient)
            candidate = MODEL if split.held_out[e.patient] else f"folds/{fold}"
            if fits.get(candidate, {}).get("said") is None:
                return None
            # Where all of the version in use has seen the patient, it has the advantage: the gain is told too small.
            return MODEL if in_use is None else in_use.unseen_by(e.patient, fold) or MODEL, candidate

        def before(part: str) -> Models:
            return as_pair(base if in_use is None else load_version(in_use, base, device, part), base)

        def after(part: str) -> Models:
            return as_pair(self._learner.load(self._fits.folder / part, base, device), base)

        self._teller.begins("measuring", "comparing with the model in use", 1 - _MEASURING, 1.0)
        return measure_unseen(judged, parts, before, after, self._teller.step)

    def _registered(
        self, verdict: Verdict, fits: dict[str, Document], in_use: Version | None, base: Any, data: Document
    ) -> Version:
        lineage = {
            "run": self._fits.run,
            "learner": self._learner.name,
            "parent": _name(in_use) if in_use is not None and self._is_parent(in_use) else "",
            "compared_with": _name(in_use),
            "base": identity_of(base),
            "trigger": self._request.trigger,
            "settings": asdict(self._settings),
            "data": data,
            "fit": fits,
            "gate": verdict.to_json(),
            "environment": environment(self._settings.device),
        }
        parts = {name: self._fits.folder / name for name, fit in fits.items() if fit["said"] is not None}
        return register(self._project, parts, lineage)


def n_accepted(examples: Sequence[Example]) -> int:
    """Return how many of them a reader has accepted."""
    return sum(is_accepted(e) for e in examples)


def _require_something(examples: Sequence[Example], left_out: Mapping[str, MedclipsamError]) -> None:
    if not n_accepted(examples) and left_out:
        case, error = next(iter(left_out.items()))
        raise LearningError(
            f"There is nothing to learn from: {counted(len(left_out), 'case')} can't be used, the first of them "
            f"{case}. {error}"
        )
    if not n_accepted(examples):
        raise LearningError(
            "There is nothing to learn from: no slice of this project is accepted yet. Accept some first, in the "
            "window (key G) or with: medclipsam project import PROJECT CASE MASK --accept"
        )
    if not any(label.mask_yx.any() for e in examples for label in e.labels.values()):
        raise LearningError(
            "There is nothing to learn from: every accepted slice is empty. Accept some in which a structure is drawn."
        )


def _name(version: Version | None) -> str:
    return "" if version is None else version.name
