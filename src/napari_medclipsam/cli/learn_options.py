"""The options of ``medclipsam learn`` and ``medclipsam learn clip``. Standard library only."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from napari_medclipsam.cli.option_types import positive, seconds
from napari_medclipsam.cli.usage import Parser, Verbs


class _LearnParser(Parser):
    """Has a verb of its own inside: ``learn clip …``; every other first word is a project."""

    clip: Parser

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Hand what follows ``clip`` on to its own parser."""
        if args and args[0] == "clip":
            return self.clip.parse_known_args(args[1:], namespace)
        return super().parse_known_args(args, namespace)


def add_learn(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    """Add the verb ``learn``."""
    # A parser class of its own for this one verb.
    verbs._parser_class, plain = _LearnParser, verbs._parser_class
    p = verbs.add_parser(
        "learn", parents=[common], help="learn from the accepted slices of a project, or from captions"
    )
    verbs._parser_class = plain
    p.epilog = "medclipsam learn clip PAIRS fine-tunes a text-image encoder: see medclipsam learn clip --help"
    p.add_argument("project", type=Path, metavar="PROJECT", help="its folder")
    p.add_argument("--learner", default="instant", metavar="NAME", help="instant, decoder, sam-mix or unet")
    _add_how_to_learn(p, "lite")
    p.add_argument(
        "--devices", type=int, default=1, metavar="N", help="graphics cards to share the work of sam-mix and unet"
    )
    p.clip = Parser(
        prog=f"{p.prog} clip",
        parents=[common],
        description="Fine-tune a text-image encoder on image-caption pairs, in a process of its own.",
    )
    p.clip.set_defaults(verb="learn_clip")
    _add_learn_clip(p.clip)


def _add_how_to_learn(p: argparse.ArgumentParser, model: str) -> None:
    p.add_argument(
        "--budget",
        type=seconds,
        default=600.0,
        metavar="TIME",
        help="of all fits: 90s, 10m, 2h (default: 10m); measuring comes on top",
    )
    p.add_argument("--model", default=model, metavar="NAME", help=f"the model to build on (default: {model})")
    p.add_argument("--device", metavar="NAME", help="cuda, mps or cpu (default: the best there is)")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    p.add_argument("--deterministic", action="store_true", help="the same result each time, at the cost of speed")
    p.add_argument("--json", action="store_true", help="print JSON")


def _add_learn_clip(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "pairs",
        type=Path,
        metavar="PAIRS",
        help="a CSV file with the columns image and caption (and patient, slice); a folder of images with a .txt of "
        "the same name beside each; or a project with captions.csv (columns case and caption)",
    )
    p.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where versions are kept (default: clip in the project, or NAME-clip beside the pairs)",
    )
    p.add_argument(
        "--loss", choices=("dhn-nce", "infonce", "dcl", "hn-nce"), default="dhn-nce", help="(default: dhn-nce)"
    )
    way = p.add_mutually_exclusive_group()
    way.add_argument("--full", dest="way", action="store_const", const="full", help="train all weights (the default)")
    way.add_argument(
        "--lora", dest="way", action="store_const", const="lora", help="train LoRA of rank 8: versions of a few MB"
    )
    p.set_defaults(way="full")
    p.add_argument("--batch", type=int, default=64, metavar="N", help="pairs compared with each other (default: 64)")
    p.add_argument(
        "--rate", type=float, metavar="X", help="highest learning rate (default: 1e-6, with --lora 1e-4); it decays"
    )
    p.add_argument("--epochs", type=positive, default=20, metavar="N", help="at most so many (default: 20)")
    p.add_argument("--temperature", type=float, default=0.6, metavar="T", help="τ of the loss (default: 0.6)")
    p.add_argument("--beta", type=float, default=0.15, metavar="B", help="weight of hard negatives (default: 0.15)")
    _add_how_to_learn(p, "biomedclip")
