"""``medclipsam learn clip``."""

from __future__ import annotations

import sys
from argparse import Namespace

from napari_medclipsam.cli.learn import ASKED_BY, settings_of, work
from napari_medclipsam.learning.captions import read_captions
from napari_medclipsam.learning.clip_home import home_for, open_home
from napari_medclipsam.learning.clip_losses import ContrastSettings
from napari_medclipsam.learning.clip_request import LORA_RATE, ClipRequest, ClipTraining
from napari_medclipsam.models.registry import OPEN_CLIP_PREFIXES, find_entry
from napari_medclipsam.models.store import ModelState, not_installed, state_of


def run(args: Namespace) -> int:
    """Say what is wrong with the pairs, then fine-tune."""
    contrast = ContrastSettings(args.temperature, args.beta, args.beta)
    rate = args.rate if args.rate is not None else LORA_RATE if args.way == "lora" else ClipTraining.rate
    training = ClipTraining(args.loss, args.way, args.batch, rate, args.epochs, contrast)
    settings = settings_of(args)
    # Here first, so that what is wrong is known before anything is loaded or written.
    for note in read_captions(args.pairs, "").notes:
        print(f"medclipsam: {note}", file=sys.stderr)
    if not args.model.startswith(OPEN_CLIP_PREFIXES):
        entry = find_entry(args.model)
        if state_of(entry) is ModelState.NOT_INSTALLED:
            raise not_installed(entry)
    home = home_for(args.pairs) if args.output is None else args.output
    open_home(home, args.pairs)
    if not args.json:
        print(f"Versions are kept in {home}.", file=sys.stderr)
    return work(home, ClipRequest(settings=settings, trigger=ASKED_BY, training=training), args)
