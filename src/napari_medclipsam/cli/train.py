"""``medclipsam train lite``."""

from __future__ import annotations

from argparse import Namespace

from napari_medclipsam.learning.lite_training import LiteSettings, train_lite


def run(args: Namespace) -> int:
    """Rebuild the weights of medclipsam-lite from the data folder; what is done stays, so a stopped run goes on."""
    train_lite(args.data, args.output, LiteSettings.with_seed(args.seed, args.leave_out))
    return 0
