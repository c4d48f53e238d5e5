import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

DATA = Path(os.environ.get("MEDCLIPSAM_DATA", Path(__file__).parents[3] / "shared" / "data"))
SERIES = DATA / "dicom" / "brain_tumor_mri" / "t1_gd"


@pytest.mark.skipif(not SERIES.is_dir(), reason=f"{SERIES} is not on this machine")
def test_a_dicom_folder_gives_a_nifti_mask_on_its_grid(run, tmp_path):
    from napari_medclipsam.images.io import read_image

    code, out, err = run("segment", SERIES, "--text", "disk; square", "--json")
    assert code == 0, err
    told = json.loads(out)
    written = nibabel.load(told["mask_path"])
    volume = read_image(SERIES)
    assert written.shape == volume.shape_zyx[::-1] and np.allclose(written.affine, volume.affine, atol=1e-4)
    assert told["mask_pixels"] == np.count_nonzero(np.asarray(written.dataobj))
