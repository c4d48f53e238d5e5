"""Real patients to try things on, from public collections: downloaded when the user asks, and checked by their hash.

The files lie beside the downloaded models. Where they come from never changes: the address names one revision, and the
hashes are those that this revision states for its files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_medclipsam.errors import ModelError, OutputError
from napari_medclipsam.models import store
from napari_medclipsam.models.download import Cancel, Progress, fetch_file
from napari_medclipsam.models.entry import ModelFile

_FOLDER = "samples"


@dataclass(frozen=True)
class PublicSample:
    """An image and the mask that its collection gives for it.

    Parameters
    ----------
    name : str
        Of its folder, and its key in the manifest.
    title : str
        What it shows.
    size, licence : str
        Of both files together; said before anything is downloaded.
    credit, source : str
        Whose work it is, and the web page about it.
    image, mask : ModelFile
        NIfTI.
    """

    name: str
    title: str
    size: str
    licence: str
    credit: str
    source: str
    image: ModelFile
    mask: ModelFile

    @property
    def display_name(self) -> str:
        """What the menu says."""
        return f"{self.title} ({self.size}, {self.licence}, downloads)"

    @property
    def files(self) -> tuple[ModelFile, ModelFile]:
        """Image and mask."""
        return (self.image, self.mask)

    def path(self, file: ModelFile) -> Path:
        """Return where one of its files is, or would be."""
        return store.models_folder() / _FOLDER / self.name / file.name


def _glioma(number: str, contrast: str, size: str, image_sha256: str, mask_sha256: str) -> PublicSample:
    """Return a patient of UCSF-PDGM, from a copy whose every file states its hash."""
    patient = f"UCSF-PDGM-{number}"
    revision = "ed07c776a731cc5252a5df534fbde261ae048abd"
    folder = f"https://huggingface.co/datasets/determined-ai/3d-brain-mri/resolve/{revision}/data/{patient}_nifti/"
    image, mask = f"{patient}_{contrast}.nii.gz", f"{patient}_tumor_segmentation.nii.gz"
    return PublicSample(
        name=f"glioma-{contrast.lower()}",
        title=f"Glioma on {contrast} MRI, with a mask",
        size=size,
        licence="CC BY 4.0",
        credit="Calabrese et al., UCSF-PDGM, The Cancer Imaging Archive, doi 10.7937/tcia.bdgf-8v37",
        source="https://www.cancerimagingarchive.net/collection/ucsf-pdgm/",
        image=ModelFile(image, sha256=image_sha256, url=folder + image),
        mask=ModelFile(mask, sha256=mask_sha256, url=folder + mask),
    )


GLIOMA_FLAIR = _glioma(
    "0010",
    "FLAIR",
    "3.1 MB",
    "4f88bdd693692ac6d69be934740963a01c6d326524fd385bce1f7479218760c8",
    "3ce21b6cb4f0822471598a8b534d30373e1ca5c3da457806edfacc600fea3555",
)
GLIOMA_T2 = _glioma(
    "0004",
    "T2",
    "3.0 MB",
    "6662aa3b30670944d73486ba6300b5b9d3a5916e0ba74b225816c0806c5a7824",
    "54e51eb6ae60d8985ed5379a4267438017e2682255418833fac1b704813b483e",
)
PUBLIC_SAMPLES = (GLIOMA_FLAIR, GLIOMA_T2)


def is_here(sample: PublicSample) -> bool:
    """Tell whether both files are on this machine and are the right ones."""
    return all(_is_good(sample, file) for file in sample.files)


def fetch_sample(sample: PublicSample, progress: Progress | None = None, cancel: Cancel | None = None) -> None:
    """Download what is missing of a sample; an interrupted download is taken up where it stopped.

    Parameters
    ----------
    sample : PublicSample
        Which one.
    progress, cancel : callable, optional
        As for `models.download.fetch`.

    Raises
    ------
    ModelError
        If the network or server fails, a hash is wrong, or it was cancelled.
    OutputError
        If the folder can't be written.
    """
    for file in sample.files:
        path = sample.path(file)
        try:
            if not _is_good(sample, file):
                fetch_file(file, path, "open the sample again", progress, cancel)
        except OSError as error:
            raise OutputError(
                f"Can't write to {path.parent}: {error.strerror or error}. Free some space, or choose another folder "
                f"with the environment variable {store.FOLDER_VARIABLE}."
            ) from error


def require(sample: PublicSample) -> tuple[Path, Path]:
    """Return the paths of image and mask.

    Raises
    ------
    ModelError
        If the sample has not been downloaded.
    """
    if not is_here(sample):
        raise ModelError(f"The sample {sample.title!r} was not downloaded. Open it again and agree to the download.")
    return (sample.path(sample.image), sample.path(sample.mask))


def _is_good(sample: PublicSample, file: ModelFile) -> bool:
    path = sample.path(file)
    return path.is_file() and store.file_sha256(path) == file.sha256
