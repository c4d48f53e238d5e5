"""``medclipsam learn clip``."""

from __future__ import annotations

import sys
from argparse import Namespace

from napari_medclipsam.cli.learn import ASKED_BY, settings_of, work
from napari_medclipsam.learning.clip_home import home_for
from napari_medclipsam.learning.clip_losses import ContrastSettings
from napari_medclipsam.learning.clip_request import LORA_RATE, ClipRequest, ClipTraining
from napari_medclipsam.learning.clip_start import made_ready


def run(args: Namespace) -> int:
    """Say what is wrong with the pairs, then fine-tune."""
    contrast = ContrastSettings(args.temperature, args.beta, args.beta)
    rate = args.rate if args.rate is not None else LORA_RATE if args.way == "lora" else ClipTraining.rate
    training = ClipTraining(args.loss, args.way, args.batch, rate, args.epochs, contrast)
    settings = settings_of(args)
    home = home_for(args.pairs) if args.output is None else args.output
    for note in made_ready(home, args.pairs, args.model):
        print(f"medclipsam: {note}", file=sys.stderr)
    if not args.json:
        print(f"Versions are kept in {home}.", file=sys.stderr)
    return work(home, ClipRequest(settings=settings, trigger=ASKED_BY, training=training), args)
