"""Each gets one message with the remedy, exit code 2, no traceback, and leaves nothing behind."""

import errno
import gzip
import os

import nibabel
import numpy as np
import pytest

from synthetic import picture, save

GRID = np.diag([1.0, 1.0, 2.0, 1.0])


def volume(path, array, affine=GRID):
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def empty(folder):
    path = folder / "empty.png"
    path.write_bytes(b"")
    return path


def truncated(folder):
    path = volume(folder / "cut.nii.gz", np.random.default_rng(0).random((16, 16, 8)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:400])
    return path


def no_image(folder):
    path = folder / "notes.png"
    path.write_text("not a picture")
    return path


def with_nan(folder):
    array = np.ones((8, 8, 4), np.float32)
    array[1, 1, 1] = np.nan
    return volume(folder / "nan.nii.gz", array)


def zero_affine(folder):
    path = volume(folder / "flat.nii", np.arange(256, dtype=np.int16).reshape(8, 8, 4))
    raw = bytearray(path.read_bytes())
    raw[280:328] = bytes(48)  # srow_x, srow_y, srow_z
    path.write_bytes(raw)
    return path


BAD_FILES = {
    "missing": lambda f: f / "gone.png",
    "empty": empty,
    "truncated": truncated,
    "no image": no_image,
    "4D": lambda f: volume(f / "four.nii.gz", np.random.default_rng(0).random((8, 8, 4, 3)).astype(np.float32)),
    "NaN": with_nan,
    "infinite": lambda f: volume(f / "inf.nii.gz", np.full((8, 8, 4), np.inf, np.float32)),
    "constant picture": lambda f: save(f / "constant.png", np.full((20, 20), 9, np.uint8)),
    "constant volume": lambda f: volume(f / "constant.nii.gz", np.full((8, 8, 4), 9, np.int16)),
    "zero affine": zero_affine,
    "damaged gzip": lambda f: (f / "bad.nii.gz").write_bytes(gzip.compress(b"x" * 500)[:60]) and f / "bad.nii.gz",
    "empty folder": lambda f: (f / "dicom").mkdir() or f / "dicom",
}


def assert_refused(answer, folder):
    code, out, err = answer
    assert code == 2 and out == ""
    assert err.startswith("medclipsam: ") and "Traceback" not in err
    assert len(err.strip().splitlines()) == 1 and len(err) < 500
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file(run, tmp_path, kind):
    folder = tmp_path / "in"
    folder.mkdir()
    path = BAD_FILES[kind](folder)
    assert_refused(run("segment", path, "--text", "disk"), tmp_path / "here")


@pytest.mark.parametrize(
    "text", ["", "  ; ", "d" * 301, "disk\x07", ";".join(f"part {i}" for i in range(30)), "опухоль", "gizmo"]
)
def test_bad_text(run, png, tmp_path, text):
    answer = run("segment", png[0], "--text", text)
    assert_refused(answer, tmp_path / "here")


def test_an_unknown_phrase_says_the_nearest_known_one(run, png):
    assert "squares" in run("segment", png[0], "--text", "squares")[2]
    assert '"square"' in run("segment", png[0], "--text", "squares")[2]


def test_an_unknown_phrase_beside_a_known_one_is_told_by_the_exit_code(run, png, tmp_path):
    code, _, err = run("segment", png[0], "--text", "disk; gizmo")
    assert code == 2 and "gizmo" in err and (tmp_path / "here" / "scan_mask.png").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output", "mask.jpg"], ".png"),
        (["--output", "mask.nii.gz"], "geometry"),
        (["--preview", "p.pdf"], ".png"),
        (["--saliency", "s.nii.gz"], "geometry"),
        (["--window", "nowhere"], "window"),
        (["--axis", "axial"], "axial"),
        (["--series", "1.2.3"], "series"),
        (["--volume-index", "3"], "volume"),
    ],
)
def test_options_that_do_not_fit(run, png, tmp_path, options, said):
    code, _, err = run("segment", png[0], "--text", "disk", *options)
    assert code == 2 and said in err and "Traceback" not in err
    assert list((tmp_path / "here").iterdir()) == []


def test_the_input_is_never_replaced(run, png):
    before = png[0].read_bytes()
    code, _, err = run("segment", png[0], "--text", "disk", "--output", png[0])
    assert code == 2 and "replace" in err and png[0].read_bytes() == before


def test_unknown_model(run, png, monkeypatch):
    from napari_medclipsam.models.registry import load

    monkeypatch.setattr("napari_medclipsam.saliency.pair.load", load)
    code, _, err = run("segment", png[0], "--text", "disk", "--model", "gpt")
    assert code == 2 and "'gpt'" in err and "lite" in err
    code, _, err = run("segment", png[0], "--text", "disk", "--model", "sam-vit-b")
    assert code == 2 and "medclipsam models fetch sam-vit-b" in err and "Apache-2.0" in err


def test_a_model_that_lacks_a_part(run, png, monkeypatch):
    from synthetic import IntensityGrounder, RegionGrower

    parts = {"text": IntensityGrounder(), "masks": RegionGrower()}
    monkeypatch.setattr("napari_medclipsam.saliency.pair.load", lambda name, device=None: parts[name])
    assert "masks" in run("segment", png[0], "--text", "disk", "--model", "text")[2]
    assert "text" in run("segment", png[0], "--text", "disk", "--model", "masks")[2]
    assert run("segment", png[0], "--text", "disk", "--model", "text+masks")[0] == 0


@pytest.mark.parametrize("kind", ["png", "nifti"])
def test_a_full_disk_leaves_nothing(run, kind, tmp_path, request, monkeypatch):
    path = request.getfixturevalue(kind)[0]

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("napari_medclipsam.files.os.fsync", full)
    code, out, err = run("segment", path, "--text", "disk")
    assert code == 2 and out == "" and "space" in err and "Traceback" not in err
    assert list((tmp_path / "here").iterdir()) == []


def test_a_full_disk_in_a_batch_fails_each_and_says_so(run, tmp_path, monkeypatch):
    folder = tmp_path / "many"
    for name in "ab":
        save(folder / f"{name}.png", picture("disk")[0])

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("napari_medclipsam.files.os.fsync", full)
    code, _, err = run("segment", folder, "--text", "disk")
    assert code == 2 and err.count("No space left") == 3 and "Traceback" not in err
    assert list((tmp_path / "here" / "medclipsam-output").iterdir()) == []


def text_file(path):
    path.write_text("# Notes\n" * 100)
    return path


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("fake.nii.gz", [], "is not a NIfTI file. Convert"),
        ("fake.nii", [], "is not a NIfTI file. Convert"),
        ("README.md", [], "can't be read here"),
        ("scan.png", ["--output", "x.nii.gz"], "geometry"),
        ("head.nii.gz", ["--output", "x.png"], "one slice"),
        ("head.nii.gz", ["--window", "nowhere"], "window"),
        ("scan.png", ["--output", "/dev/null/x.png"], "Can't write"),
        ("scan.png", ["--preview", "/dev/null/p.png"], "Can't write"),
        ("scan.png", ["--preview", "folder.png"], "is a folder"),
    ],
)
def test_what_can_be_seen_beforehand_is_refused_before_a_model_is_loaded(
    run, png, nifti, tmp_path, monkeypatch, name, options, said
):
    loaded = []
    monkeypatch.setattr("napari_medclipsam.saliency.pair.load", lambda name, device=None: loaded.append(name))
    path = png[0].parent / name
    if not path.exists():
        text_file(path)
    (tmp_path / "here" / "folder.png").mkdir()
    code, out, err = run("segment", path, "--text", "disk", *options)
    assert code == 2 and out == "" and said in err and "Free some space" not in err and not loaded
    assert [p.name for p in (tmp_path / "here").iterdir()] == ["folder.png"]


def test_a_batch_loads_the_models_once_and_only_for_what_it_can_read(run, png, tmp_path, monkeypatch):
    from synthetic import Both

    loaded = []
    monkeypatch.setattr("napari_medclipsam.saliency.pair.load", lambda name, device=None: loaded.append(name) or Both())
    bad = [text_file(tmp_path / f"{name}.nii.gz") for name in "ab"]
    assert run("segment", *bad, "--text", "disk")[0] == 2 and not loaded
    save(tmp_path / "in" / "other.png", picture("disk")[0])
    assert run("segment", *bad, png[0].parent, "--text", "disk")[0] == 2 and len(loaded) == 1
