import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from images.dicom_samples import make_slice
from napari_medclipsam.cli import segment_input
from synthetic import picture, save

KEYS = {"input", "text", "present", "presence", "boxes_xyxy", "mask_pixels", "mask_path", "seconds", "message"}


def test_one_picture(run, png, tmp_path):
    path, masks = png
    code, out, err = run("segment", path, "--text", "disk")
    assert (code, err) == (0, "")
    assert "disk: present" in out and "scan_mask.png" in out
    mask = np.asarray(Image.open(tmp_path / "here" / "scan_mask.png"))
    assert mask.dtype == np.uint8 and np.array_equal(mask == 1, masks["disk"])
    assert sorted(p.name for p in (tmp_path / "here").iterdir()) == ["scan_mask.png", "scan_mask.tsv"]


def test_json_of_a_picture(run, png):
    path, masks = png
    code, out, _ = run("segment", path, "--text", "disk; square; bar", "--json")
    (line,) = out.splitlines()
    told = json.loads(line)
    assert code == 0 and set(told) >= KEYS
    assert told["input"] == str(path) and told["text"] == "disk; square; bar"
    assert told["present"] is True and told["presence"] == 1.0
    assert told["mask_pixels"] == masks["disk"].sum() + masks["square"].sum()
    assert set(told["seconds"]) == {"load", "embed", "ground", "segment"}
    assert len(told["boxes_xyxy"]) == 2 and all(len(b) == 4 for b in told["boxes_xyxy"])
    assert told["box_slices"] == [0, 0] and told["box_labels"] == [1, 2]
    assert [s["present"] for s in told["structures"]] == [True, True, False]
    assert "bar" in told["message"]


def test_absent_is_an_answer_with_an_empty_mask(run, png, tmp_path):
    code, out, err = run("segment", png[0], "--text", "bar", "--json")
    told = json.loads(out)
    assert code == 0 and told["present"] is False and told["mask_pixels"] == 0 and told["boxes_xyxy"] == []
    assert not np.asarray(Image.open(told["mask_path"])).any()
    assert "Not present" in err


def test_volume_on_its_exact_grid_with_slices_in_stored_order(run, nifti, tmp_path):
    path, mask_ijk = nifti
    out_path, saliency = tmp_path / "out" / "m.nii.gz", tmp_path / "out" / "s.nii.gz"
    preview = tmp_path / "out" / "p.png"
    code, out, err = run(
        "segment", path, "--text", "disk", "--output", out_path, "--saliency", saliency, "--preview", preview, "--json"
    )
    assert code == 0, err
    told = json.loads(out)
    source, written = nibabel.load(path), nibabel.load(out_path)
    assert np.array_equal(written.affine, source.affine)
    assert np.array_equal(np.asarray(written.dataobj), mask_ijk)
    voxel_ml = abs(np.linalg.det(source.affine)) / 1000
    assert told["mask_ml"] == told["structures"][0]["mask_ml"] == pytest.approx(mask_ijk.sum() * voxel_ml, rel=1e-3)
    assert told["box_slices"] == [3, 2] or told["box_slices"] == [2, 3]
    x0, y0, x1, y1 = told["boxes_xyxy"][0]
    i, j = np.nonzero(mask_ijk[:, :, 2])
    assert abs(x0 - i.min()) < 2.5 and abs(x1 - i.max()) < 2.5 and abs(y0 - j.min()) < 2.5 and abs(y1 - j.max()) < 2.5
    looked = nibabel.load(saliency)
    assert np.array_equal(looked.affine, source.affine)
    values = np.asarray(looked.dataobj)
    assert values.max() <= 1 and values[mask_ijk].mean() > 0.8 and values[~mask_ijk].mean() < 0.1
    assert Image.open(preview).width > 600


def test_saliency_files_of_a_picture(run, png, tmp_path):
    for name in ("s.png", "s.npy", "s.tif"):
        code, _, err = run("segment", png[0], "--text", "disk", "--saliency", tmp_path / name)
        assert code == 0, err
    assert np.load(tmp_path / "s.npy").shape == (1, 64, 64)
    assert np.asarray(Image.open(tmp_path / "s.png")).max() > 60000


def test_batch_with_one_failure(run, tmp_path):
    folder = tmp_path / "many"
    for name, shapes in (("a", ("disk",)), ("b", ("square",))):
        save(folder / f"{name}.png", picture(*shapes)[0])
    (folder / "broken.png").write_bytes(b"\x89PNG nothing")
    out_folder = tmp_path / "out"
    code, out, err = run("segment", folder, "--text", "disk", "--output", out_folder, "--preview", out_folder, "--json")
    assert code == 2
    told = [json.loads(line) for line in out.splitlines()]
    assert [t["present"] for t in told] == [True, False, None]
    assert told[2]["failed"] and told[2]["mask_path"] is None
    assert "broken.png" in err and "Traceback" not in err
    rows = (out_folder / "results.csv").read_text().splitlines()
    assert rows[0].startswith("input,text,present,presence,mask_pixels") and len(rows) == 4
    assert rows[1].split(",")[2] == "True" and rows[3].split(",")[2] == ""
    names = sorted(p.name for p in out_folder.iterdir())
    assert names == [
        "a_mask.png",
        "a_mask.tsv",
        "a_preview.png",
        *("b_mask.png", "b_mask.tsv", "b_preview.png"),
        "results.csv",
    ]


def test_batch_of_equal_names_and_a_missing_file(run, png, tmp_path):
    other = save(tmp_path / "elsewhere" / "scan.png", picture("disk")[0])
    code, _, err = run("segment", png[0], other, tmp_path / "gone.png", "--text", "disk")
    assert code == 2 and "gone.png" in err
    names = sorted(p.name for p in (tmp_path / "here" / "medclipsam-output").iterdir() if p.suffix != ".tsv")
    assert names == ["elsewhere_scan_mask.png", "in_scan_mask.png", "results.csv"]


def test_an_unexpected_error_is_one_sentence_and_the_rest_goes_on(run, png, tmp_path, monkeypatch):
    other = save(tmp_path / "in" / "other.png", picture("disk")[0])
    real = segment_input.read_image
    monkeypatch.setattr(segment_input, "read_image", lambda p, **k: 1 / 0 if p == png[0] else real(p, **k))
    code, out, err = run("segment", png[0], other, "--text", "disk")
    assert code == 1 and "--debug" in err and "Traceback" not in err and "other.png" in out
    assert "Traceback" in run("segment", png[0], "--text", "disk", "--debug")[2]


def test_seen_but_not_located_is_not_called_absent(run, png, monkeypatch):
    from napari_medclipsam.models.contracts import SaliencyMap
    from synthetic import Both

    class Vague(Both):
        def saliency(self, image, text):
            return SaliencyMap(np.full(image.shape_yx, 0.3, np.float32), text, 0.9, True)

    monkeypatch.setattr("napari_medclipsam.saliency.pair.load", lambda name, device=None: Vague())
    code, out, err = run("segment", png[0], "--text", "disk")
    assert code == 0 and "not located" in out and "not located" in err
    assert "Not present" not in err


def test_a_folder_means_the_same_to_every_verb(run, png, tmp_path):
    folder = png[0].parent
    (folder / "notes.txt").write_text("x")
    series = folder / "series"
    series.mkdir()
    make_slice(0).save_as(series / "1.dcm", enforce_file_format=True)
    code, out, err = run("segment", folder, "--text", "disk")
    assert code == 0 and "2 of 2 inputs" in err and "no image: notes.txt." in err
    assert [line.split(": ")[0] for line in out.splitlines()] == [str(png[0]), str(series)]
    code, _, err = run("ask", folder, "is there a disk?")
    assert code == 2 and "holds 2 images" in err and "(scan.png, series)" in err
    run("project", "init", tmp_path / "p")
    code, out, err = run("project", "add", tmp_path / "p", folder)
    assert code == 0 and "2 added" in out and "no image: notes.txt." in err


@pytest.mark.parametrize(("source", "mask"), [("png", "m.png"), ("nifti", "m.nii.gz")])
def test_the_names_of_the_labels_go_with_the_mask(run, source, mask, request):
    path = request.getfixturevalue(source)[0]
    code, _, err = run("segment", path, "--text", "disk; gizmo; square", "--output", mask)
    assert code == 2 and "gizmo" in err
    code, out, err = run("masks", "export", mask, "--source", path, "--format", "csv", "--output", "sizes.csv")
    assert code == 0 and "disk" in out and "square" in out and "label" not in out and "gizmo" not in out


def test_a_table_of_something_else_is_not_replaced(run, png, tmp_path):
    table = tmp_path / "here" / "m.tsv"
    table.write_text("patient\tage\n1\t40\n")
    code, _, err = run("segment", png[0], "--text", "disk", "--output", "m.png")
    assert code == 2 and "no table of labels" in err
    assert [p.name for p in (tmp_path / "here").iterdir()] == ["m.tsv"] and "age" in table.read_text()


def test_the_slice_of_a_preview_is_the_one_that_ask_takes(run, tmp_path, monkeypatch):
    # Stored head first: read from the feet on, its slice 1 is the fifth.
    stack_kyx = np.stack([picture(*(["disk"] if k == 1 else []))[0] for k in range(6)])
    path = tmp_path / "head.nii.gz"
    nibabel.save(nibabel.Nifti1Image(stack_kyx.T, np.diag([0.9, 0.9, -5, 1])), path)
    captions = []
    render = segment_input.render_preview
    monkeypatch.setattr(segment_input, "render_preview", lambda *args: captions.append(args[2]) or render(*args))
    assert run("segment", path, "--text", "disk", "--preview", "p.png")[0] == 0
    assert captions == ["head, slice 1 of 0–5"]
    assert "yes" in run("ask", path, "is there a disk?", "--slice", "1")[1]


def test_a_mask_that_is_replaced_is_told(run, png):
    for times in range(2):
        code, out, _ = run("segment", png[0], "--text", "disk", "--output", "m.png")
        assert code == 0 and ("m.png, replaced" in out) == bool(times)
    assert json.loads(run("segment", png[0], "--text", "disk", "--output", "m.png", "--json")[1])["replaced"] is True
