"""What a window says of learning, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from napari_medclipsam.learning.clip_home import CLIP
from napari_medclipsam.learning.gate import DICE, ENOUGH_PATIENTS, FEWEST_PATIENTS
from napari_medclipsam.learning.split import MOST_FOLDS
from napari_medclipsam.learning.status import Status
from napari_medclipsam.learning.versions import Version
from napari_medclipsam.wording import counted

_POINTS = 100
_MIB = 1 << 20
_MINUTE_S = 60

#: What each learner does, in a line.
ABOUT = {
    "instant": "Learns each class from as little as one accepted slice, on any computer. Begin with this one.",
    "decoder": "Adapts how words and clicks become masks. Worth it from about 20 corrected slices.",
    "sam-mix": "Adapts the image encoder too, and learns from slices nobody has labelled. Wants a graphics card.",
    "unet": "Trains a network of its own that needs no words. Wants many slices and a graphics card.",
    CLIP: "Fine-tunes a text-image encoder, BiomedCLIP where no other is chosen, on a table of images and captions. "
    "Kept with the project; it reads texts here while its model is chosen under Options. Wants a graphics card.",
}
_USUAL = {"instant": "usually a minute or two"}
_HEADS = {
    "none": "Nothing was learnt in this project yet.",
    "starting": "Starting to learn",
    "reading": "Reading the accepted slices",
    "fitting": "Learning",
    "measuring": "Comparing with the model in use",
    "saving": "Saving the new version",
    "paused": "Paused",
    "done": "Finished",
    "failed": "It did not work",
    "stopped": "Stopped",
    "cancelled": "Cancelled",
}


def about(learner: str) -> str:
    """Return what a learner does."""
    return ABOUT.get(learner, "A learner of another package.")


def state_words(status: Status) -> str:
    """Return how the worker is, in a few words; how it ended is `Status.message`."""
    head = _HEADS[status.state]
    if status.state == "none":
        return head
    who = f" ({status.learner})" if status.learner else ""
    if status.has_ended:
        return f"{head}{who}."
    part = f": {status.doing}" if status.state in ("fitting", "paused") and status.doing != "learning" else ""
    return f"{head}{who}{part}, {status.fraction:.0%} done."


def time_words(status: Status) -> str:
    """Return how long it has worked and how long it still takes."""
    if status.state == "none":
        return "–"
    spent = f"{duration(status.seconds)} of work"
    if status.has_ended:
        return spent
    return f"{spent}, " + ("time left not known yet" if status.seconds_left is None else _left(status.seconds_left))


def _left(seconds: float) -> str:
    return f"about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Return a time as a person says it: "8 s", "3 min", "2 h 5 min"."""
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    minutes = round(seconds / _MINUTE_S)
    return f"{minutes} min" if minutes < _MINUTE_S else f"{minutes // _MINUTE_S} h {minutes % _MINUTE_S} min"


def memory_words(status: Status) -> str:
    """Return what memory the process uses, or used last."""
    if not status.memory_bytes:
        return "–"
    device = f", {status.device_bytes / _MIB:.0f} MB on the graphics card" if status.device_bytes else ""
    used = " at the end" if status.has_ended else ""
    return f"{status.memory_bytes / _MIB:.0f} MB{device}{used}"


def data_words(n_slices: int, n_patients: int, n_held_out: int) -> str:
    """Return what there is to learn from."""
    held = f", {n_held_out} of them held out to measure on" if n_held_out else ", none held out yet"
    return f"{counted(n_slices, 'accepted slice')} of {counted(n_patients, 'patient')}{held if n_slices else ''}"


def pair_words(status: Status) -> str:
    """Return what a fine-tuning learns from."""
    return f"{counted(status.n_slices, 'pair')} of image and caption" if status.n_slices else "–"


def outlook(n_slices: int, n_patients: int, n_held_out: int) -> str:
    """Return what is missing to learn, or to be sure that a version is better."""
    if not n_slices:
        return "There is nothing to learn from: accept at least one slice in which a structure is drawn."
    if n_patients < FEWEST_PATIENTS:
        return (
            f"With {counted(n_patients, 'patient')} the gate can't tell whether a version is better; it takes "
            f"{FEWEST_PATIENTS}. The version is then a candidate: look at what it draws, and promote it yourself."
        )
    if n_held_out < ENOUGH_PATIENTS:
        refits = min(n_patients - n_held_out, MOST_FOLDS)
        return f"To be judged fairly it is learnt up to {refits + 1} times, each patient left out by turns."
    return ""


def estimate(learner: str, n_slices: int, budget_s: float, versions: Sequence[Version]) -> str:
    """Return how long a run is likely to take, from the last one of this learner in the project."""
    for version in reversed(versions):
        lineage = version.lineage
        if version.learner == learner and lineage and lineage["data"]["n_slices"]:
            spent = sum(float(fit["seconds"]) for fit in lineage["fit"].values())
            seconds = spent * n_slices / int(lineage["data"]["n_slices"])
            return f"about {duration(min(budget_s, max(1.0, seconds)))}, and some to compare"
    return _USUAL.get(learner, f"up to {duration(budget_s)}, and some to compare")


def gain_words(version: Version) -> str:
    """Return what a version is better by: "+4.1 points of Dice"; "" where that was not measured."""
    gate = _gate(version)
    total = gate.get("total")
    return "" if not total else f"{total['gain'] * _POINTS:+.1f} points of {gate.get('figure', DICE.figure)}"


def interval_words(version: Version) -> str:
    """Return between what the gain lies, each bound at 95 %: "+1.2 to +7.0"; "" where that is not known."""
    gate = _gate(version)
    if gate.get("lower") is None or gate.get("upper") is None:
        return ""
    return f"{gate['lower'] * _POINTS:+.1f} to {gate['upper'] * _POINTS:+.1f}"


def verdict_words(version: Version) -> str:
    """Return what the gate said, in the fewest words."""
    if not version.lineage:
        return "damaged"
    return {True: "better", False: "not better", None: "can't tell yet"}[_gate(version).get("better")]


def doubt_words(version: Version) -> str:
    """Say with the figures that a version is not known to be better; "" where it is."""
    gate = _gate(version)
    if gate.get("better"):
        return ""
    than = version.lineage.get("compared_with") or "the model that all began with"
    total = gate.get("total")
    if not total:
        return f"Whether {version.name} is better than {than} was not measured: look at its answers."
    verb = "measured worse than" if total["gain"] < 0 else "is not shown to be better than"
    sure = "" if gate.get("lower") is None else f" (95 % sure of more than {gate['lower']:+.3f})"
    shares = {**(gate.get("structures") or {}), **(gate.get("ways") or {})}
    losers = "".join(f"; {name} loses {-s['gain']:.3f}" for name, s in shares.items() if s["gain"] < 0)
    seen = counted(total["n_slices"], "pair" if version.learner == CLIP else "slice")
    figures = f"{gate.get('figure', DICE.figure)} {total['before']:.3f} → {total['after']:.3f}"
    gain = f"gain {total['gain']:+.3f}{sure} on {seen} of {counted(total['n_patients'], 'patient')}"
    return f"{version.name} {verb} {than}: {figures}, {gain}{losers}."


def badge_words(version: Version) -> str:
    """Return what the main dock says of the version in use."""
    gain = gain_words(version)
    return f"Using version {version.name} ({version.learner})" + (f", {gain}" if gain else "")


def version_words(version: Version) -> str:
    """Return a paragraph on a version."""
    if version.trouble or not version.lineage:
        return version.trouble
    lineage = version.lineage
    data = lineage["data"]
    began = f" It began from {lineage['parent']}." if lineage["parent"] else ""
    made = lineage["created"][:16].replace("T", " ")
    compared = lineage["compared_with"] or "the model that all began with"
    return (
        f"{version.name} ({version.learner}), {version.state}, made {made} ({lineage['trigger']}). "
        f"Learnt {', '.join(data['classes'])} from {counted(data['n_examples'], 'slice')} of "
        f"{counted(len(data['patients']), 'patient')}.{began} Compared with {compared}: {_gate(version)['message']}"
    )


def _gate(version: Version) -> Mapping[str, Any]:
    gate: Mapping[str, Any] = version.lineage.get("gate", {})
    return gate
