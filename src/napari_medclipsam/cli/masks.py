"""``medclipsam masks export | import``."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from napari_medclipsam.errors import ImageError
from napari_medclipsam.exchange.case import Case
from napari_medclipsam.exchange.coco import export_coco
from napari_medclipsam.exchange.deidentify import Deidentifier
from napari_medclipsam.exchange.dicom_source import DicomSource, open_source
from napari_medclipsam.exchange.importing import import_masks
from napari_medclipsam.exchange.label_table import write_named_mask
from napari_medclipsam.exchange.measures import export_measures
from napari_medclipsam.exchange.nifti_files import export_classes_nifti, export_labels_nifti
from napari_medclipsam.exchange.nnunet import export_nnunet
from napari_medclipsam.exchange.seg_export import export_seg
from napari_medclipsam.exchange.series_export import export_deidentified
from napari_medclipsam.exchange.terms import find_term
from napari_medclipsam.images.io import kind_of, read_image


def run(args: Namespace) -> int:
    """Export or import one mask, and tell what was written."""
    case = import_masks(args.mask, read_image(args.source, args.volume_index, args.series), args.resample)
    if args.action == "import":
        _write_imported(case, args.output)
    else:
        _export(case, args)
    print(f"{args.output}: {', '.join(_told(case))}")
    return 0


def _export(case: Case, args: Namespace) -> None:
    if args.format == "dicom-seg":
        _export_seg(case, args)
        return
    if args.deidentify:
        case = case.renamed(Deidentifier().pseudonym(case.name))
    if args.format == "nifti":
        export_labels_nifti(case, args.output)
    elif args.format == "nifti-per-class":
        export_classes_nifti(case, args.output)
    elif args.format == "nnunet":
        export_nnunet([case], args.output)
    elif args.format == "coco":
        export_coco([case], args.output)
    else:
        export_measures([case], args.output)


def _export_seg(case: Case, args: Namespace) -> None:
    series = _series(args)
    if args.deidentify:
        deidentifier = Deidentifier()
        export_deidentified(case, series, args.output, deidentifier)
        for note in deidentifier.report.notes:
            print(f"medclipsam: {note}", file=sys.stderr)
    else:
        export_seg(case, series, args.output)
    uncoded = [c.name for c in case.classes if not find_term(c.name, c.prompt).is_standard]
    if uncoded:
        print(f"medclipsam: no standard term for {', '.join(uncoded)}; kept as free text.", file=sys.stderr)


def _series(args: Namespace) -> DicomSource:
    if kind_of(args.source) != "dicom":
        raise ImageError(f"A DICOM-SEG refers to a DICOM series, and {args.source} is none. Export NIfTI instead.")
    return open_source(args.source, args.series, args.volume_index)


def _write_imported(case: Case, output: Path) -> None:
    name = output.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        export_labels_nifti(case, output)
    elif name.endswith((".png", ".tif", ".tiff")):
        write_named_mask(case.single_labels_zyx(), case.source, output, case.classes)
    else:
        export_classes_nifti(case, output)


def _told(case: Case) -> list[str]:
    return [f"{c.name} {int(case.mask_zyx(c.label).sum())} voxels" for c in case.classes] or ["no label"]
