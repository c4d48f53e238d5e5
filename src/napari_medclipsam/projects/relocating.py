"""An image that lies elsewhere than it did, or has changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from napari_medclipsam.errors import GeometryError
from napari_medclipsam.images.io import read_image
from napari_medclipsam.projects.studies import (
    Grid,
    SourceChangedError,
    Study,
    content_hash,
    files_of,
    size_and_time,
    stored_path,
)
from napari_medclipsam.reading_view import reading_view


def moved_study(study: Study, path: Path, project_folder: Path, *, accept_changed: bool) -> Study:
    """Return a study whose image is at `path` now; parameters and errors as for `Project.relocate`."""
    files = files_of(path, study.kind, study.series_uid)
    sha256 = content_hash(files)
    if sha256 != study.sha256 and not accept_changed:
        raise SourceChangedError(
            f"The image at {path} is not the one that was added as {study.case}: its content differs. If the masks "
            "still hold for it, accept the change (on the command line: --accept-changed)."
        )
    difference = study.grid.difference(Grid.of(reading_view(read_image(path, study.volume_index, study.series_uid))))
    if difference:
        raise GeometryError(
            f"The image at {path} does not fit the masks of {study.case}: {difference}. Add it as a new case instead."
        )
    size_bytes, modified_ns = size_and_time(files)
    path_now = stored_path(path, project_folder)
    return replace(study, path=path_now, sha256=sha256, size_bytes=size_bytes, modified_ns=modified_ns)
