"""The models of a project, for the verbs that use what it has learnt."""

from __future__ import annotations

import sys
from argparse import Namespace

from napari_medclipsam.learning.loading import Pair, project_pair


def load_project_models(args: Namespace, *, required: bool = False) -> Pair:
    """Load the models that a project has in use, and say on standard error which answers.

    Parameters
    ----------
    args : argparse.Namespace
        With the options ``project``, ``model``, ``device`` and ``saliency_method``.
    required : bool
        Refuse a version that was learnt on another model.
    """
    pair, version = project_pair(args.project, args.model, args.device, args.saliency_method, required=required)
    if version is None:
        told = f"{args.model} answers as it is: {args.project} has nothing in use that was learnt on it."
    else:
        told = f"{args.model} answers with what {args.project} has learnt: {version.name} ({version.learner})."
    print(f"medclipsam: {told}", file=sys.stderr)
    return pair
