"""Every verb and option. Standard library only: ``medclipsam --help`` must not wait for torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_medclipsam import __version__
from napari_medclipsam.cli.learn_options import add_learn
from napari_medclipsam.cli.option_types import box, like, positive, window
from napari_medclipsam.cli.usage import Parser, Verbs
from napari_medclipsam.prompting.text import MAX_PHRASINGS
from napari_medclipsam.saliency.methods import DEFAULT_METHOD, METHODS

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
        _add_project,
        _add_find,
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
        help="PNG, JPEG or TIFF image, NIfTI file, DICOM file or folder, or a folder of images or NIfTI files",
    )
    p.add_argument("--text", required=True, help="what to outline; several structures are separated by ';'")
    _add_model_options(p)
    p.add_argument("--project", type=Path, metavar="PROJECT", help="use what this project has learnt")
    p.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="mask file (.nii.gz, .nii, .png, .tif), or folder for many inputs; by default NAME_mask in the current "
        "folder, and for many inputs the folder medclipsam-output there",
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
    _add_reading(p)


def _add_compare(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    p = verbs.add_parser("compare", parents=[common], help="several phrasings side by side on one slice")
    p.add_argument("input", type=Path, metavar="INPUT", help="image, NIfTI file, or DICOM file or folder")
    p.add_argument(
        "--text", nargs="+", required=True, metavar="PHRASING", help=f"the phrasings, at most {MAX_PHRASINGS}"
    )
    _add_loaded_models(p)
    p.add_argument(
        "--output", type=Path, metavar="PNG", help="where the pictures go (default: NAME_compare.png in this folder)"
    )
    p.add_argument(
        "--slice", type=int, metavar="N", help="which slice of a volume, from 0, as it is stored (default: the middle)"
    )
    p.add_argument("--json", action="store_true", help="print one JSON object")
    _add_reading(p)


def _add_reading(p: argparse.ArgumentParser) -> None:
    p.add_argument("--volume-index", type=int, metavar="N", help="which volume of a 4D file, from 0")
    p.add_argument("--series", metavar="UID", help="which series of a DICOM folder")
    p.add_argument(
        "--window",
        type=window,
        default="auto",
        metavar="NAME",
        help="intensity window: a CT preset such as lung or brain, percentile, or LOW,HIGH (default: auto)",
    )
    p.add_argument(
        "--axis", choices=("axial", "coronal", "sagittal"), help="plane to slice a volume in (default: as acquired)"
    )


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
    _add_loaded_models(p)
    p.add_argument(
        "--saliency",
        type=Path,
        metavar="PATH",
        help="also write where the model looks: .nii.gz, .png (16 bit), .tif or .npy",
    )
    p.add_argument("--json", action="store_true", help="print JSON")
    _add_reading(p)


def _add_model_options(p: argparse.ArgumentParser) -> None:
    _add_loaded_models(p)
    p.add_argument(
        "--coarse",
        choices=("threshold", "otsu", "kmeans", "crf"),
        default="threshold",
        help="from saliency to a first mask: threshold for lite; otsu, kmeans or crf (dense CRF) for CLIP models",
    )


def _add_loaded_models(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--model",
        default="lite",
        metavar="NAME",
        help="a model that does both, or GROUNDER+SEGMENTER such as biomedclip+sam-vit-b (default: lite)",
    )
    p.add_argument(
        "--saliency-method",
        choices=tuple(METHODS),
        metavar="NAME",
        help=f"for CLIP models (default: {DEFAULT_METHOD}). "
        + " ".join(f"{name}: {info.line}" for name, info in METHODS.items()).replace("%", "%%"),
    )
    p.add_argument("--device", metavar="NAME", help="cuda, mps or cpu (default: the best there is)")


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
    _add_model_options(p)
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
            help="NIfTI (names of its labels from NAME.tsv beside it), PNG, TIFF or DICOM-SEG",
        )
        action.add_argument("--source", type=Path, required=True, metavar="IMAGE", help="the image that was labelled")
        action.add_argument("--volume-index", type=int, metavar="N", help="which volume of a 4D image, from 0")
        action.add_argument("--series", metavar="UID", help="which series of a DICOM folder")
        action.add_argument(
            "--resample", action="store_true", help="take the nearest voxels where the mask is on another grid"
        )
    _add_format(export)
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


def _add_format(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--format",
        required=True,
        choices=("nifti", "nifti-per-class", "dicom-seg", "nnunet", "coco", "csv"),
        help="csv: volumes and diameters",
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


def _add_project(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    p = verbs.add_parser("project", parents=[common], help="make a project of many studies, add to it, check it")
    actions = p.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, summary: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, parents=[common], help=summary)
        added.add_argument("project", type=Path, metavar="PROJECT", help="its folder")
        added.add_argument("--reader", metavar="NAME", help="who works with it (default: the user of this computer)")
        return added

    init = action("init", "make a project in an empty folder")
    init.add_argument("--class", action="append", default=[], dest="classes", metavar="NAME", help="repeat for more")
    add = action("add", "add images: files, DICOM folders, or folders of them")
    add.add_argument("images", nargs="+", type=Path, metavar="PATH")
    add.add_argument(
        "--copy", action="store_true", help="copy them into the project (default: they stay where they are)"
    )
    add.add_argument(
        "--patient",
        default="",
        metavar="NAME",
        help="whose they all are, where the files do not say it; kept as a hash only, so that learning never tests "
        "itself on a patient that it has learnt from",
    )
    relocate = action("relocate", "say where the image of a case is now, or accept that it has changed")
    relocate.add_argument("case", metavar="CASE", help="such as c0001")
    relocate.add_argument("path", type=Path, metavar="PATH")
    relocate.add_argument("--accept-changed", action="store_true", help="take it although its content is another")
    queue = action("queue", "which cases and slices need a reader most, and why")
    queue.add_argument(
        "--scan", action="store_true", help="first let the model look at every slice (of --case) that it has not seen"
    )
    queue.add_argument("--text", metavar="TEXT", help="what the scan looks for (default: all classes)")
    _add_loaded_models(queue)
    queue.add_argument("--case", metavar="CASE", help="only this case")
    queue.add_argument("--class", dest="class_name", metavar="NAME", help="only this class")
    queue.add_argument(
        "--status",
        action="append",
        choices=("untouched", "prompted", "proposed", "accepted"),
        help="only slices that are so; repeat for more (default: all but accepted)",
    )
    queue.add_argument("--flagged", action="store_true", help="only slices that a reader has flagged")
    queue.add_argument("--limit", type=positive, default=20, metavar="N", help="show N slices (default: 20)")
    queue.add_argument("--json", action="store_true", help="print JSON")
    disputes = action("disputes", "slices on which two readers differ, those that differ most first")
    disputes.add_argument("--case", metavar="CASE", help="only this case")
    disputes.add_argument("--json", action="store_true", help="print JSON")
    report = action("report", "what the work has cost, how good proposals were, and when to stop")
    report.add_argument(
        "--output", type=Path, metavar="FOLDER", help="also write tables (CSV) and, with matplotlib, pictures (PNG)"
    )
    report.add_argument("--json", action="store_true", help="print JSON")
    export = action("export", "write the accepted masks in the format of another program")
    _add_format(export)
    export.add_argument("--output", type=Path, required=True, metavar="PATH", help="a new folder; for csv a file")
    export.add_argument(
        "--case",
        action="append",
        default=[],
        dest="cases",
        metavar="CASE",
        help="such as c0001; repeat for more (default: every case with something accepted)",
    )
    export.add_argument(
        "--deidentify",
        action="store_true",
        help="dicom-seg: write de-identified copies of the series too, and a report; the other formats hold no header",
    )
    importing = action("import", "take in a mask of another program, as proposals")
    importing.add_argument("case", metavar="CASE", help="such as c0001")
    importing.add_argument("mask", type=Path, metavar="MASK", help="NIfTI, PNG, TIFF or DICOM-SEG")
    importing.add_argument("--accept", action="store_true", help="accept it at once")
    importing.add_argument(
        "--resample", action="store_true", help="take the nearest voxels where the mask is on another grid"
    )
    for name, summary in (
        ("status", "how far each case is"),
        ("verify", "check every checksum, geometry and reference"),
    ):
        action(name, summary).add_argument("--json", action="store_true", help="print JSON")


def _add_find(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    p = verbs.add_parser("find", parents=[common], help="find slices of a project by a text, or like a region")
    p.add_argument("project", type=Path, metavar="PROJECT", help="its folder")
    what = p.add_mutually_exclusive_group()
    what.add_argument("--text", metavar="TEXT", help="what the slices show, such as 'brain tumor'")
    what.add_argument(
        "--like",
        type=like,
        metavar="CASE:SLICE:CLASS",
        help="look like what is accepted of a class in a slice, such as c0001:12:tumor",
    )
    p.add_argument("--build", action="store_true", help="first index what is missing or has changed; Ctrl-C keeps it")
    p.add_argument("--case", metavar="CASE", help="only this case")
    p.add_argument("--other-cases", action="store_true", help="not in the case of --like")
    p.add_argument("--accepted", action="store_true", help="only regions that a reader has accepted")
    p.add_argument("--top", type=positive, default=20, metavar="N", help="show N slices (default: 20)")
    p.add_argument("--model", default="lite", metavar="NAME", help="what makes the vectors (default: lite)")
    p.add_argument("--device", metavar="NAME", help="cuda, mps or cpu (default: the best there is)")
    p.add_argument("--reader", metavar="NAME", help="who looks (default: the user of this computer)")
    p.add_argument("--json", action="store_true", help="print JSON")


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
