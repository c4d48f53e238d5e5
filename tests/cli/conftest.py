import nibabel
import numpy as np
import pytest

from napari_medclipsam.cli import main
from synthetic import Both, picture, save


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run one command in a fresh folder with the synthetic model as `lite`; returns (exit code, stdout, stderr)."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("MEDCLIPSAM_MODELS", str(tmp_path / "models"))
    model = Both()
    monkeypatch.setattr("napari_medclipsam.saliency.pair.load", lambda name, device=None: model)

    def call(*args):
        capsys.readouterr()
        code = main([str(a) for a in args])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


@pytest.fixture
def png(tmp_path):
    """A picture with a disk and a square, and its masks."""
    pixels, masks = picture("disk", "square")
    return save(tmp_path / "in" / "scan.png", pixels), masks


@pytest.fixture
def nifti(tmp_path):
    """A volume of 6 thick axial slices, stored head first, with a disk in two of them; and the mask as (i, j, k)."""
    pixels, masks = picture("disk")
    empty, _ = picture()
    stack_kyx = np.stack([empty, empty, pixels, pixels, empty, np.full_like(empty, 7)])
    mask_kyx = np.stack([np.zeros_like(masks["disk"])] * 2 + [masks["disk"]] * 2 + [np.zeros_like(masks["disk"])] * 2)
    affine = np.array([[0.9, 0.05, 0, -20], [-0.05, 0.9, 0, 5], [0, 0, -5, 80], [0, 0, 0, 1]])
    path = tmp_path / "in" / "head.nii.gz"
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(stack_kyx.T, affine), path)
    return path, mask_kyx.T
