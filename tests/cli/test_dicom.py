import csv
import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

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


def test_ct_that_the_model_was_not_taught_is_said_of_each_input(run, png, data_dir, tmp_path, monkeypatch):
    from synthetic import WithoutCt

    monkeypatch.setattr("napari_medclipsam.saliency.pair.load", lambda name, device=None: WithoutCt())
    out_folder = tmp_path / "out"
    ct = data_dir / "dicom" / "ct_abdomen" / "series"
    code, out, err = run(
        "segment", ct, png[0], "--text", "disk", "--output", out_folder, "--preview", out_folder, "--json"
    )
    of_ct, of_picture = (json.loads(line)["caution"] for line in out.splitlines())
    assert code == 0 and err.count("looks like CT, which this model was not taught") == 1
    assert "looks like CT" in of_ct and of_picture is None
    head, row_of_ct, row_of_picture = csv.reader((out_folder / "results.csv").read_text().splitlines())
    assert head[-1] == "caution" and (row_of_ct[-1], row_of_picture[-1]) == (of_ct, "")
    heights = [Image.open(out_folder / f"{name}_preview.png").height for name in ("series", "scan")]
    assert heights[0] > heights[1], "a line more"
    told = run("ask", ct, "is there a disk?", "--slice", "3")[1]
    assert "can't tell: this looks like CT, which the model was not taught" in told
