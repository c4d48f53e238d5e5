"""Every verb and option. Standard library only: ``medclipsam --help`` must not wait for torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_medclipsam import __version__
from napari_medclipsam.cli.common_options import add_format, add_loaded_models, add_model_options, add_reading
from napari_medclipsam.cli.learn_options import add_learn
from napari_medclipsam.cli.option_types import box, positive
from napari_medclipsam.cli.project_options import add_find, add_project
from napari_medclipsam.cli.usage import Parser, Verbs
from napari_medclipsam.prompting.text import MAX_PHRASINGS

_DESCRIPTION = "Find and outline structures in medical images by naming them. Research use only; not a medical device."
_EXAMPLES = """examples:
  medclipsam segment brain.nii.gz --text "brain tumor"
  medclipsam segment scan.png --text "left lung; right lung" --preview scan_preview.png
  medclipsam segment images/ --text "polyp" --output masks/ --json
  medclipsam demo
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; ``args.verb`` names the module of ``cli`` that runs it."""
    parser = Parser(
        prog="medclipsam",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"medclipsam {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    # The same option after the verb; SUPPRESS, or its default would undo a --debug given before the verb.
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for add in (
        _add_segment,
        _add_compare,
        _add_ask,
        _add_models,
        _add_doctor,
        _add_evaluate,
        _add_masks,
        _add_demo,
        _add_train,
        add_project,
        add_find,
        add_learn,
        _add_versions,
    ):
        add(verbs, common)
    return parser


def _add_segment(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    p = verbs.add_parser("segment", parents=[common], help="text to mask on images, volumes and DICOM series")
    p.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="PNG, JPEG or TIFF image, NIfTI file, DICOM file or folder, or a folder of all these",
    )
    p.add_argument("--text", required=True, help="what to outline; several structures are separated by ';'")
    add_model_options(p)
    p.add_argument("--project", type=Path, metavar="PROJECT", help="use what this project has learnt")
    p.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="mask file (.nii.gz, .nii, .png, .tif), or folder for many inputs; by default NAME_mask in the current "
        "folder, and for many inputs the folder medclipsam-output there. The names of its labels go into NAME.tsv "
        "beside it, which `masks export` reads",
    )
    p.add_argument(
        "--saliency",
        type=Path,
        metavar="PATH",
        help="also write where the model looks: .nii.gz for volumes, .png (16 bit) or .npy for images; folder for many",
    )
    p.add_argument(
        "--preview", type=Path, metavar="PNG", help="also write a picture of the result; folder for many inputs"
    )
    p.add_argument("--json", action="store_true", help="print one JSON object per input")
    add_reading(p)


def _add_compare(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    p = verbs.add_parser("compare", parents=[common], help="several phrasings side by side on one slice")
    p.add_argument("input", type=Path, metavar="INPUT", help="image, NIfTI file, or DICOM file or folder")
    p.add_argument(
        "--text", nargs="+", required=True, metavar="PHRASING", help=f"the phrasings, at most {MAX_PHRASINGS}"
    )
    add_loaded_models(p)
    p.add_argument(
        "--output", type=Path, metavar="PNG", help="where the pictures go (default: NAME_compare.png in this folder)"
    )
    p.add_argument(
        "--slice", type=int, metavar="N", help="which slice of a volume, from 0, as it is stored (default: the middle)"
    )
    p.add_argument("--json", action="store_true", help="print one JSON object")
    add_reading(p)


def _add_ask(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    p = verbs.add_parser(
        "ask",
        parents=[common],
        help="ask about a slice or a region: is there a …, is this malignant, which of these, what is this",
    )
    p.add_argument("input", type=Path, metavar="IMAGE", help="as for segment: one image, volume or DICOM series")
    p.add_argument(
        "question",
        nargs="+",
        help='in quotes: a closed question such as "is there a brain tumor?", or "what is this?" with --words',
    )
    p.add_argument("--words", metavar="A,B,C", help='the names to choose from for "what is this?"')
    p.add_argument("--region", type=Path, metavar="MASK", help="what is asked about: a mask on the grid of the image")
    p.add_argument(
        "--label", type=positive, metavar="N", help="this label of the mask alone (default: all that is not 0)"
    )
    p.add_argument(
        "--box",
        type=box,
        metavar="X0,Y0,X1,Y1",
        help="what is asked about: a box in pixels of the slice as it is stored",
    )
    p.add_argument(
        "--slice",
        type=int,
        metavar="N",
        help="which slice of a volume, from 0, as it is stored (default: where the region is largest)",
    )
    add_loaded_models(p)
    p.add_argument(
        "--saliency",
        type=Path,
        metavar="PATH",
        help="also write where the model looks: .nii.gz, .png (16 bit), .tif or .npy",
    )
    p.add_argument("--json", action="store_true", help="print JSON")
    add_reading(p)


def _add_models(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    p = verbs.add_parser("models", parents=[common], help="list, fetch, bundle and import models")
    actions = p.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", parents=[common], help="what there is, with size, licence and state")
    listing.add_argument("--json", action="store_true", help="print JSON")
    fetch = actions.add_parser("fetch", parents=[common], help="download a model, after its size and licence are shown")
    fetch.add_argument("name", metavar="NAME")
    fetch.add_argument(
        "--sha256",
        action="append",
        default=[],
        metavar="FILE=HASH",
        help="the hash of a file that the catalogue does not know; repeat for more files",
    )
    bundle = actions.add_parser("bundle", parents=[common], help="write a folder for a machine without a network")
    bundle.add_argument("names", nargs="+", metavar="NAME")
    bundle.add_argument("--output", type=Path, default=Path("medclipsam-models"), metavar="FOLDER")
    importing = actions.add_parser("import", parents=[common], help="take in a folder made by bundle")
    importing.add_argument("folder", type=Path, metavar="FOLDER")


def _add_doctor(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    p = verbs.add_parser("doctor", parents=[common], help="check this installation and say how to mend it")
    p.add_argument("--json", action="store_true", help="print JSON")
    p.add_argument("--device", metavar="NAME", help="check this device (default: the best there is)")


def _add_evaluate(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    p = verbs.add_parser("evaluate", parents=[common], help="measure text to mask on a data set with known masks")
    p.add_argument("data_set", type=Path, metavar="DATA_SET", help="folder with images/, masks/ and perhaps index.csv")
    p.add_argument("--text", required=True, help="what the masks show")
    p.add_argument(
        "--text-column", metavar="NAME", help="column of index.csv with each row's own text, where it has one"
    )
    add_model_options(p)
    p.add_argument("--split", default="test", help="rows of this split, or 'all' (default: test)")
    p.add_argument("--limit", type=positive, metavar="N", help="measure only N rows, spread over the data set")
    p.add_argument("--absent", nargs="+", default=[], metavar="TEXT", help="texts that are in none of these images")
    p.add_argument("--json", action="store_true", help="print JSON")


def _add_masks(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    p = verbs.add_parser("masks", parents=[common], help="exchange masks with other programs")
    actions = p.add_subparsers(dest="action", metavar="ACTION", required=True)
    export = actions.add_parser("export", parents=[common], help="write a mask in the format of another program")
    importing = actions.add_parser("import", parents=[common], help="bring a mask onto the grid of its image")
    for action in (export, importing):
        action.add_argument(
            "mask",
            type=Path,
            metavar="MASK",
            help="NIfTI, PNG or TIFF (names of the labels from NAME.tsv beside it), or DICOM-SEG",
        )
        action.add_argument("--source", type=Path, required=True, metavar="IMAGE", help="the image that was labelled")
        action.add_argument("--volume-index", type=int, metavar="N", help="which volume of a 4D image, from 0")
        action.add_argument("--series", metavar="UID", help="which series of a DICOM folder")
        action.add_argument(
            "--resample", action="store_true", help="take the nearest voxels where the mask is on another grid"
        )
    add_format(export)
    export.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="a file (nifti, dicom-seg, csv) or a new folder (nifti-per-class, nnunet, coco)",
    )
    export.add_argument(
        "--deidentify",
        action="store_true",
        help="dicom-seg: write a folder with the de-identified series, the segmentation and a report; other formats: "
        "name the case by a pseudonym",
    )
    importing.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help=".nii.gz (or .png, .tif), or a new folder for a NIfTI file per class",
    )


def _add_demo(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    p = verbs.add_parser("demo", parents=[common], help="open napari on a sample brain with the first prompt answered")
    p.add_argument(
        "--headless", type=Path, metavar="OUT", help="write pictures to this folder instead; needs no display"
    )
    p.add_argument("--device", metavar="NAME", help="cuda, mps or cpu (default: the best there is)")


def _add_train(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    p = verbs.add_parser("train", parents=[common], help="rebuild the trained parts of a model")
    models = p.add_subparsers(dest="trained_model", metavar="MODEL", required=True)
    lite = models.add_parser("lite", parents=[common], help="the grounding head and click decoder of medclipsam-lite")
    lite.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder of data sets")
    lite.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the weights and the log go")
    lite.add_argument("--seed", type=int, default=0)
    lite.add_argument(
        "--leave-out",
        nargs="+",
        default=[],
        metavar="SET",
        help="data sets to learn nothing from, such as brain_mri lgg: how it does on what it has never seen",
    )


def _add_versions(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    p = verbs.add_parser(
        "versions", parents=[common], help="what a project has learnt: list, compare, promote, go back"
    )
    actions = p.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, summary: str, *versions: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, parents=[common], help=summary)
        added.add_argument("project", type=Path, metavar="PROJECT", help="its folder")
        for version in versions:
            added.add_argument(version, metavar="VERSION", help="such as v0001")
        return added

    listing = action("list", "every version with its state, figures and size")
    show = action("show", "all that is known of a version, after its files were checked", "version")
    action("promote", "put a version into use", "version")
    action("rollback", "go back to what was in use before")
    compare = action("compare", "two versions on slices that neither has learnt from", "first", "second")
    compare.epilog = 'The model that all began with is called "base".'
    compare.add_argument("--device", metavar="NAME", help="cuda, mps or cpu (default: the best there is)")
    action("delete", "delete a version that is not in use", "version")
    for p in (listing, show, compare):
        p.add_argument("--json", action="store_true", help="print JSON")
