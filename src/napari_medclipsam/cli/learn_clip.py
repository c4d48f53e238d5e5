"""``medclipsam learn clip``."""

from __future__ import annotations

import sys
from argparse import Namespace

from napari_medclipsam.cli.learn import ASKED_BY, settings_of, work
from napari_medclipsam.learning.captions import read_captions
from napari_medclipsam.learning.clip_home import home_for, open_home
from napari_medclipsam.learning.clip_losses import ContrastSettings
from napari_medclipsam.learning.clip_request import LORA_RATE, ClipRequest, ClipTraining


def run(args: Namespace) -> int:
    """Say what is wrong with the pairs, then fine-tune."""
    contrast = ContrastSettings(args.temperature, args.beta, args.beta)
    rate = args.rate if args.rate is not None else LORA_RATE if args.way == "lora" else ClipTraining.rate
    training = ClipTraining(args.loss, args.way, args.batch, rate, args.epochs, contrast)
    settings = settings_of(args)
    # Here first, so that what is wrong is known before anything is loaded or written.
    for note in read_captions(args.pairs, "").notes:
        print(f"medclipsam: {note}", file=sys.stderr)
    home = home_for(args.pairs) if args.output is None else args.output
    open_home(home, args.pairs)
    if not args.json:
        print(f"Versions are kept in {home}.", file=sys.stderr)
    return work(home, ClipRequest(settings=settings, trigger=ASKED_BY, training=training), args)
