"""Is a candidate better than what is in use? From paired Dice on slices that neither has learnt from, to a verdict.

Slices of one patient are alike, so patients are what is counted: the gain of a patient is the mean over its slices, and
the bound is that of a one-sided paired t-test over patients (the cluster-level analysis of Donner and Klar 2000). ADR 9
says why not a bootstrap, and `benchmarks/gate.py` measures what that promises.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import stdtrit

from napari_medclipsam.projects.documents import Document
from napari_medclipsam.wording import counted

CONFIDENCE = 0.95
#: Fewer patients than that say nothing.
FEWEST_PATIENTS = 3
#: From here on the patients that are held out decide alone; see benchmarks/gate.py.
ENOUGH_PATIENTS = 12
ENOUGH_SLICES = 120
MARGIN_DICE = 0.03

Method = Literal["held-out patients", "leave-one-patient-out"]


@dataclass(frozen=True)
class Measure:
    """What a figure is called in sentences.

    Parameters
    ----------
    figure : str
        Such as "Dice".
    things : str
        What it is measured on.
    """

    figure: str = "Dice"
    things: str = "accepted slices"


DICE = Measure()


@dataclass(frozen=True)
class Pair:
    """One class of one slice, drawn by both models.

    Parameters
    ----------
    patient : str
        As in `Example`.
    at : hashable
        Which slice.
    structure : str
        The class.
    way : {"text", "click"}
        What the models were given.
    before, after : float
        Dice (or another figure, see `Measure`) of the model in use and of the candidate with what was accepted.
    """

    patient: str
    at: Hashable
    structure: str
    way: str
    before: float
    after: float

    @property
    def gain(self) -> float:
        """What the candidate is better by."""
        return self.after - self.before


@dataclass(frozen=True)
class Share:
    """The figures of some pairs, each patient counting once.

    Parameters
    ----------
    before, after, gain : float
        Means of the figure.
    n_slices, n_patients : int
    """

    before: float
    after: float
    gain: float
    n_slices: int
    n_patients: int


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    Parameters
    ----------
    better : bool or None
        None where it can't tell.
    message : str
        In words.
    method : str
        How it was measured.
    lower, upper : float, optional
        One-sided bounds of the gain at `CONFIDENCE` each; None with fewer than two patients.
    total : Share, optional
        All pairs; None where there are none.
    structures, ways : dict of str to Share
        By class, and by what the models were given.
    figure : str
        What was measured.
    """

    better: bool | None
    message: str
    method: Method
    lower: float | None = None
    upper: float | None = None
    total: Share | None = None
    structures: dict[str, Share] | None = None
    ways: dict[str, Share] | None = None
    figure: str = DICE.figure

    def to_json(self) -> Document:
        """Return JSON values."""
        return asdict(self)


def judge(pairs: Sequence[Pair], method: Method, margin: float = MARGIN_DICE, measure: Measure = DICE) -> Verdict:
    """Decide on a candidate.

    Parameters
    ----------
    pairs : sequence of Pair
        Of slices that were accepted and that neither model has learnt from.
    method : str
        How they were chosen, see `Verdict`.
    margin : float
        That no class, and no way of asking, may lose of the figure.
    measure : Measure
        What the figures are.
    """
    figure = measure.figure
    # A way in which nothing has changed would only dilute the gain of the other.
    changed = {p.way for p in pairs if p.gain}
    pairs = [p for p in pairs if p.way in changed] or list(pairs)
    if not pairs:
        return Verdict(None, f"There are no {measure.things} of another patient to measure on.", method, figure=figure)
    by_structure = {name: share([p for p in pairs if p.structure == name]) for name in _names(pairs, "structure")}
    by_way = {name: share([p for p in pairs if p.way == name]) for name in _names(pairs, "way")}
    gains = np.array(list(_by_patient(pairs).values()))
    lower, upper = bounds(gains)
    total = share(pairs)
    losers = [f"{name} loses {-s.gain:.3f}" for name, s in (by_structure | by_way).items() if s.gain < -margin]
    better: bool | None = None
    if total.n_patients < FEWEST_PATIENTS or lower is None or upper is None:
        told = (
            f"Can't be judged yet: there are {measure.things} of {counted(total.n_patients, 'patient')} to measure on, "
            f"and {FEWEST_PATIENTS} are needed. Gain so far {total.gain:+.3f} {figure}."
        )
    else:
        better = lower > 0 and not losers
        told = _told(total, lower, upper, losers, margin, method, measure, better=better)
    return Verdict(better, told, method, lower, upper, total, by_structure, by_way, figure)


def bounds(gains: np.ndarray) -> tuple[float | None, float | None]:
    """Return the lower and the upper bound of the mean gain, each at `CONFIDENCE`.

    Parameters
    ----------
    gains : numpy.ndarray
        float (patients,).
    """
    n = len(gains)
    if n < 2:
        return None, None
    mean, half = float(gains.mean()), float(stdtrit(n - 1, CONFIDENCE) * gains.std(ddof=1) / np.sqrt(n))
    return mean - half, mean + half


def share(pairs: Sequence[Pair]) -> Share:
    """Return the figures of some pairs."""
    after = _by_patient(pairs, lambda p: p.after)
    gain = float(np.mean(list(_by_patient(pairs).values())))
    mean_after = float(np.mean(list(after.values())))
    return Share(mean_after - gain, mean_after, gain, len({p.at for p in pairs}), len(after))


def _by_patient(pairs: Sequence[Pair], value: Any = lambda p: p.gain) -> dict[str, float]:
    """Return the mean of each patient over its slices, in which classes and ways count alike."""
    slices: dict[tuple[str, Hashable], list[float]] = {}
    for p in pairs:
        slices.setdefault((p.patient, p.at), []).append(value(p))
    patients: dict[str, list[float]] = {}
    for (patient, _), values in slices.items():
        patients.setdefault(patient, []).append(float(np.mean(values)))
    return {patient: float(np.mean(values)) for patient, values in patients.items()}


def _names(pairs: Sequence[Pair], field: str) -> list[str]:
    return sorted({getattr(p, field) for p in pairs})


def _told(
    total: Share,
    lower: float,
    upper: float,
    losers: list[str],
    margin: float,
    method: Method,
    measure: Measure,
    *,
    better: bool,
) -> str:
    things, patients = measure.things.removesuffix("s"), counted(total.n_patients, "patient")
    figures = (
        f"{measure.figure} {total.before:.3f} → {total.after:.3f}, gain {total.gain:+.3f} (95 % sure of more than "
        f"{lower:+.3f}) on {counted(total.n_slices, things)} of {patients}"
    )
    how = "" if method == "held-out patients" else ", each measured by a model that has not seen the patient"
    if better:
        return f"Better: {figures}{how}."
    if losers:
        return f"Not better: {', '.join(losers)} {measure.figure}, more than {margin:.2f}. {figures}{how}."
    if upper < 0:
        return f"Not better but worse: {figures}{how}."
    return f"Not shown to be better: {figures}{how}."
