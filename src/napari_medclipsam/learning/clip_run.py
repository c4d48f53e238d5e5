"""One run of fine-tuning, from pairs to a version with a verdict; runs in the worker's process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.errors import ModelError
from napari_medclipsam.learning.captions import CaptionedImage, Captions, named, read_captions
from napari_medclipsam.learning.clip_home import read_home
from napari_medclipsam.learning.clip_learner import ClipLearner
from napari_medclipsam.learning.clip_pairs import Prepared, prepared, vectors
from napari_medclipsam.learning.clip_request import ClipRequest, not_tunable
from napari_medclipsam.learning.contracts import Example, Settings
from napari_medclipsam.learning.examples import project_examples
from napari_medclipsam.learning.fits import Fits
from napari_medclipsam.learning.gate import MARGIN_DICE, Measure, Pair, Verdict, judge, share
from napari_medclipsam.learning.lineage import environment
from napari_medclipsam.learning.loading import identity_of, load_version
from napari_medclipsam.learning.measuring import measured_examples
from napari_medclipsam.learning.retrieval import hits
from napari_medclipsam.learning.split import split_of
from napari_medclipsam.learning.teller import Teller
from napari_medclipsam.learning.versions import MODEL, Version, active_version, promote, register
from napari_medclipsam.models.clip import OpenClipEncoder
from napari_medclipsam.models.registry import load
from napari_medclipsam.projects.documents import Document
from napari_medclipsam.wording import counted

RECALL = Measure("recall", "held-out image-caption pairs")
SALIENCY = "saliency IoU"
#: More say little, and an encoder on a CPU takes a tenth of a second for each.
_MOST_JUDGED = 1000
_MOST_MASKS = 40
_AT_ONCE = 16
_READING, _MEASURING = 0.02, 0.2


class ClipRun:
    """A run, new or gone on with; as `run.Run`, but for pairs.

    Parameters
    ----------
    home : pathlib.Path
        Where the versions are kept, see `clip_home.open_home`.
    request : ClipRequest
        What to learn.
    teller : Teller
        Is told.
    """

    def __init__(self, home: Path, request: ClipRequest, teller: Teller) -> None:
        self._home, self._request, self._teller = home, request, teller
        self._learner = ClipLearner()
        wanted = {**asdict(request.settings), "budget": None, "phrases": None, "training": asdict(request.training)}
        self._fits = Fits(home, request.learner, wanted, teller)

    def drop(self) -> None:
        """Throw away what was done."""
        self._fits.drop()

    def work(self) -> tuple[Version, Verdict]:
        """Learn, measure, register, and promote what is better.

        Raises
        ------
        LearningCancelled
            If it shall end.
        MedclipsamError
            If it can't be done.
        """
        settings, teller = self._request.settings, self._teller
        teller.begins("reading", "reading the captions", 0.0, _READING)
        document = read_home(self._home)
        source = Path(document["source"])
        captions = read_captions(source, document["id"])
        split = split_of(self._home, document["id"], {pair.patient for pair in captions.pairs})
        learnt = [pair for pair in captions.pairs if not split.held_out[pair.patient]]
        held_out = [pair for pair in captions.pairs if split.held_out[pair.patient]]
        teller.changes(n_slices=len(learnt))
        base = _encoder(settings)
        in_use = active_version(self._home)
        before = base if in_use is None else load_version(in_use, base, settings.device)

        def learn(folder: Path, settings: Settings) -> Mapping[str, Any]:
            return self._learner.fit(base, learnt, self._request.training, folder, settings, teller)

        teller.begins("fitting", "learning", _READING, 1 - _MEASURING)
        self._fits.fit(MODEL, settings, 1, learn)
        said = self._fits.done[MODEL]["said"]
        teller.begins("measuring", "comparing with the encoder in use", 1 - _MEASURING, 1.0)
        after = self._learner.load(self._fits.folder / MODEL, base, settings.device)
        verdict = judged(before, after, _drawn(held_out), self._masks(source, {p.patient for p in learnt}), teller.step)
        notes = [*captions.notes, *_notes(said, base)]
        verdict = replace(verdict, message=" ".join([verdict.message, *notes]))
        teller.begins("saving", "registering the version", 1.0, 1.0)
        data = _data(captions, learnt, held_out, said)
        version = self._registered(verdict, in_use, base, data)
        now = active_version(self._home)
        if verdict.better and (now and now.name) == (in_use and in_use.name):
            version = promote(self._home, version.name, "gate")
        self._fits.drop()
        return version, verdict

    def _masks(self, source: Path, learnt: set[str]) -> list[Example]:
        """Return accepted slices of patients of whom no caption was learnt, where the pairs are those of a project."""
        if not (source / "project.json").is_file():
            return []
        left_out: dict[str, Any] = {}
        found = project_examples(source, left_out=left_out.__setitem__)
        return measured_examples([e for e in found if e.patient not in learnt])[:_MOST_MASKS]

    def _registered(self, verdict: Verdict, in_use: Version | None, base: OpenClipEncoder, data: Document) -> Version:
        lineage = {
            "run": self._fits.run,
            "learner": self._learner.name,
            "parent": "",
            "compared_with": "" if in_use is None else in_use.name,
            "base": identity_of(base),
            "trigger": self._request.trigger,
            "settings": {**asdict(self._request.settings), "training": asdict(self._request.training)},
            "data": data,
            "fit": self._fits.done,
            "gate": verdict.to_json(),
            "environment": environment(self._request.settings.device),
        }
        return register(self._home, {MODEL: self._fits.folder / MODEL}, lineage)


def judged(
    before: OpenClipEncoder,
    after: OpenClipEncoder,
    pairs: Sequence[CaptionedImage],
    masks: Sequence[Example],
    step: Any,
) -> Verdict:
    """Return whether an encoder is better than another, by pairs and masks that neither has learnt from.

    The gain is that of the recall among the first 1, 5 and 10, both ways, together; none of them may lose more than the
    margin, and neither may the overlap of saliency with the masks, where there are any.

    Parameters
    ----------
    before, after : OpenClipEncoder
        In use, and the candidate.
    pairs : sequence of CaptionedImage
        Held out.
    masks : sequence of Example
        Accepted slices; none for none.
    step : callable
        Told the fraction that is done.
    """
    found: list[Pair] = []
    if len({pair.topic for pair in pairs}) > 1:
        ready = prepared(before, pairs, lambda part: step(0.1 * part))
        first = vectors(before, ready, _AT_ONCE, lambda part: step(0.1 + 0.3 * part))
        second = vectors(after, ready, _AT_ONCE, lambda part: step(0.4 + 0.3 * part))
        one, other = (hits(images, texts, ready.topics) for images, texts in (first, second))
        found = list(_pairs(ready, one, other))
    verdict = judge(found, "held-out patients", MARGIN_DICE, RECALL)
    overlaps = list(_overlaps(before, after, masks, lambda part: step(0.7 + 0.3 * part)))
    if not overlaps or verdict.ways is None:
        return verdict
    seen = share(overlaps)
    told = f"Saliency IoU {seen.before:.3f} → {seen.after:.3f} on {counted(seen.n_slices, 'accepted slice')}."
    verdict = replace(verdict, ways={**verdict.ways, SALIENCY: seen}, message=f"{verdict.message} {told}")
    if seen.gain < -MARGIN_DICE and verdict.better:
        worse = f"Not better: the saliency loses more than {MARGIN_DICE:.2f}."
        return replace(verdict, better=False, message=f"{worse} {verdict.message.removeprefix('Better: ')}")
    return verdict


def _pairs(
    ready: Prepared, before: Mapping[tuple[str, int], np.ndarray], after: Mapping[tuple[str, int], np.ndarray]
) -> Iterator[Pair]:
    for (way, k), found in before.items():
        for number, pair in enumerate(ready.pairs):
            at = (pair.key, pair.caption)
            figures = float(found[number]), float(after[way, k][number])
            yield Pair(pair.patient, at, f"recall@{k}", way, *figures)


def _overlaps(
    before: OpenClipEncoder, after: OpenClipEncoder, examples: Sequence[Example], step: Any
) -> Iterator[Pair]:
    """Yield intersection over union of the saliency of each class, cut by Otsu, with what was accepted."""
    from napari_medclipsam.saliency.coarse import coarse_threshold
    from napari_medclipsam.saliency.grounder import ClipGrounder

    try:
        grounders = ClipGrounder(before), ClipGrounder(after)
    except ModelError:
        # No vision transformer, so no saliency to lose.
        return
    for number, example in enumerate(examples):
        step(number / len(examples))
        image = example.read()
        for name, label in example.labels.items():
            if not label.mask_yx.any():
                continue
            figures = []
            for grounder in grounders:
                values_yx = grounder.saliency(image, name).values_yx
                cut_yx = values_yx > coarse_threshold(values_yx, "otsu")
                figures.append(float((cut_yx & label.mask_yx).sum() / (cut_yx | label.mask_yx).sum()))
            yield Pair(example.patient, (example.case, example.position), name, SALIENCY, *figures)


def _encoder(settings: Settings) -> OpenClipEncoder:
    base = load(settings.base, settings.device)
    if not isinstance(base, OpenClipEncoder):
        raise not_tunable(settings.base)
    return base


def _drawn(pairs: Sequence[CaptionedImage]) -> list[CaptionedImage]:
    """Return as many as are judged, the same each time."""
    return sorted(pairs, key=lambda pair: hashlib.sha256(pair.key.encode()).digest())[:_MOST_JUDGED]


def _notes(said: Mapping[str, Any], base: OpenClipEncoder) -> list[str]:
    notes = []
    if said["cut"]:
        notes.append(
            f"{counted(said['cut'], 'caption')} cut to the {base.context_length} tokens that the encoder reads."
        )
    if said["unreadable"]:
        which = f"{counted(len(said['unreadable']), 'image')} left out ({named(said['unreadable'])})"
        notes.append(f"{which}: can't be read, has no such slice, or is all of one gray.")
    if said["batch"] < said["asked_batch"]:
        notes.append(
            f"The batches have {counted(said['batch'], 'pair')} instead of {said['asked_batch']}: there are no more "
            "different captions."
        )
    return notes


def _data(
    captions: Captions, learnt: Sequence[CaptionedImage], held_out: Sequence[CaptionedImage], said: Mapping[str, Any]
) -> Document:
    listed = "\n".join(sorted(f"{pair.key}\t{pair.caption}" for pair in captions.pairs))
    return {
        "journals": {},
        "pairs_sha256": hashlib.sha256(listed.encode()).hexdigest(),
        "notes": list(captions.notes),
        "left_out": list(said["unreadable"]),
        "n_examples": said["pairs"],
        "n_slices": said["pairs"],
        "n_judged": len(held_out),
        "patients": sorted({pair.patient for pair in learnt}),
        "held_out": sorted({pair.patient for pair in held_out}),
        "classes": [],
    }
