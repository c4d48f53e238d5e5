"""Which files a run reads and where its results go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_medclipsam.errors import ImageError, OutputError
from napari_medclipsam.images.folders import Found, Listing, list_studies
from napari_medclipsam.images.io import DICOM, PICTURES, VOLUMES, mask_suffix
from napari_medclipsam.images.volume import Volume

SALIENCY = (*VOLUMES, ".png", ".tif", ".npy")
DEFAULT_FOLDER = Path("medclipsam-output")


@dataclass(frozen=True)
class Job:
    """One input and the files it makes; None for what is not asked for.

    Parameters
    ----------
    found : Found
        A file, or a series of a DICOM folder.
    name : str
        The input without folder and suffix, made unique among the inputs.
    folder : pathlib.Path
        For the mask, where `mask_path` is None; its name is then NAME_mask and its suffix what suits the input.
    mask_path, saliency_path, preview_path : pathlib.Path or None
        Where results go.
    saliency_folder : pathlib.Path or None
        As `folder`, for the saliency.
    """

    found: Found
    name: str
    folder: Path
    mask_path: Path | None = None
    saliency_path: Path | None = None
    saliency_folder: Path | None = None
    preview_path: Path | None = None

    def mask_target(self, suffix: str) -> Path:
        """Return where the mask goes; `suffix` is what suits the input."""
        return self.mask_path or self.folder / f"{self.name}_mask{suffix}"

    def saliency_target(self, suffix: str) -> Path | None:
        """Return where the saliency goes, or None when it is not asked for."""
        if self.saliency_folder is not None:
            return self.saliency_folder / f"{self.name}_saliency{suffix}"
        return self.saliency_path


def expand_inputs(inputs: Sequence[Path], series_uid: str | None, results: Sequence[Path | None]) -> Listing:
    """Return the studies to run on, as `images.folders.list_studies`.

    Parameters
    ----------
    inputs : sequence of pathlib.Path
        Files and folders.
    series_uid : str, optional
        Which series of a DICOM folder: a folder is then this one study.
    results : sequence of pathlib.Path or None
        Where results go: no images are looked for there.

    Raises
    ------
    ImageError
        If the one input does not exist or holds no image.
    """
    passed = [result for result in results if result is not None]
    all_studies = Listing()
    for path in inputs:
        try:
            listing = Listing([Found(path)]) if series_uid is not None else list_studies(path, passed)
        except ImageError:
            # Many inputs: a missing one is that input's failure, told when its turn comes.
            if len(inputs) == 1:
                raise
            listing = Listing([Found(path)])
        all_studies.studies += listing.studies
        all_studies.left_out += listing.left_out
    return all_studies


def require_apart(inputs: Sequence[Path], results: Sequence[Path | None]) -> None:
    """Refuse to write into a folder that is an input: the next run would take the masks for images.

    Raises
    ------
    OutputError
        If a result folder is an input folder.
    """
    folders = {p.resolve() for p in inputs if p.is_dir()}
    for result in results:
        if result is not None and result.resolve() in folders:
            raise OutputError(f"{result} is an input, so results can't go there; choose another folder.")


def plan_jobs(
    inputs: Sequence[Found], is_batch: bool, output: Path | None, saliency: Path | None, preview: Path | None
) -> list[Job]:
    """Return one job per input with its result paths.

    Raises
    ------
    OutputError
        If a result would replace an input or another result, or a path has a suffix that does not fit.
    """
    names = _unique_names([found.path for found in inputs])
    if is_batch:
        for given, option in ((output, "--output"), (saliency, "--saliency"), (preview, "--preview")):
            if given is not None and given.is_file():
                raise OutputError(f"{option} {given} is a file, but several inputs need a folder; name a folder.")
        folder = output or DEFAULT_FOLDER
        return [
            Job(found, name, folder, None, None, saliency, preview / f"{name}_preview.png" if preview else None)
            for found, name in zip(inputs, names, strict=True)
        ]
    require_suffix(saliency, "--saliency", SALIENCY)
    require_suffix(preview, "--preview", (".png",))
    is_folder = output is None or output.is_dir() or not output.suffix
    folder = Path() if output is None else output if is_folder else output.parent
    if not is_folder:
        require_suffix(output, "--output", (*VOLUMES, ".png", ".tif"))
    job = Job(inputs[0], names[0], folder, None if is_folder else output, saliency, None, preview)
    given_paths = [p.resolve() for p in (job.mask_path, saliency, preview) if p is not None]
    if inputs[0].path.resolve() in given_paths:
        raise OutputError(f"A result would replace the input {inputs[0].path}; choose another path.")
    if len(set(given_paths)) < len(given_paths):
        raise OutputError(
            "Two results would go to the same file; give --output, --saliency and --preview their own paths."
        )
    return [job]


def suffix_of(path: Path) -> str:
    """Return the suffix in lower case, ``.nii.gz`` as one."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def require_suitable(path: Path, volume: Volume) -> None:
    """Refuse a file type that can't hold a result of this image, before minutes of work.

    Raises
    ------
    OutputError
        If NIfTI is asked for without geometry, or PNG for several slices.
    """
    suffix = suffix_of(path)
    if suffix in VOLUMES and volume.affine is None:
        raise OutputError(f"{path} would need a geometry, which this image does not have; use {mask_suffix(volume)}.")
    if suffix == ".png" and volume.n_slices() != 1:
        raise OutputError(
            f"{path} can hold one slice and this image has {volume.n_slices()}; use {mask_suffix(volume)}."
        )


def require_suffix(path: Path | None, option: str, allowed: Sequence[str]) -> None:
    """Refuse a file type that an option can't write.

    Raises
    ------
    OutputError
        If the path has none of the suffixes.
    """
    if path is not None and suffix_of(path) not in allowed:
        raise OutputError(f"{option} {path} must end in {' or '.join(allowed)}.")


def _unique_names(inputs: Sequence[Path]) -> list[str]:
    """Return the stems of the inputs; equal ones get their folder's name in front, and then a number."""
    stems = [_stem(p) for p in inputs]
    counts = Counter(stems)
    wanted = [f"{p.resolve().parent.name}_{s}" if counts[s] > 1 else s for p, s in zip(inputs, stems, strict=True)]
    taken: set[str] = set()
    names = []
    for name in wanted:
        unique, n = name, 2
        while unique in taken:
            unique, n = f"{name}-{n}", n + 1
        taken.add(unique)
        names.append(unique)
    return names


def _stem(path: Path) -> str:
    name = path.resolve().name
    suffix = suffix_of(path)
    return name[: -len(suffix)] if suffix in (*PICTURES, *VOLUMES, *DICOM) else name
