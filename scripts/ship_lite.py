"""Put freshly trained weights of medclipsam-lite into the package and their hashes into the catalogue.

python scripts/ship_lite.py OUTPUT_OF_TRAIN_LITE
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from napari_medclipsam.files import atomic_path, sha256_of
from napari_medclipsam.learning.lite_training import TRAINED

MODELS = Path(__file__).parents[1] / "src" / "napari_medclipsam" / "models"


def main(output: Path) -> None:
    """Copy the weight files and the training log; rewrite ``catalogue/lite.json``."""
    catalogue = MODELS / "catalogue" / "lite.json"
    entry = json.loads(catalogue.read_text(encoding="utf-8"))
    entry["files"] = [file for file in entry["files"] if file["location"] != "packaged"]
    for name in TRAINED:
        target = MODELS / "lite" / "weights" / name
        with atomic_path(target) as temporary:
            shutil.copyfile(output / name, temporary)
        entry["files"].append(
            {
                "name": f"lite/weights/{name}",
                "location": "packaged",
                "sha256": sha256_of(target),
                "size_bytes": target.stat().st_size,
            }
        )
    with atomic_path(catalogue) as temporary:
        temporary.write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")
    log = output / "training-log.jsonl"
    if log.exists():
        shutil.copyfile(log, MODELS.parents[2] / "docs" / "training-log.jsonl")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
