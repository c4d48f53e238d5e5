"""What can be said of a training picture and of its regions: concepts with many phrasings, and captions.

A concept is true of a picture or region, false, or not known; only what is certain is used. Captions come from the
rows' labels and notes, and from the masks: how large, and on which side.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napari_medclipsam.learning.lite_region_views import ELSEWHERE, Region
from napari_medclipsam.learning.lite_samples import GROUPS
from napari_medclipsam.learning.lite_views import View
from napari_medclipsam.models.lite.phrases import PhraseBook
from napari_medclipsam.models.lite.region import STRUCTURE_REGIONS

LESIONS = {"neuro": "brain_tumor", "breast": "breast_lesion", "colon": "polyp"}
NORMAL = {"neuro": "normal brain", "breast": "normal breast", "colon": "normal colon", "chest": "outside the lungs"}

EXTRA: dict[str, tuple[str, tuple[str, ...]]] = {
    "normal brain": (
        "neuro",
        ("normal brain", "normal brain tissue", "healthy brain", "no tumor", "without tumour", "brain without tumor",
         "unremarkable brain parenchyma", "no brain lesion", "normal brain MRI", "healthy brain tissue",
         "no intracranial mass", "brain slice without a lesion"),
    ),
    "normal breast": (
        "breast",
        ("normal breast", "normal breast tissue", "healthy breast", "no breast lesion", "normal breast ultrasound",
         "fibroglandular tissue", "breast without a mass", "unremarkable breast tissue", "no mass in the breast",
         "normal", "breast fat and gland"),
    ),
    "normal colon": (
        "colon",
        ("normal mucosa", "normal colon", "healthy colonic mucosa", "colon without polyp", "bowel wall without a polyp",
         "no polyp", "unremarkable mucosa"),
    ),
    "outside the lungs": (
        "chest",
        ("soft tissue outside the lungs", "chest wall", "shoulder", "abdomen below the diaphragm", "outside the lungs",
         "soft tissue of the chest wall"),
    ),
    "lung": ("chest", ("lung", "lung tissue", "lung parenchyma", "pulmonary tissue", "lung field")),
    "brain MRI": ("neuro", ("brain MRI", "MRI of the brain", "head MRI", "cranial MR image", "MR scan of the head")),
    "T1 with contrast": (
        "neuro",
        ("contrast-enhanced T1 MRI of the brain", "T1 with gadolinium", "T1-Gd", "post-contrast T1-weighted image"),
    ),
    "FLAIR": ("neuro", ("FLAIR", "FLAIR MRI of the brain", "T2 FLAIR image", "fluid-attenuated inversion recovery")),
    "plain T1": ("neuro", ("T1 without contrast", "plain T1 MRI", "native T1-weighted image", "unenhanced T1")),
    "spine MRI": ("neuro", ("MRI of the spine", "cervical spine MRI", "MR image of the neck")),
    "breast ultrasound": (
        "breast", ("breast ultrasound", "ultrasound of the breast", "breast sonogram", "mammary sonography"),
    ),
    "colonoscopy": ("colon", ("colonoscopy", "colonoscopy image", "endoscopy of the colon", "endoscopic picture")),
    "chest radiograph": ("chest", ("chest x-ray", "chest radiograph", "CXR", "chest film", "radiograph of the thorax")),
    "PA view": ("chest", ("PA view", "posteroanterior chest radiograph", "PA chest film", "PA projection")),
    "AP view": ("chest", ("AP view", "anteroposterior chest radiograph", "AP supine chest film", "bedside AP film")),
}  # fmt: skip
"""Concept to body region and phrasings, beside those of the phrase book."""

MODALITIES = tuple(EXTRA)[5:]

Truth = dict[str, bool]


@dataclass(frozen=True)
class Concepts:
    """Every concept with its phrasings and body region, and what the films' rows say.

    Parameters
    ----------
    phrases : dict
        Concept to phrasings.
    groups : dict
        Concept to body region.
    parents : dict
        Finer kind to structure.
    distractors : tuple of str
        Phrases that are true of nothing here.
    films : Mapping
        Name of a chest film to (view, notes).
    """

    phrases: dict[str, tuple[str, ...]]
    groups: dict[str, str]
    parents: dict[str, str]
    distractors: tuple[str, ...]
    films: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, book: PhraseBook, films: Mapping[str, tuple[str, str]]) -> Concepts:
        """Collect them from the phrase book and `EXTRA`."""
        phrases: dict[str, tuple[str, ...]] = {}
        groups: dict[str, str] = {}
        parents: dict[str, str] = {}
        for name, entry in book.structures.items():
            phrases[name] = (*(p for p in entry.nouns if p not in EXTRA["lung"][1]), *entry.sentences)
            groups[name] = STRUCTURE_REGIONS[name]
            for kind, own in entry.kinds.items():
                bare = (kind,) if kind in ("benign", "malignant") else ()
                phrases[kind], groups[kind], parents[kind] = (*own, *bare), STRUCTURE_REGIONS[name], name
        for name, (group, own) in EXTRA.items():
            phrases[name], groups[name] = own, group
        return cls(phrases, groups, parents, (*book.unknown, *book.meaningless), films)

    def of_image(self, view: View, present: set[str]) -> Truth:
        """Return what is certainly true and false of a picture in which `present` was drawn."""
        group = GROUPS[view.dataset]
        truth = {name: False for name, own in self.groups.items() if own != group}
        truth |= {name: name in present for name in view.labelled}
        truth |= self._kinds(view, present)
        if group in LESIONS and LESIONS[group] in view.labelled and view.dataset != "spinal_cord":
            truth[NORMAL[group]] = LESIONS[group] not in present
        if group == "chest":
            truth["lung"] = True
        shown = modalities(view, self.films)
        projections = {"PA view", "AP view"}
        told = set(MODALITIES) if shown & projections or group != "chest" else set(MODALITIES) - projections
        return truth | {name: name in shown for name in told}

    def of_region(self, view: View, region: Region) -> Truth:
        """Return what is certainly true and false of a region."""
        group = GROUPS[view.dataset]
        truth = {name: False for name, own in self.groups.items() if own != group}
        if region.structure == ELSEWHERE:
            truth |= dict.fromkeys(view.labelled, False) | self._kinds(view, set())
            if view.dataset != "spinal_cord":
                truth[NORMAL[group]] = True
            return truth
        mine = region.structure
        if group != "chest" or region.role != "part":
            truth |= {s: False for s, own in STRUCTURE_REGIONS.items() if own == group}
        truth |= self._kinds(view, {mine}) | {mine: True, NORMAL[group]: False}
        if mine in ("anterior_hippocampus", "posterior_hippocampus"):
            del truth["hippocampus"]
        if mine in ("lungs", "left_lung", "right_lung"):
            truth["lung"] = True
            if region.role == "part":
                del truth[mine]
        elif mine in ("cardiomediastinum", "airways"):
            truth["lung"] = False
        return truth

    def _kinds(self, view: View, present: set[str]) -> Truth:
        """Kinds of lesion: certain where the row names one, and where there is no lesion."""
        return {
            kind: kind == view.kind and parent in present
            for kind, parent in self.parents.items()
            if self.groups[kind] == GROUPS[view.dataset] and (view.kind or parent not in present)
        }


def modalities(view: View, films: Mapping[str, tuple[str, str]]) -> set[str]:
    """Return what a view was taken with."""
    if view.dataset == "brain_mri":
        return {"brain MRI", "T1 with contrast"}
    if view.dataset == "lgg":
        contrast = view.name.rsplit("_", 2)[1]
        return {"brain MRI", {"flair": "FLAIR", "t1gd": "T1 with contrast", "t1": "plain T1"}[contrast]}
    if view.dataset in ("mni", "hippocampus"):
        return {"brain MRI", "plain T1"}
    single = {"spinal_cord": "spine MRI", "breast_us": "breast ultrasound", "polyps": "colonoscopy"}
    if view.dataset in single:
        return {single[view.dataset]}
    projection = films.get(view.name, ("", ""))[0][:2]
    return {"chest radiograph"} | ({f"{projection} view"} if projection in ("PA", "AP") else set())


def read_films(data: Path, split: str = "train") -> dict[str, tuple[str, str]]:
    """Return name → (view, notes) of the chest films of a split."""
    with open(data / "chest_xray" / "index.csv", newline="", encoding="utf-8") as source:
        rows = [row for row in csv.DictReader(source) if row["split"] == split]
    return {row["name"]: (row["view"], row["clinical_notes"]) for row in rows}


SIZES = ((0.02, "small"), (0.06, "medium-sized"), (1.1, "large"))
SIDES = (
    (0.42, "on the left of the picture"),
    (0.58, "in the middle of the picture"),
    (1.1, "on the right of the picture"),
)

_TITLES = {
    "glioma": "glioma", "meningioma": "meningioma", "pituitary": "pituitary tumor", "benign": "benign breast tumor",
    "malignant": "malignant breast tumor", "polyp": "polyp", "brain_tumor": "brain tumor", "spinal_cord": "spinal cord",
    "hippocampus": "hippocampus",
}  # fmt: skip

_FRAMES = ("{m}: {s} {f} {p}", "{m} with a {s} {f} {p}", "a {s} {f} {p}, {m}", "{m}. There is a {s} {f}, {p}.")


def caption(view: View, regions: list[Region], films: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """Return the phrasings of what a picture shows; the first one is the one that benchmarks use.

    Parameters
    ----------
    view : View
        What is known of it.
    regions : list of Region
        Its drawn regions; one of them at most is named.
    films : Mapping
        Name of a chest film to (view, notes).
    """
    shown = modalities(view, films)
    modality = next((EXTRA[m][1][0] for m in reversed(MODALITIES) if m in shown), "")
    if "chest radiograph" in shown:
        projection = films.get(view.name, ("", ""))[0]
        notes = films.get(view.name, ("", ""))[1]
        plain = " ".join(("chest radiograph", projection)).strip()
        return (f"{plain}: {notes}", notes) if notes else (plain, f"chest x-ray {projection}".strip())
    named = [r for r in regions if r.structure in _TITLES]
    if not named:
        group = GROUPS[view.dataset]
        return tuple(f"{modality}: {words}" for words in EXTRA[NORMAL[group]][1][:6])
    region = max(named, key=lambda r: r.area)
    size = next(word for limit, word in SIZES if region.area < limit)
    side = next(word for limit, word in SIDES if region.centre_x < limit)
    finding = _TITLES[view.kind or region.structure]
    return tuple(frame.format(m=modality, s=size, f=finding, p=side) for frame in _FRAMES)


def table(concepts: Concepts, truths: list[Truth]) -> np.ndarray:
    """Return int8 (items, concepts): 1 true, 0 false, -1 not known."""
    names = list(concepts.phrases)
    return np.array([[int(t[n]) if n in t else -1 for n in names] for t in truths], np.int8)
