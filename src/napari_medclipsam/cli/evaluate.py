"""``medclipsam evaluate``."""

from __future__ import annotations

from argparse import Namespace

from napari_medclipsam.cli.progress import progress_bar
from napari_medclipsam.evaluation.datasets import open_dataset
from napari_medclipsam.evaluation.run import evaluate
from napari_medclipsam.pipeline import PipelineOptions
from napari_medclipsam.prompting.text import parse_structures
from napari_medclipsam.saliency.pair import load_pair


def run(args: Namespace) -> int:
    """Print the figures of one model and text on one data set."""
    for text in (args.text, *args.absent):
        parse_structures(text)  # Refuse a bad text before minutes of work.
    dataset = open_dataset(args.data_set, args.split)
    grounder, segmenter = load_pair(args.model, args.device, args.saliency_method)
    with progress_bar(min(args.limit or len(dataset.samples), len(dataset.samples)), "images") as bar:
        result = evaluate(
            dataset,
            args.text,
            grounder,
            segmenter,
            PipelineOptions(coarse=args.coarse),
            text_column=args.text_column,
            absent=args.absent,
            limit=args.limit,
            model=args.model,
            progress=lambda done, total: bar.update(),
        )
    print(result.to_json() if args.json else result.to_table())
    return 0
