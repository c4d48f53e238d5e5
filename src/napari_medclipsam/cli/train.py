"""``medclipsam train lite``."""

from __future__ import annotations

from argparse import Namespace

from napari_medclipsam.learning import lite_training


def run(args: Namespace) -> int:
    """Rebuild the weights of medclipsam-lite from the data folder; takes `data`, `output` and `seed`."""
    return int(lite_training.main(args) or 0)
