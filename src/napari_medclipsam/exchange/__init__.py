"""Masks out and in, without a project: one image, its labels and the names of its classes.

``case.Case``
    What every export takes and every import returns.
``nifti_files.export_labels_nifti``, ``export_classes_nifti``
    One NIfTI file of labels, or one file per class.
``dicom_source.open_source``, ``seg_export.export_seg``, ``series_export.export_series``
    DICOM-SEG that refers to its series; a de-identified copy of the series.
``nnunet.export_nnunet``, ``coco.export_coco``, ``measures.export_measures``
    Many cases: training data sets, volumes and diameters.
``importing.import_masks``
    NIfTI, PNG, TIFF and DICOM-SEG onto the grid of an image, or a sentence on why not.
``deidentify.Deidentifier``
    Takes the patient out of DICOM, the same way for all objects treated with one key.

Each export is written aside, read back, compared, and only then given its name.
"""
