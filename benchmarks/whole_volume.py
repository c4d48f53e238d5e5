"""A text on every slice of a volume, with and without the glance that rules slices out before they are encoded.

    python benchmarks/whole_volume.py DATA

DATA holds volumes/lgg; asked is for "brain tumor" in the last four patients by name (the test split). Nothing is taken
from a cache, both ways run one after the other in one process. Writes benchmarks/results/whole_volume.json: seconds,
the slices that were not encoded, and whether both ways drew the same.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from napari_medclipsam.images.io import read_image, read_mask
from napari_medclipsam.images.volume import Volume
from napari_medclipsam.models.embedding_cache import EmbeddingCache
from napari_medclipsam.models.lite.model import LiteModel
from napari_medclipsam.models.registry import load
from napari_medclipsam.pipeline import segment_volume

RESULTS = Path(__file__).parent / "results"
TEXT = "brain tumor"
N_TEST = 4


def run(volume: Volume, model: LiteModel, *, needs_maps: bool) -> tuple[float, np.ndarray]:
    """Return seconds and the labels of all slices."""
    with tempfile.TemporaryDirectory() as folder:
        model._cache = EmbeddingCache(folder)
        start = time.perf_counter()
        labels = [r.label_yx for _, r in segment_volume(volume, TEXT, model, model, needs_maps=needs_maps)]
        seconds = time.perf_counter() - start
    return seconds, np.stack(labels)


def patient(path: Path, model: LiteModel) -> dict[str, Any]:
    """Return the figures of one volume."""
    volume = read_image(path)
    truth = read_mask(Path(str(path).replace("_flair", "_tumor")), volume) > 0
    slices = [volume.slice_pixels(index) for index in range(volume.n_slices())]
    varied = np.array([image.pixels.min() < image.pixels.max() for image in slices])
    empty = np.array(
        [shows and model.ruled_out(image, TEXT) is not None for image, shows in zip(slices, varied, strict=True)]
    )
    plain, drawn = run(volume, model, needs_maps=True)
    quick, drawn_quickly = run(volume, model, needs_maps=False)
    return {
        "slices": len(slices),
        "not constant": int(varied.sum()),
        "with tumour": int(truth.any((1, 2)).sum()),
        "ruled out": int(empty.sum()),
        "ruled out, with tumour": int((empty & truth.any((1, 2))).sum()),
        "seconds, every slice encoded": plain,
        "seconds, with the glance": quick,
        "drawn the same": bool(np.array_equal(drawn, drawn_quickly)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    model = load("lite", "cpu")
    rows = {}
    for path in sorted((args.data / "volumes" / "lgg").glob("*_flair.nii.gz"))[-N_TEST:]:
        name = path.name.removesuffix("_flair.nii.gz")
        rows[name] = patient(path, model)
        print(name, json.dumps(rows[name]), flush=True)
    plain, quick = (
        sum(row[f"seconds, {how}"] for row in rows.values()) for how in ("every slice encoded", "with the glance")
    )
    found = {"patients": rows, "times faster": plain / quick}
    print(json.dumps(found["times faster"]))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "whole_volume.json").write_text(json.dumps({"whole_volume": found}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
