"""Bad input of any kind, failing disks, and what importing costs."""

from __future__ import annotations

import errno
import gzip
import io
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_medclipsam.errors import ImageError, MedclipsamError, OutputError
from napari_medclipsam.images import Volume, read_image, read_mask, write_mask

from .dicom_samples import make_big_slice

GRAY = np.arange(64, dtype=np.uint8).reshape(8, 8)


def picture_bytes(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(GRAY).save(stream, kind, **options)
    return stream.getvalue()


def nifti_bytes() -> bytes:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    content: bytes = nibabel.Nifti1Image(array, np.eye(4)).to_bytes()
    return content


def tiff_bytes() -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.stack([GRAY, GRAY]), compression="zlib", photometric="minisblack")
    return stream.getvalue()


def dicom_bytes(syntax: str = "") -> bytes:
    ds = make_big_slice(0)
    if syntax:
        ds.compress(syntax)
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


SAMPLES = {
    "a.nii": nifti_bytes(),
    "b.nii.gz": gzip.compress(nifti_bytes()),
    "c.png": picture_bytes("PNG"),
    "d.jpg": picture_bytes("JPEG"),
    "e.tif": tiff_bytes(),
    "f.tif": picture_bytes("TIFF", compression="tiff_lzw"),
    "g.dcm": dicom_bytes(),
    "h.dcm": dicom_bytes("1.2.840.10008.1.2.5"),
    "i.dcm": dicom_bytes("1.2.840.10008.1.2.4.90"),
    "j.dcm": dicom_bytes("1.2.840.10008.1.2.4.80"),
}


def read_or_refuse(path: Path) -> None:
    """Either a volume or one of our own errors; anything else fails the test."""
    for read in (read_image, read_mask):
        try:
            read(path)
        except MedclipsamError as error:
            assert str(error).rstrip().endswith("."), error


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_readable(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(SAMPLES[name])
    assert isinstance(read_image(tmp_path / name), Volume)


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", SAMPLES)
@FUZZ
@given(data=st.data())
def test_truncated_files(name: str, data: st.DataObject, tmp_path: Path) -> None:
    whole = SAMPLES[name]
    (tmp_path / name).write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    read_or_refuse(tmp_path / name)


@pytest.mark.parametrize("name", SAMPLES)
@FUZZ
@given(data=st.data())
def test_flipped_bytes(name: str, data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(SAMPLES[name])
    flips = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(flips, min_size=1, max_size=8)):
        content[place] = value
    (tmp_path / name).write_bytes(content)
    read_or_refuse(tmp_path / name)


@pytest.mark.parametrize("name", SAMPLES)
@FUZZ
@given(garbage=st.binary(min_size=1, max_size=400), keep=st.sampled_from([0, 4, 8, 132, 352]))
def test_garbage(name: str, garbage: bytes, keep: int, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(SAMPLES[name][:keep] + garbage)
    read_or_refuse(tmp_path / name)


@pytest.mark.parametrize("name", [*SAMPLES, "no_suffix"])
def test_empty_and_missing_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no file"):
        read_image(tmp_path / name)
    (tmp_path / name).touch()
    with pytest.raises(ImageError, match="empty"):
        read_image(tmp_path / name)


def test_unknown_kinds_are_refused_with_a_list(tmp_path: Path) -> None:
    (tmp_path / "image.nrrd").write_text("NRRD0004")
    with pytest.raises(ImageError, match=r"Readable are NIfTI.*convert"):
        read_image(tmp_path / "image.nrrd")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(SAMPLES["a.nii"])
    (tmp_path / "a.nii").chmod(0)
    with pytest.raises(ImageError, match="No permission"):
        read_image(tmp_path / "a.nii")


MASK_NAMES = ["m.nii", "m.nii.gz", "m.png", "m.tif"]
ONE_SLICE = Volume(GRAY[None], np.eye(4))


@pytest.mark.parametrize("name", MASK_NAMES)
@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
def test_a_full_disk_leaves_the_old_file(name: str, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / name
    target.write_bytes(b"old")
    monkeypatch.setattr(call, full)
    with pytest.raises(OutputError, match="No space left"):
        write_mask(GRAY[None] > 30, ONE_SLICE, target)
    assert target.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", MASK_NAMES)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_while_writing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own write fails, in the middle."""

    def full_file(prefix: str, suffix: str, dir: Path) -> tuple[int, str]:
        link = Path(dir) / f"{prefix}x{suffix}"
        link.symlink_to("/dev/full")
        return os.open(link, os.O_RDWR), str(link)

    monkeypatch.setattr("tempfile.mkstemp", full_file)
    with pytest.raises(OutputError, match=r"Can't write .*nothing was changed"):
        write_mask(GRAY[None] > 30, ONE_SLICE, tmp_path / name)
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_mask(GRAY[None] > 30, ONE_SLICE, tmp_path / "m.png")
    tmp_path.chmod(0o700)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_mask(GRAY[None] > 30, ONE_SLICE, tmp_path / "file" / "m.png")


def test_importing_images_loads_no_file_library() -> None:
    heavy = (
        "torch",
        "qtpy",
        "PyQt6",
        "PySide6",
        "napari",
        "nibabel",
        "pydicom",
        "highdicom",
        "scipy",
        "PIL",
        "tifffile",
    )
    code = f"import sys, napari_medclipsam.images as _; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
