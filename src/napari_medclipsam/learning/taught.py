"""What the instant learner has learnt, to disk and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.errors import LearningError
from napari_medclipsam.files import atomic_path
from napari_medclipsam.learning import cells
from napari_medclipsam.learning.exemplars import Exemplar
from napari_medclipsam.learning.kernel import Kernel, Verdict
from napari_medclipsam.learning.mixing import Mix

_FORMAT = "medclipsam-instant"
_VERSION, _READABLE = 3, (2, 3)
_FILE, _WEIGHTS = "instant.json", "instant.safetensors"


@dataclass(frozen=True, eq=False)
class Taught:
    """A class that was learnt: its name, the other texts for it, its kernel, and the exemplars if they have a say."""

    name: str
    phrases: tuple[str, ...]
    kernel: Kernel
    mix: Mix | None = None

    def answers(self, text: str) -> bool:
        """Tell whether a text asks for it; capitals and spaces do not matter."""
        return _plain(text) in {_plain(phrase) for phrase in (self.name, *self.phrases)}


def write_taught(folder: Path, taught: Iterable[Taught]) -> None:
    """Write the classes: arrays as safetensors, the rest as JSON. The JSON comes last: with it the model is whole.

    Raises
    ------
    OutputError
        If that is not possible, as when the disk is full.
    """
    from safetensors.numpy import save_file

    tensors: dict[str, np.ndarray] = {}
    rows = []
    for number, one in enumerate(taught):
        tensors[str(number)] = one.kernel.weights
        kernel = {key: value for key, value in asdict(one.kernel).items() if key != "weights"}
        rows.append({"name": one.name, "phrases": list(one.phrases), "kernel": kernel, "mix": None})
        if one.mix is not None:
            for place, exemplar in enumerate(one.mix.exemplars):
                tensors[f"{number}.{place}"] = np.stack([exemplar.gray, exemplar.shares])
            rows[-1]["mix"] = {
                "weight": one.mix.weight,
                "verdict": asdict(one.mix.verdict),
                "exemplars": [{"trust": e.trust} for e in one.mix.exemplars],
            }
    with atomic_path(folder / _WEIGHTS) as temporary:
        save_file(tensors, temporary)
    document = {"format": _FORMAT, "version": _VERSION, "features": cells.VERSION, "classes": rows}
    with atomic_path(folder / _FILE) as temporary:
        temporary.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", "utf-8")


def read_taught(folder: Path) -> list[Taught]:
    """Read the classes.

    Raises
    ------
    LearningError
        If they are damaged, gone, or from another version of this program.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        document = json.loads((folder / _FILE).read_text("utf-8"))
        if (
            document["format"] != _FORMAT
            or document["version"] not in _READABLE
            or document["features"] != cells.VERSION
        ):
            raise LearningError(
                f"The model in {folder} was learnt by another version of this program; let it learn again."
            )
        tensors = load_file(folder / _WEIGHTS)
        return [_taught(row, str(number), tensors) for number, row in enumerate(document["classes"])]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise LearningError(f"The model in {folder} is damaged or gone; go back a version, or learn again.") from error


def _taught(row: dict[str, Any], key: str, tensors: Mapping[str, np.ndarray]) -> Taught:
    weights, kernel, mix = tensors[key], row["kernel"], row["mix"]
    if weights.ndim != 1 or not np.isfinite(weights).all():
        raise ValueError("weights that are no numbers")
    verdict = Verdict(**kernel.pop("verdict"))
    taught = Taught(row["name"], tuple(row["phrases"]), Kernel(weights, **kernel, verdict=verdict))
    if mix is None:
        return taught
    exemplars = tuple(Exemplar(*tensors[f"{key}.{n}"], **one) for n, one in enumerate(mix["exemplars"]))
    # Until version 3 it was the same for every class.
    old = {"centre": 0.5, "slope": 0.8, "is_sure": any(not one.shares.any() for one in exemplars)}
    verdict = Verdict(**mix.get("verdict", old))
    return Taught(taught.name, taught.phrases, taught.kernel, Mix(mix["weight"], verdict, exemplars))


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
